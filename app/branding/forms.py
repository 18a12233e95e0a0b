"""The form with which an owner says how the organisation presents itself."""

from __future__ import annotations

from typing import Any

from wtforms import (
    BooleanField,
    ColorField,
    FileField,
    RadioField,
    SelectField,
    StringField,
    TextAreaField,
    ValidationError,
)
from wtforms.validators import DataRequired, InputRequired, Length, Regexp

from app.accounts.forms import Form
from app.branding.models import NAME_LENGTH, TAGLINE_LENGTH, Look
from app.branding.presets import PRESETS
from app.facilities.clock import time_zones

LOGO_BYTES = 1 << 20
HEX = Regexp(r"^#[0-9a-fA-F]{6}$", message="Write it as #rrggbb.")
OWN = "own"  # colours of one's own rather than a preset

# BCP 47 tags, each with the name that its speakers use.
LANGUAGES = {
    "en": "English",
    "ar": "العربية",
    "ca": "Català",
    "cs": "Čeština",
    "cy": "Cymraeg",
    "da": "Dansk",
    "de": "Deutsch",
    "el": "Ελληνικά",
    "es": "Español",
    "et": "Eesti",
    "fa": "فارسی",
    "fi": "Suomi",
    "fr": "Français",
    "ga": "Gaeilge",
    "he": "עברית",
    "hi": "हिन्दी",
    "hr": "Hrvatski",
    "hu": "Magyar",
    "is": "Íslenska",
    "it": "Italiano",
    "ja": "日本語",
    "ko": "한국어",
    "lt": "Lietuvių",
    "lv": "Latviešu",
    "nb": "Norsk bokmål",
    "nl": "Nederlands",
    "pl": "Polski",
    "pt": "Português",
    "ro": "Română",
    "sk": "Slovenčina",
    "sl": "Slovenščina",
    "sr": "Српски",
    "sv": "Svenska",
    "tr": "Türkçe",
    "uk": "Українська",
    "ur": "اردو",
    "vi": "Tiếng Việt",
    "zh": "中文",
}


def tidy(value: str | None) -> str:
    """Drop the space around what was typed."""
    return (value or "").strip()


class SettingsForm(Form):
    """Name, place and look of one organisation."""

    name = StringField(
        "Name",
        [DataRequired("Please give the organisation's name."), Length(max=NAME_LENGTH)],
        [tidy],
    )
    tagline = StringField(
        "Tagline",
        [Length(max=TAGLINE_LENGTH)],
        [tidy],
        description="A few words under the name: what you do, or where you are.",
    )
    footer = TextAreaField(
        "At the foot of every page",
        [Length(max=4000)],
        [tidy],
        description="Address, opening hours, how to reach you. Markdown works here.",
    )
    language = SelectField("Language of your pages", [InputRequired()])
    time_zone = SelectField("Time zone", [InputRequired()])
    preset = RadioField(
        "Colours",
        choices=[*((name, preset.label) for name, preset in PRESETS.items()), (OWN, "Your own")],
    )
    brand_colour = ColorField("Main colour", [InputRequired(), HEX])
    accent = ColorField("Second colour", [InputRequired(), HEX])
    scheme = RadioField(
        "Light or dark",
        choices=[
            ("auto", "As each visitor's device prefers"),
            ("light", "Always light"),
            ("dark", "Always dark"),
        ],
    )
    logo = FileField("Logo", description="A PNG, JPEG, WebP or GIF picture of up to 1 MB; square works best.")
    remove_logo = BooleanField("Remove the logo and show your initials")

    def __init__(self, look: Look) -> None:
        super().__init__(obj=look, preset=preset_of(look))
        self.language.choices = choices_with(tuple(LANGUAGES.items()), look.language)
        self.time_zone.choices = choices_with(time_zones(), look.time_zone)

    def validate_logo(self, field: Any) -> None:
        """Refuse a file that is larger than anybody's logo needs."""
        if field.data and len(field.data.read(LOGO_BYTES + 1)) > LOGO_BYTES:
            raise ValidationError("This file is larger than 1 MB. Save it smaller; 512 pixels a side are enough.")
        if field.data:
            field.data.seek(0)

    @property
    def colours(self) -> tuple[str, str]:
        """The main and the second colour that were chosen."""
        preset = PRESETS.get(self.preset.data)
        return (preset.brand, preset.accent) if preset else (self.brand_colour.data, self.accent.data)


def preset_of(look: Look) -> str:
    """Return the name of the preset whose colours a site has, else "own"."""
    colours = (look.brand_colour, look.accent)
    return next((name for name, preset in PRESETS.items() if (preset.brand, preset.accent) == colours), OWN)


def choices_with(choices: tuple[tuple[str, str], ...], current: str) -> list[tuple[str, str]]:
    """Return the choices, with what holds now among them even if an import brought something rarer."""
    return [*choices, *([] if current in dict(choices) else [(current, current)])]
