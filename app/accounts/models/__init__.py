"""The people of one organisation, where they are signed in, who is invited, and the links with which one comes in."""

from app.accounts import acts  # noqa: F401  what the verbs note is declared before they are called
from app.accounts.models.device import DEVICE_LIFETIME, Device
from app.accounts.models.factor import ASKED_OF, Attempt, Factor, RecoveryCode, SignInLink, SignInRules
from app.accounts.models.invitation import Invitation
from app.accounts.models.join_domain import JoinDomain
from app.accounts.models.links import HELP_LIFETIME, LINK_LIFETIME, SetUpLink
from app.accounts.models.role import Role
from app.accounts.models.session import FRESH, SEEN_EVERY, Session
from app.accounts.models.support_visit import SupportRule, SupportVisit
from app.accounts.models.user import User

__all__ = [
    "ASKED_OF",
    "DEVICE_LIFETIME",
    "FRESH",
    "HELP_LIFETIME",
    "LINK_LIFETIME",
    "SEEN_EVERY",
    "Attempt",
    "Device",
    "Factor",
    "Invitation",
    "JoinDomain",
    "RecoveryCode",
    "Role",
    "Session",
    "SetUpLink",
    "SignInLink",
    "SignInRules",
    "SupportRule",
    "SupportVisit",
    "User",
]
