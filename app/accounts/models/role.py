"""Roles: what each lets its people do. Every organisation has five; owners make more of them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from itertools import count
from typing import TYPE_CHECKING, Self

from sqlalchemy import JSON, select
from sqlalchemy.orm import Mapped, mapped_column

from app.accounts import policy
from app.accounts.policy import ROLES, Permission
from app.facilities import audit
from app.facilities.text import one_line
from app.tenancy import TenantModel, db
from app.tenancy.errors import Refused

if TYPE_CHECKING:
    from app.accounts.models.invitation import Invitation
    from app.accounts.models.user import User

NAME_LENGTH = 40  # characters
MOST = 30  # roles that an organisation makes


class Role(TenantModel):
    """What one may do, by the names of permissions. Rows are the roles made here; `of` and `every` know the five as well."""

    __tablename__ = "role"

    id: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(unique=True)  # what people and invitations hold; it stays when the name changes
    name: Mapped[str]
    permissions: Mapped[list[str]] = mapped_column(JSON)

    @classmethod
    def of(cls, key: str) -> Role:
        """Return the role that is held by that key; one that is unknown lets nobody do anything."""
        return _five().get(key) or cls._made(key) or cls(key=key, name=key, permissions=[])

    @classmethod
    def every(cls) -> list[Role]:
        """Return all roles: the five, then those that were made here, by name."""
        return [*_five().values(), *db.session.scalars(select(cls).order_by(cls.name, cls.id))]

    @classmethod
    def keys_with(cls, permission: str) -> list[str]:
        """Return the keys of the roles that hold a permission."""
        held = policy.named(permission).roles
        return [*held, *(role.key for role in db.session.scalars(select(cls)) if permission in role.grants)]

    @classmethod
    def make(cls, name: str, permissions: Iterable[str], *, by: User) -> Self:
        """Make a role; raises `Refused` for a name that is unusable or taken, and when there are too many."""
        if len(cls.every()) >= len(ROLES) + MOST:
            raise Refused(f"There is room for {MOST} roles of your own. Remove one that nobody has.")
        name = cls._free_name(name)
        role = cls(key=cls._free_key(name), name=name, permissions=_known(permissions))
        db.session.add(role)
        db.session.flush()
        audit.note("role_made", actor=by.email, subject=role.name, permissions=role.permissions)
        return role

    @property
    def grants(self) -> frozenset[str]:
        """The names of the permissions it holds."""
        return frozenset(each.name for each in policy.permissions() if self.holds(each))

    def holds(self, permission: Permission) -> bool:
        """Tell whether it lets people do this; what is for owners alone no role that was made here does."""
        if self.key in ROLES:
            return self.key in permission.roles
        return permission.name in self.permissions and not permission.is_for_owners_alone

    @property
    def is_made(self) -> bool:
        """Whether it was made here, and so can be changed."""
        return self.key not in ROLES

    def covers(self, other: Role) -> bool:
        """Tell whether whoever has this one may give the other, take it away, and let its people go: it holds no more."""
        return self.key == "owner" or (other.key != "owner" and other.grants <= self.grants)

    def change(self, name: str, permissions: Iterable[str], *, by: User) -> None:
        """Call it otherwise, or let it hold other permissions: that signs its people out. Raises `Refused` as `make` does."""
        from app.accounts.models.invitation import Invitation  # which asks who is here, as `people` does

        name, wanted = self._free_name(name, but=self), _known(permissions)
        if (name, wanted) == (self.name, self.permissions):
            return
        is_other = wanted != self.permissions
        before = {"name": self.name, "permissions": self.permissions}
        self.name, self.permissions = name, wanted
        after = {"name": name, "permissions": wanted}
        audit.note("role_redefined", actor=by.email, subject=name, before=before, after=after)
        for person in self.people() if is_other else ():
            person.follow_role(by=by)
        Invitation.withdraw_unfounded(by=by)

    def remove(self, *, by: User) -> None:
        """Take it out; raises `Refused` while somebody has it or is invited as it."""
        if self.people() or self.invitations():
            raise Refused(f"Somebody has the role {self.name}, or is invited with it. Give them another one first.")
        audit.note("role_removed", actor=by.email, subject=self.name)
        db.session.delete(self)

    def people(self) -> list[User]:
        """Return who has it, by name; those who cannot sign in at present too."""
        from app.accounts.models.user import User  # which asks this module what a person may do

        return list(db.session.scalars(select(User).where(User.role == self.key).order_by(User.name, User.id)))

    def invitations(self) -> list[Invitation]:
        """Return the invitations that come with it, those that have run out too."""
        from app.accounts.models.invitation import Invitation  # which asks who is here, as `people` does

        return list(db.session.scalars(select(Invitation).where(Invitation.role == self.key)))

    @classmethod
    def _made(cls, key: str) -> Role | None:
        return db.session.scalar(select(cls).where(cls.key == key))

    @classmethod
    def _free_name(cls, name: str, but: Role | None = None) -> str:
        name = one_line(name)
        if not name or len(name) > NAME_LENGTH:
            raise Refused(f"Give the role a name of up to {NAME_LENGTH} characters.")
        if any(role.name.casefold() == name.casefold() for role in cls.every() if role is not but):
            raise Refused(f"There is a role called {name} already. Choose another name.")
        return name

    @classmethod
    def _free_key(cls, name: str) -> str:
        stem = re.sub(r"\W+", "-", name.casefold()).strip("-") or "role"
        tried = (stem if number == 1 else f"{stem}-{number}" for number in count(1))
        return next(key for key in tried if key not in ROLES and cls._made(key) is None)


def offered() -> list[Permission]:
    """Return the permissions that a role may be made of: all but those for owners alone."""
    return [each for each in policy.permissions() if not each.is_for_owners_alone]


def _known(permissions: Iterable[str]) -> list[str]:
    chosen = set(permissions)
    return [each.name for each in offered() if each.name in chosen]


@cache
def _five() -> dict[str, Role]:
    return {key: Role(key=key, name=name, permissions=[]) for key, name in ROLES.items()}
