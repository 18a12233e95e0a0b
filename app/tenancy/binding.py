"""Ties the session to the current tenant's database, and each object to the tenant it came from.

Models name their file: `RegistryModel`, `LedgerModel` or `TenantModel`. Nothing is bound to a default.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable
from typing import Any, ClassVar

from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from flask_sqlalchemy.session import Session
from sqlalchemy import Engine, event
from sqlalchemy.orm import DeclarativeBase, ORMExecuteState, SessionTransaction

from app.tenancy.context import before_exit, current_scope
from app.tenancy.errors import TwoFiles, WrongTenant

TENANT, REGISTRY, LEDGER = "tenant", "registry", "ledger"


class BoundSession(Session):
    """A session that serves the scope it was made in and no other."""

    def __init__(self, db: SQLAlchemy, **options: Any) -> None:
        super().__init__(db=db, **options)
        self.scope = current_scope()
        self.tenant_id = self.scope.tenant.id if self.scope and self.scope.tenant else None
        self.written: set[str] = set()

    def get_bind(self, mapper: Any = None, clause: Any = None, bind: Any = None, **kwargs: Any) -> Any:
        """Return the engine of the model's file; raises `WrongTenant` outside the scope of this session."""
        scope = current_scope()
        if scope is not self.scope:
            current = scope.tenant.slug if scope and scope.tenant else "none"
            raise WrongTenant("This session", self.tenant_id or "the platform", current)
        return super().get_bind(mapper=mapper, clause=clause, bind=bind, **kwargs)

    def merge(self, instance: Any, **options: Any) -> Any:
        """Merge as usual, after refusing an object that another tenant's session loaded."""
        _refuse_foreign(self, instance)
        return super().merge(instance, **options)


class Base(DeclarativeBase):
    """Base of all models."""

    __bind_key__: ClassVar[str | None] = None


class Database(SQLAlchemy):
    """Flask-SQLAlchemy with engines of the tenancy core, and sessions that live as long as their scope."""

    def _make_engine(self, bind_key: str | None, options: dict[str, Any], app: Flask) -> Engine:
        assert bind_key is not None  # nothing is bound to a default
        return app.extensions["tenancy"].engines[bind_key]

    def _teardown_session(self, exc: BaseException | None) -> None:
        # An outer application context can span two hosts; the scope, not it, says when a session is over.
        if current_scope() is None:
            super()._teardown_session(exc)


def _session_scope() -> Hashable:
    return current_scope() or threading.get_ident()


db = Database(
    model_class=Base,
    disable_autonaming=True,
    session_options={"class_": BoundSession, "scopefunc": _session_scope, "expire_on_commit": False},
)
before_exit(lambda: db.session.remove())


class TenantModel(db.Model):  # type: ignore[name-defined]
    """A row in the current tenant's file. The file says whose it is, so no column does."""

    __abstract__ = True
    __bind_key__ = TENANT


class RegistryModel(db.Model):  # type: ignore[name-defined]
    """A row in the registry."""

    __abstract__ = True
    __bind_key__ = REGISTRY


class LedgerModel(db.Model):  # type: ignore[name-defined]
    """A row in the ledger."""

    __abstract__ = True
    __bind_key__ = LEDGER


def _refuse_foreign(session: BoundSession, instance: Any) -> None:
    owner = getattr(instance, "_tenant_id", None)
    if owner is not None and owner != session.tenant_id:
        raise WrongTenant(f"This {type(instance).__name__}", owner, session.tenant_id or "none")


def _stamp(session: BoundSession, instance: Any) -> None:
    if isinstance(instance, TenantModel):
        instance._tenant_id = session.tenant_id


def _attach(session: BoundSession, instance: Any) -> None:
    _refuse_foreign(session, instance)
    _stamp(session, instance)


def _check_flush(session: BoundSession, *_: Any) -> None:
    for instance in (*session.new, *session.dirty, *session.deleted):
        _refuse_foreign(session, instance)
        _note_write(session, instance.__bind_key__)


def _check_statement(state: ORMExecuteState) -> None:
    if (state.is_insert or state.is_update or state.is_delete) and state.bind_mapper is not None:
        _note_write(state.session, state.bind_mapper.class_.__bind_key__)  # type: ignore[arg-type]


def _note_write(session: BoundSession, bind_key: str) -> None:
    session.written.add(bind_key)
    if len(session.written) > 1:
        raise TwoFiles(session.written)


def _forget_writes(session: BoundSession, transaction: SessionTransaction) -> None:
    if transaction.parent is None:
        session.written.clear()


event.listen(BoundSession, "before_attach", _attach)
event.listen(BoundSession, "loaded_as_persistent", _stamp)
event.listen(BoundSession, "before_flush", _check_flush)
event.listen(BoundSession, "do_orm_execute", _check_statement)
event.listen(BoundSession, "after_transaction_end", _forget_writes)
