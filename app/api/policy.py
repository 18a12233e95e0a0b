"""What a token may be good for: scopes, each declared once, each standing for a permission that a person needs for the same."""

from __future__ import annotations

from dataclasses import dataclass

from app.accounts import may, permission

MANAGE = permission(
    "tokens.manage", "Make tokens for services, and end anybody's", roles=("admin",), place="Settings"
).name


@dataclass(frozen=True)
class Scope:
    """One thing that a token may be good for: its name, what it means to people, and the permission it stands for."""

    name: str
    label: str
    permission: str


_scopes: dict[str, Scope] = {}


def scope(name: str, label: str, *, permission: str) -> Scope:
    """Declare a scope; raises `ValueError` when another one has its name."""
    declared = Scope(name, label, permission)
    if _scopes.setdefault(name, declared) != declared:
        raise ValueError(f"Two scopes are called {name!r}; give one of them another name.")
    return declared


def scopes() -> tuple[Scope, ...]:
    """Return every scope in the order in which they were declared."""
    return tuple(_scopes.values())


def grantable() -> list[Scope]:
    """Return the scopes that whoever asks may give a token: those that stand for what they may do themselves."""
    return [each for each in scopes() if may(each.permission)]
