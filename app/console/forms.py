"""The forms of the console."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

from flask_login import current_user
from wtforms import (
    BooleanField,
    DateField,
    DecimalField,
    EmailField,
    IntegerField,
    RadioField,
    SelectField,
    StringField,
    TextAreaField,
    ValidationError,
)
from wtforms.validators import DataRequired, InputRequired, Length, NumberRange, Optional

from app.accounts.addresses import normal_address
from app.accounts.forms import ChangePasswordForm, Form
from app.accounts.models import ASKED_OF
from app.branding.forms import LANGUAGES
from app.console import caps
from app.console.policy import MEANINGS, ROLES
from app.facilities import limits, settings
from app.facilities.clock import time_zones
from app.facilities.limits import Meter
from app.tenancy import utcnow
from app.tenancy.errors import FreeholdError
from app.tenancy.registry import Tier

GIB = 1 << 30  # bytes
REQUIRED_HOURS = InputRequired("Please give a number of hours.")
MOST_HOURS = NumberRange(1, 24 * 90, "From 1 hour to 2,160 (90 days).")
REQUIRED_NUMBER = InputRequired("Please give a number.")
AT_ONCE = NumberRange(1, 32, "From 1 to 32.")
CHANGES = NumberRange(10, 100_000, "From 10 to 100,000.")
OF_PLAN = {
    "session_hours": ("Stay signed in for (hours)", MOST_HOURS),
    "idle_hours": ("Without a sign of life for (hours)", MOST_HOURS),
    "requests_at_once": ("Pages at once", AT_ONCE),
    "changes_a_minute": ("Changes a minute", CHANGES),
}


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


class DomainForm(Form):
    """One more host for an organisation."""

    host = StringField(
        "Domain",
        [DataRequired("Please give the domain, such as club.example.org."), Length(max=253)],
        [stripped],
        description="Such as club.example.org, without https:// before it.",
    )


class SuspensionForm(Form):
    """Why a tenant is to be suspended."""

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
        "Stay signed in for (hours)", [REQUIRED_HOURS, MOST_HOURS], description="Holds for sign-ins from now on."
    )
    idle_hours = IntegerField(
        "Without a sign of life for (hours)", [REQUIRED_HOURS, MOST_HOURS], description="Holds from the next one on."
    )
    manager_session_hours = IntegerField(
        "Who manages people, for (hours)", [REQUIRED_HOURS, MOST_HOURS], description="Where that is shorter."
    )
    manager_idle_hours = IntegerField(
        "Who manages people, without a sign of life for (hours)", [REQUIRED_HOURS, MOST_HOURS]
    )
    requests_at_once = IntegerField(
        "Pages of one organisation at once",
        [REQUIRED_NUMBER, AT_ONCE],
        description="In each process; one thread is left to the others however large this is.",
    )
    changes_a_minute = IntegerField(
        "Changes of one organisation a minute",
        [REQUIRED_NUMBER, CHANGES],
        description="By those signed in, on the desk.",
    )
    audit_days = IntegerField(
        "Keep audits for (days)",
        [
            InputRequired("Please give a number of days."),
            NumberRange(30, 3660, "From 30 days to 3,660 (ten years)."),
        ],
        description="Who did what in each organisation. Older rows are taken out once a month.",
    )

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)
        self.default_time_zone.choices = time_zones()


class TierForm(Form):
    """What one plan allows of each meter, empty for no limit, and where it differs from what holds for all."""

    class Meta(Form.Meta):
        csrf = False  # stands inside the settings form, which carries the token

    second_factor = SelectField("Second factor asked of", choices=list(ASKED_OF.items()))

    @classmethod
    def of(cls, tier: Tier) -> TierForm:
        """Return the form of one plan with a field for every meter, filled with what holds now."""
        meters = limits.meters()
        form = type("TierForm", (cls,), {meter.name: cap_field(meter) for meter in meters} | plan_fields())
        held = {meter.name: shown(meter, caps.of_plan(tier, meter.name)) for meter in meters}
        return form(
            prefix=f"{tier.name}-",
            second_factor=tier.second_factor,
            **held,
            **{name: settings.of_plan(name, tier.name) or None for name in OF_PLAN},
        )

    def apply(self, tier: Tier) -> None:
        """Set what the plan allows and asks for from now on."""
        tier.second_factor = self.second_factor.data
        for meter in limits.meters():
            caps.set_for_plan(tier, meter.name, taken(meter, self[meter.name].data))
        settings.put({f"{name}:{tier.name}": str(self[name].data or "") for name in OF_PLAN})


class CapForm(Form):
    """An amount of one meter for one organisation, other than in its plan."""

    meter = SelectField("Of what", [InputRequired()])
    amount = DecimalField(
        "How much",
        [Optional(), NumberRange(0, 1_000_000_000, "0 or more, or empty for no limit.")],
        places=None,
        description="Storage in GiB, all else as it is counted. Empty for any amount.",
    )
    until = DateField("Last day", [Optional()], description="Empty for good. The plan holds again after it (UTC).")
    why = StringField(
        "Why", [DataRequired("Please say why."), Length(max=300)], [stripped], description="Kept in the audit."
    )

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)
        self.meter.choices = [(meter.name, meter.label) for meter in limits.meters()]

    def validate_until(self, field: DateField) -> None:
        """A day that is over allows nothing."""
        if field.data and caps.end_of(field.data) <= utcnow():
            raise ValidationError("Please give a day that is not over.")

    @property
    def cap(self) -> int | None:
        """The amount as the meter counts it."""
        chosen = next(meter for meter in limits.meters() if meter.name == self.meter.data)
        return taken(chosen, self.amount.data)

    @property
    def moment(self) -> datetime | None:
        """When the exception ends, None for never."""
        return caps.end_of(self.until.data) if self.until.data else None


def operator_role() -> RadioField:
    """Return a field for what an operator may do."""
    return RadioField("Role", choices=[(name, f"{label}. {MEANINGS[name]}") for name, label in ROLES.items()])


class OperatorForm(Form):
    """A new operator."""

    email = EmailField(
        "E-mail", [DataRequired("Please give their e-mail address."), Length(max=254), check_address], [stripped]
    )
    name = StringField("Name", [Length(max=80)], [stripped])
    role = operator_role()


class OperatorRoleForm(Form):
    """What an operator may do from now on."""

    role = operator_role()


class OperatorPasswordForm(ChangePasswordForm):
    """The password there is, and the one to come, of an operator."""

    def about(self) -> tuple[str, ...]:
        return current_user.email, current_user.name, settings.text("platform_name")


class VisitForm(Form):
    """Why an operator wants to be inside an organisation, and for how long."""

    why = StringField(
        "Why",
        [DataRequired("Please say why: the owners read it."), Length(max=300)],
        [stripped],
        description="The organisation's owners read it.",
        id="visit-why",  # another form of the page has a why too
    )
    minutes = SelectField(
        "For how long", coerce=int, choices=[(15, "15 minutes"), (60, "1 hour"), (120, "2 hours"), (240, "4 hours")]
    )
    wants_change = BooleanField(
        "Change things", description="Pages and settings, as far as the owners allow it. Otherwise you only look."
    )


def cap_field(meter: Meter) -> DecimalField | IntegerField:
    """Return the field in which a plan's cap of this meter is typed."""
    if meter.unit == "bytes":
        least = NumberRange(Decimal("0.01"), 1_000_000, "0.01 or more, or empty for no limit.")
        return DecimalField(f"{meter.label} in GiB", [Optional(), least], places=None)
    least = NumberRange(1, 1_000_000_000, "1 or more, or empty for no limit.")
    return IntegerField(meter.label, [Optional(), least])


def plan_fields() -> dict[str, IntegerField]:
    """Return the fields in which what a plan has for itself is typed."""
    of_all = "Empty for what holds for all."
    fields = OF_PLAN.items()
    return {name: IntegerField(label, [Optional(), most], description=of_all) for name, (label, most) in fields}


def shown(meter: Meter, cap: int | None) -> float | int | None:
    """Return a cap as it is typed: bytes in GiB."""
    return round(cap / GIB, 3) if cap is not None and meter.unit == "bytes" else cap


def taken(meter: Meter, typed: Decimal | int | None) -> int | None:
    """Return what was typed as the meter counts it."""
    return None if typed is None else int(typed * GIB) if meter.unit == "bytes" else int(typed)
