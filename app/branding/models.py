"""How an organisation presents itself: its name, its words, its colours and its logo."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import cache, cached_property
from hashlib import sha256

from sqlalchemy import ForeignKey, Select, select
from sqlalchemy.orm import Mapped, mapped_column

from app.branding.palette import EDITION, Palette, palette, parsed
from app.branding.presets import PRESETS
from app.facilities.html import render_markdown
from app.facilities.storage import StoredFile
from app.tenancy import TenantModel, Timestamp, current_tenant, db, utcnow
from app.tenancy.errors import Refused

SCHEMES = ("auto", "light", "dark")
RIGHT_TO_LEFT = frozenset(("ar", "ckb", "dv", "fa", "he", "ku", "ps", "sd", "ug", "ur", "yi"))
NAME_LENGTH, TAGLINE_LENGTH = 80, 200  # characters


class Site(TenantModel):
    """The one row that says how the organisation looks. Without it, it goes by its name in the registry."""

    __tablename__ = "site"

    id: Mapped[int] = mapped_column(primary_key=True)  # always 1
    name: Mapped[str]
    tagline: Mapped[str] = mapped_column(default="")
    language: Mapped[str] = mapped_column(default="en")  # a BCP 47 tag
    time_zone: Mapped[str] = mapped_column(default="UTC")  # an IANA name
    brand_colour: Mapped[str] = mapped_column(default=PRESETS["river"].brand)
    accent: Mapped[str] = mapped_column(default=PRESETS["river"].accent)
    scheme: Mapped[str] = mapped_column(default="auto")  # auto, light, dark
    logo_name: Mapped[str | None] = mapped_column(ForeignKey("stored_file.name"))
    footer: Mapped[str] = mapped_column(default="")  # Markdown
    footer_html: Mapped[str] = mapped_column(default="")
    updated_at: Mapped[datetime] = mapped_column(Timestamp, default=utcnow, onupdate=utcnow)

    @classmethod
    def mine(cls) -> Site:
        """Return the current tenant's row, to be changed; makes it where there is none yet."""
        site = db.session.get(cls, 1)
        if site is None:
            site = cls(id=1, name=current_tenant().name)
            db.session.add(site)
            db.session.flush()
        return site

    def rename(self, name: str, tagline: str = "") -> None:
        """Take a name and a tagline; raises `Refused` for an empty name or one that no page has room for."""
        name, tagline = _printable(name), _printable(tagline)
        if not name:
            raise Refused("Give the organisation a name: it stands at the top of every page.")
        if len(name) > NAME_LENGTH or len(tagline) > TAGLINE_LENGTH:
            raise Refused(f"Names have room for {NAME_LENGTH} characters and taglines for {TAGLINE_LENGTH}.")
        self.name, self.tagline = name, tagline

    def speak(self, language: str, time_zone: str) -> None:
        """Write pages in `language` (BCP 47) and dates by the clocks of `time_zone` (IANA)."""
        self.language, self.time_zone = language, time_zone

    def recolour(self, brand_colour: str, accent: str, scheme: str = "auto") -> None:
        """Take two colours as "#rrggbb"; raises `Refused` for others. `Look.palette` is what they become."""
        if scheme not in SCHEMES:
            raise Refused(f"A site is one of {', '.join(SCHEMES)}; {scheme[:20]!r} is none of these.")
        self.brand_colour, self.accent, self.scheme = parsed(brand_colour), parsed(accent), scheme

    def set_logo(self, logo: StoredFile | None) -> None:
        """Show a picture made by `app.branding.logo.prepared`; with None the drawn monogram again."""
        self.logo_name = logo.name if logo else None

    def sign_off(self, footer: str) -> None:
        """Put Markdown at the foot of every public page."""
        self.footer, self.footer_html = footer, render_markdown(footer)


def _printable(text: str) -> str:
    """Return one line of what can be seen; control characters would break the feed (XML 1.0 section 2.2)."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


@dataclass(frozen=True)
class Look:
    """What templates know of the current site. Unlike the row it outlives the session; keep it by tenant."""

    name: str
    tagline: str
    language: str
    time_zone: str
    brand_colour: str
    accent: str
    scheme: str
    logo_name: str | None
    footer_html: str
    updated_at: datetime | None

    @property
    def direction(self) -> str:
        """The way the site's language runs, "ltr" or "rtl"."""
        return "rtl" if self.language.lower().split("-")[0] in RIGHT_TO_LEFT else "ltr"

    @cached_property
    def version(self) -> str:
        """A mark that differs when colours or logo do; browsers keep what has it in its address for good."""
        facts = (EDITION, self.name, self.brand_colour, self.accent, self.scheme, self.logo_name)
        return sha256(repr(facts).encode()).hexdigest()[:16]

    @property
    def theme_url(self) -> str:
        """Address of the site's colours."""
        return f"/_theme/{self.version}.css"

    @property
    def logo_url(self) -> str:
        """Address of the logo, or of the monogram drawn in its place."""
        return f"/_theme/logo-{self.version}{'' if self.logo_name else '.svg'}"

    @property
    def palette(self) -> Palette:
        """All colours, derived."""
        return palette(self.brand_colour, self.accent)


def current_site() -> Look:
    """Return the look of the current tenant; raises `NoTenant` when there is none."""
    site = db.session.info.get("site") or db.session.scalar(_row())
    db.session.info["site"] = site  # the session holds rows weakly, and pages ask for this one often
    if site is None:
        return _unfurnished(current_tenant().name)
    return Look(**{name: getattr(site, name) for name in Look.__dataclass_fields__})


@cache
def _row() -> Select[tuple[Site]]:
    return select(Site).where(Site.id == 1)


def _unfurnished(name: str) -> Look:
    river = PRESETS["river"]
    return Look(name, "", "en", "UTC", river.brand, river.accent, "auto", None, "", None)
