"""What people may do here: the permissions that modules declare, and the one way in which every door asks for them.

A permission is asked for by its name: `needs` at a door, `may` inside, `User.who_may` for many people at once. Who lacks it
finds nothing: the answer is that of an address which does not exist.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import wraps
from typing import Any, Protocol
from urllib.parse import urlencode

from flask import abort, redirect, request
from flask_login import AnonymousUserMixin, current_user
from werkzeug.wrappers import Response

from app.accounts.csrf import kept
from app.accounts.visits import UNSAFE

View = Callable[..., Any]

# The roles that every organisation has, by key.
ROLES = {"owner": "Owner", "admin": "Admin", "editor": "Editor", "agent": "Agent", "member": "Member"}


@dataclass(frozen=True)
class Permission:
    """Something that people may do: its name, what it means to them, the keys of those of `ROLES` that hold it, and where."""

    name: str
    label: str
    roles: frozenset[str]
    place: str  # of the desk, as its menu calls it

    @property
    def is_for_owners_alone(self) -> bool:
        """Whether no other role may ever hold it."""
        return self.roles == {"owner"}


class Person(Protocol):
    """Whoever may do something: a person, a visitor, an operator on a visit."""

    def may(self, name: str) -> bool:
        """Tell whether they hold the permission of that name."""


class Visitor(AnonymousUserMixin):
    """Whoever is not signed in, who may do nothing on the desk."""

    is_owner = False

    def may(self, name: str) -> bool:
        """Say no; raises `KeyError` for a permission that nobody declared."""
        named(name)
        return False


_catalogue: dict[str, Permission] = {}


def permission(name: str, label: str, *, roles: Iterable[str] = (), place: str = "") -> Permission:
    """Declare a permission; owners hold each, and of the other roles those named. Without any it is for owners alone.

    `place` is the part of the desk that it opens, by default what its name begins with, such as "Inbox".
    Raises `ValueError` for a role that not every organisation has, or when another permission has the name.
    """
    place = place or name.partition(".")[0].capitalize()
    declared = Permission(name, label, frozenset(roles) | {"owner"}, place)
    if not declared.roles <= ROLES.keys():
        raise ValueError(f"{name} is declared for {sorted(declared.roles)}; every organisation has {list(ROLES)}.")
    if _catalogue.setdefault(name, declared) != declared:
        raise ValueError(f"Two permissions are called {name!r}; give one of them another name.")
    return declared


def permissions() -> tuple[Permission, ...]:
    """Return every permission in the order in which they were declared."""
    return tuple(_catalogue.values())


def named(name: str) -> Permission:
    """Return the permission of that name; raises `KeyError` for one that nobody declared."""
    return _catalogue[name]


def may(name: str, user: Person | None = None) -> bool:
    """Tell whether `user`, or else whoever asks, holds a permission; raises `KeyError` for one that nobody declared."""
    return bool((current_user if user is None else user).may(name))


def needs(name: str) -> Callable[[View], View]:
    """Let those through who hold a permission; visitors are asked to sign in, and others find nothing."""

    def guard(view: View) -> View:
        @wraps(view)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            if not current_user.is_authenticated:
                return ask_to_sign_in()
            return view(*args, **kwargs) if may(name) else abort(404)

        return guarded

    return guard


def member_required(view: View) -> View:
    """Let everybody through who is signed in; visitors are asked to, then brought back."""

    @wraps(view)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        return view(*args, **kwargs) if current_user.is_authenticated else ask_to_sign_in()

    return guarded


def ask_to_sign_in() -> Response:
    """Lead to the sign-in page; what was typed is handed back rather than lost."""
    if request.method in UNSAFE:
        return kept("You are no longer signed in, so nothing was changed.")
    return redirect("/sign-in?" + urlencode({"next": request.full_path.rstrip("?")}, safe="/"))


def is_local(path: str) -> bool:
    """Tell whether `path` leads to a page of this very house, however a browser may read it."""
    return path.startswith("/") and not path.startswith("//") and "\\" not in path and path.isprintable()


permission("people.see", "See who is here", roles=("admin", "editor", "agent", "member"))
permission("people.manage", "Invite people, give them roles, let them go", roles=("admin",))
permission("roles.manage", "Make and change roles", place="People")
permission("audit.read", "Read who did what", roles=("admin",), place="Settings")
permission("security.manage", "Say how people sign in, and let operators visit", roles=("admin",), place="Settings")
