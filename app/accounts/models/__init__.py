"""The people of one organisation, where they are signed in, who is invited, and the links with which one comes in."""

from app.accounts import acts  # noqa: F401  what the verbs note is declared before they are called
from app.accounts.models.invitation import Invitation
from app.accounts.models.links import HELP_LIFETIME, LINK_LIFETIME, SetUpLink
from app.accounts.models.session import SEEN_EVERY, Session
from app.accounts.models.user import ROLES, User

__all__ = ["HELP_LIFETIME", "LINK_LIFETIME", "ROLES", "SEEN_EVERY", "Invitation", "Session", "SetUpLink", "User"]
