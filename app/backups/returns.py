"""One thing brought back out of a preview: what a preview holds, how each stands here today, and putting it back.

A preview is a house of its own with its own key. So it is read in its own context, what is read becomes plain JSON, and that is
written in the context of the living tenant, by the module whose it is. Modules register what of theirs can be brought back.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context
from dataclasses import dataclass
from datetime import datetime
from itertools import takewhile
from typing import Any, NamedTuple, TypeVar

from flask import current_app
from sqlalchemy import insert, select

from app.accounts import User
from app.facilities import storage
from app.facilities.text import one_line
from app.tenancy import ResolvedTenant, TenantModel, current_tenant, db, tenant_context
from app.tenancy.context import require_scope
from app.tenancy.errors import Refused, WrongTenant

T = TypeVar("T")

MISSING, TRASHED, CHANGED, SAME, HIDDEN = "missing", "trashed", "changed", "same", ""


class AlreadyHere(Refused):
    """Nothing of it is missing here any more; `path` leads to it."""

    code = "already_here"

    def __init__(self, title: str, path: str) -> None:
        self.path = path
        super().__init__(f"“{title}” is here already, and nothing of it is missing.")


class Person(NamedTuple):
    """Somebody of the organisation, known by the same mark in all of its files.

    An address may have passed on to somebody else since; when that account was made tells the two apart.
    """

    address: str
    since: str  # ISO 8601

    @classmethod
    def of(cls, user: User) -> Person:
        """Return the mark of a person."""
        return cls(user.email, user.created_at.isoformat())

    def here(self) -> User | None:
        """Return that person in the current tenant, None when they are gone or not here yet."""
        user = User.by_email(self.address)
        return user if user and user.created_at.isoformat() == self.since else None


@dataclass(frozen=True)
class Found:
    """Something that a preview holds. `id` and `born` together tell it from everything else, `mark` what it is like."""

    id: int
    born: datetime
    title: str
    detail: str
    changed_at: datetime
    mark: str


@dataclass(frozen=True)
class Item:
    """Something that a preview holds, and how it stands here today: "missing", "trashed", "changed" or "same"."""

    id: int
    title: str
    detail: str
    changed_at: datetime
    state: str


@dataclass(frozen=True)
class Bringing:
    """One bringing back: out of which preview, and in whose name."""

    preview: ResolvedTenant
    by: User

    @property
    def moment(self) -> datetime:
        """The moment that the preview shows, in UTC."""
        assert self.preview.preview_at is not None
        return self.preview.preview_at

    def file(self, name: str) -> str:
        """Return the name here of the preview's stored file: the same where it is still kept, else it is sealed here anew.

        One that the preview itself cannot show keeps its name. Raises `DiskFull`, and `QuotaExceeded` when the plan has no room.
        """
        if storage.find(name) is None:
            with suppress(storage.StorageDamaged):
                # Opened there, read here: past this, a stream needs neither the preview's file nor its key.
                stream = _looking_into(self.preview, lambda: storage.open_file(name))
                return storage.put(stream, _looking_into(self.preview, lambda: _mime(name))).name
        return name


@dataclass(frozen=True)
class Returnable:
    """A kind of thing that can be brought back, with what its module does about it.

    `items(asker, search, most)` and `take(id, asker)` run in the preview's context, the asker being known there by `here()`;
    `known(found, bringing)` and `bring(taken, bringing)` in the living tenant's. `take` returns plain JSON, None for what is not
    there or not for the asker to see; `known` one of the states, `HIDDEN` for what the asker may not see today; `bring` the
    address on the desk that shows it. It raises `AlreadyHere`, or `Refused` where bringing it back would show it to more people.
    """

    name: str
    label: str
    plural: str
    items: Callable[[Person, str, int], list[Found]]
    known: Callable[[Found, Bringing], str]
    take: Callable[[int, Person], dict[str, Any] | None]
    bring: Callable[[dict[str, Any], Bringing], str]
    comes_as: str = ""  # such as "as a draft", where it does not come back as it was
    then: str = ""  # what is left to do about it


_returnables: dict[str, Returnable] = {}


def register(returnable: Returnable) -> None:
    """Let things of this kind be brought back."""
    _returnables[returnable.name] = returnable


def kinds() -> tuple[Returnable, ...]:
    """Return the kinds of things that can be brought back, in the order in which they were registered."""
    return tuple(_returnables.values())


def find(name: str) -> Returnable | None:
    """Return the kind of that name, None for an unknown one."""
    return _returnables.get(name)


def items(preview: ResolvedTenant, name: str, search: str = "", limit: int = 50, *, user: User) -> list[Item]:
    """Return what the preview holds of that kind for `user` to see, then and today, `limit` at most, last changed first.

    Raises `WrongTenant` for a preview of another tenant, and `KeyError` for an unknown kind.
    """
    _require_ours(preview)
    kind, asker, words = _returnables[name], Person.of(user), one_line(search)
    found = _looking_into(preview, lambda: kind.items(asker, words, limit))
    standing = [(each, kind.known(each, Bringing(preview, user))) for each in found]
    return [
        Item(each.id, each.title, each.detail, each.changed_at, state) for each, state in standing if state != HIDDEN
    ]


def bring_back(preview: ResolvedTenant, name: str, item_id: int, by: User) -> str:
    """Put one thing back from the preview, and return the address on the desk that shows it; the caller commits.

    What the caller has not committed is undone first. Raises `WrongTenant` for a preview of another tenant, `KeyError` for an
    unknown kind, `AlreadyHere` when nothing is missing, `Refused` for what is not there for `by` to see, and `QuotaExceeded`.
    """
    _require_ours(preview)
    kind, asker = _returnables[name], Person.of(by)
    db.session.rollback()  # Reading the preview may take its time, and nobody is to wait for it with this file locked.
    taken = _looking_into(preview, lambda: kind.take(item_id, asker))
    if taken is None:
        raise not_there()
    return kind.bring(json.loads(json.dumps(taken)), Bringing(preview, by))


def not_there() -> Refused:
    """Return the one answer for what a preview does not hold, and for what it holds for others."""
    return Refused("This is not in the preview. Look through the list again; it shows what can be brought back.")


def put_rows(model: type[TenantModel], rows: list[dict[str, Any]]) -> dict[int, int]:
    """Add rows, oldest first, and return the number of each here by its old one.

    Each keeps its number, and with it its place, up to the first whose number is taken here; from there on all get new ones.
    """
    free = _free_numbers(model, [row["id"] for row in rows])
    moved = [{name: value for name, value in row.items() if name != "id"} for row in rows[len(free) :]]
    if free:
        db.session.execute(insert(model), rows[: len(free)])
    adding = insert(model).returning(model.id, sort_by_parameter_order=True)
    new = list(db.session.scalars(adding, moved)) if moved else []
    return dict(zip((row["id"] for row in rows), [*free, *new], strict=True))


def _free_numbers(model: type[TenantModel], wanted: list[int]) -> list[int]:
    number = model.id
    span = number.between(min(wanted), max(wanted)) if wanted else number.is_(None)
    taken = set(db.session.scalars(select(number).where(span)))
    return list(takewhile(lambda each: each not in taken, wanted))


def _require_ours(preview: ResolvedTenant) -> None:
    """Refuse what is no preview of the current tenant: here, and nowhere else, one house's rows come into another's."""
    if preview.preview_of != current_tenant().id:
        raise WrongTenant(f"The preview {preview.slug}", preview.preview_of or preview.id, current_tenant().slug)


def _looking_into(preview: ResolvedTenant, work: Callable[[], T]) -> T:
    """Do `work` in the preview's context, which writes nothing; the current one is untouched by it."""
    app, scope = current_app._get_current_object(), require_scope("Looking into a preview")  # type: ignore[attr-defined]

    def inside() -> T:
        with app.app_context(), tenant_context(preview, origin=scope.origin, writes=False, request_id=scope.request_id):
            return work()

    return Context().run(inside)


def _mime(name: str) -> str:
    stored = storage.find(name)
    return stored.mime if stored else ""
