"""The forms of the console."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from wtforms import (
    DecimalField,
    EmailField,
    IntegerField,
    SelectField,
    StringField,
    TextAreaField,
    ValidationError,
)
from wtforms.validators import DataRequired, InputRequired, Length, NumberRange, Optional

from app.accounts.addresses import normal_address
from app.accounts.forms import Form
from app.branding.forms import LANGUAGES, time_zones
from app.tenancy.errors import FreeholdError
from app.tenancy.registry import Tier

GIB = 1 << 30  # bytes


def stripped(value: str | None) -> str:
    """Drop the space around what was typed."""
    return (value or "").strip()


def check_address(form: Any, field: Any) -> None:
    """Refuse what is no e-mail address."""
    try:
        normal_address(field.data)
    except FreeholdError as problem:
        raise ValidationError(problem.advice) from None


class TenantForm(Form):
    """A new organisation."""

    name = StringField("Name", [DataRequired("Please give the organisation's name."), Length(max=120)], [stripped])
    slug = StringField(
        "Short name",
        [Length(max=63)],
        [stripped],
        description="Letters a to z, digits and hyphens; made from the name when empty, and then kept.",
    )
    domain = StringField(
        "Own domain",
        [Length(max=253)],
        [stripped],
        description="Such as club.example.org. An address under this platform comes by itself.",
    )
    tier = SelectField("Plan", [InputRequired()])
    owner = EmailField(
        "Owner's e-mail",
        [
            DataRequired("Please give the address of the person who will look after the site."),
            Length(max=254),
            check_address,
        ],
        [stripped],
        description="You get a link for them, to choose a password with.",
    )


class SuspensionForm(Form):
    """Why a tenant is to be paused."""

    reason = StringField(
        "Reason",
        [DataRequired("Please say why: the owner will ask."), Length(max=300)],
        [stripped],
        description="Kept in the audit and shown here until the site is back.",
    )


class SettingsForm(Form):
    """What holds for the whole platform."""

    platform_name = StringField(
        "Name of the platform", [DataRequired("Please give it a name."), Length(max=80)], [stripped]
    )
    support_address = EmailField(
        "Support address",
        [Optional(), Length(max=254), check_address],
        [stripped],
        description="Where people may write when they are stuck. Shown on the sign-in page.",
    )
    desk_notice = TextAreaField(
        "Notice for all members",
        [Length(max=500)],
        [stripped],
        description="Shown at the top of every desk until you empty it, such as planned maintenance.",
    )
    default_tier = SelectField("Plan", [InputRequired()])
    default_language = SelectField("Language", [InputRequired()], choices=list(LANGUAGES.items()))
    default_time_zone = SelectField("Time zone", [InputRequired()])
    session_hours = IntegerField(
        "Stay signed in for (hours)",
        [
            InputRequired("Please give a number of hours."),
            NumberRange(1, 24 * 90, "From 1 hour to 2,160 (90 days)."),
        ],
        description="Holds for sign-ins from now on.",
    )

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)
        self.default_time_zone.choices = time_zones()


class TierForm(Form):
    """What one plan allows. Empty is no limit."""

    class Meta(Form.Meta):
        csrf = False  # stands inside the settings form, which carries the token

    max_users = IntegerField("People", [Optional(), NumberRange(1, 1_000_000, "1 or more, or empty for no limit.")])
    storage = DecimalField(
        "Storage in GiB",
        [Optional(), NumberRange(Decimal("0.01"), 1_000_000, "0.01 or more, or empty for no limit.")],
        places=None,
    )

    @classmethod
    def of(cls, tier: Tier) -> TierForm:
        """Return the form of one plan, filled with what holds now."""
        storage = None if tier.max_bytes is None else round(tier.max_bytes / GIB, 3)
        return cls(prefix=f"{tier.name}-", max_users=tier.max_users, storage=storage)

    def apply(self, tier: Tier) -> None:
        """Set what the plan allows from now on."""
        tier.max_users = self.max_users.data
        tier.max_bytes = None if self.storage.data is None else int(self.storage.data * GIB)
