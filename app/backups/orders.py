"""What people ask for on a page: a row in the ledger, carried out by the archivist in a process of its own.

Every order is safe to carry out twice, so one that was cut short is simply begun again.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import closing

from sqlalchemy import Engine, select, update

from app.backups import previews
from app.backups.drills import drill
from app.backups.keeper import Keeper
from app.backups.models import DONE, FAILED, KINDS, RUNNING, WAITING, Order, Proof
from app.backups.restore import restore_replacing
from app.backups.shelf import Moment
from app.backups.standing import in_words
from app.config import CHECKOUT
from app.tenancy import ResolvedTenant, Tenancy, db, utcnow
from app.tenancy.errors import FreeholdError, Refused

ENDING = 5.0  # seconds that a process is given to end
TOLD_EVERY = 0.5  # seconds between two notes of how far an order is
SAID = {
    "preview": "The preview is ready.",
    "replace": "It is done.",
    "discard": "The preview was thrown away.",
    "tick": "The copy was made.",
}


def ask(kind: str, tenant_id: str, by: str, seq: int | None = None) -> Order:
    """Add an order to the session's transaction, or return the open one for that tenant: one at a time. The caller commits."""
    if kind not in KINDS:
        raise ValueError(f"{kind!r} is no kind of order.")
    found = latest(tenant_id)
    if found is not None and found.is_open:
        return found
    order = Order(kind=kind, tenant_id=tenant_id, asked_by=by, seq=seq)
    db.session.add(order)
    db.session.flush()
    return order


def latest(tenant_id: str) -> Order | None:
    """Return the newest order for a tenant."""
    return db.session.scalar(select(Order).where(Order.tenant_id == tenant_id).order_by(Order.id.desc()).limit(1))


def start(tenancy: Tenancy, *arguments: str) -> subprocess.Popen[bytes]:
    """Start `freehold backups …` in a process of its own, which ends with this one."""
    return subprocess.Popen(
        [sys.executable, "-m", "app.cli", "backups", *arguments],
        cwd=CHECKOUT,
        env={**os.environ, "FREEHOLD_HOME": str(tenancy.config.home)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )


# Built once: it is asked four times a second.
_WAITING = select(Order.id).where(Order.state == WAITING).order_by(Order.id)


class Carrier:
    """Starts a process for each order that waits, a few at once; one that ends without a word has failed."""

    AT_ONCE = 2

    def __init__(self, tenancy: Tenancy) -> None:
        self._tenancy = tenancy
        self._ledger = tenancy.engines["ledger"]
        self._running: dict[int, subprocess.Popen[bytes]] = {}

    def begin_again(self) -> None:
        """At the start: what an earlier archivist was carrying out waits again."""
        with self._ledger.begin() as ledger:
            ledger.execute(update(Order).where(Order.state == RUNNING).values(state=WAITING, step=""))

    def round(self) -> None:
        """Note what has ended, start what waits."""
        for number in [number for number, process in self._running.items() if process.poll() is not None]:
            del self._running[number]
            with self._ledger.begin() as ledger:
                cut = (Order.id == number) & Order.state.in_((WAITING, RUNNING))
                told = "It was cut short. Nothing is half done; please ask again."
                ledger.execute(update(Order).where(cut).values(state=FAILED, message=told, ended_at=utcnow()))
        room = self.AT_ONCE - len(self._running)
        if room <= 0:
            return
        with self._ledger.connect() as ledger:
            waiting = [number for number in ledger.scalars(_WAITING) if number not in self._running]
            for number in waiting[:room]:
                self._running[number] = start(self._tenancy, "carry-out", str(number))

    def close(self) -> None:
        """End what is being carried out; it is begun again at the next start."""
        for process in self._running.values():
            process.terminate()
        for process in self._running.values():
            try:
                process.wait(ENDING)
            except subprocess.TimeoutExpired:
                process.kill()


class Told:
    """Notes in the ledger how far an order is, twice a second at most."""

    def __init__(self, ledger: Engine, number: int) -> None:
        self._ledger, self._number, self._told = ledger, number, 0.0
        self._step = ""

    def __call__(self, step: str, done: int, total: int) -> None:
        if step == self._step and time.monotonic() - self._told < TOLD_EVERY:
            return
        self._step, self._told = step, time.monotonic()
        self.note(state=RUNNING, step=step, done=done, total=total)

    def note(self, **facts: object) -> None:
        """Write facts to the order's row."""
        with self._ledger.begin() as ledger:
            ledger.execute(update(Order).where(Order.id == self._number).values(**facts))


def carry_out(tenancy: Tenancy, number: int) -> None:
    """Do what an order asks for, and say in its row how it went."""
    ledger = tenancy.engines["ledger"]
    with ledger.connect() as connection:
        wanted = select(Order.kind, Order.tenant_id, Order.seq).where(Order.id == number)
        found = connection.execute(wanted.where(Order.state.in_((WAITING, RUNNING)))).first()
    if found is None:
        return  # another has done it
    told = Told(ledger, number)
    told.note(state=RUNNING)
    try:
        tenant = tenancy.registry.by_id(found.tenant_id)
        if tenant is None:
            raise Refused("That organisation is not here any more.")
        message = _do(tenancy, found.kind, tenant, found.seq, told) or SAID[found.kind]
    except FreeholdError as error:
        told.note(state=FAILED, message=str(error) or error.advice, ended_at=utcnow())
    except Exception as error:
        told.note(state=FAILED, message=f"It failed: {type(error).__name__}.", ended_at=utcnow())
        raise
    else:
        told.note(state=DONE, message=message, ended_at=utcnow())


def _do(tenancy: Tenancy, kind: str, tenant: ResolvedTenant, seq: int | None, told: Told) -> str:
    keeper = Keeper(tenancy)
    keeper.prepare()
    with closing(keeper.raw_side):
        return _done(tenancy, keeper, kind, tenant, seq, told)


def _done(tenancy: Tenancy, keeper: Keeper, kind: str, tenant: ResolvedTenant, seq: int | None, told: Told) -> str:
    if kind == "preview":
        previews.open_preview(tenancy, tenant, _moment(keeper, tenant, seq), told)
    elif kind == "replace":
        restore_replacing(tenancy, keeper, tenant, _moment(keeper, tenant, seq), told)
        previews.discard(tenancy, tenant.id)
    elif kind == "discard":
        previews.discard(tenancy, tenant.id)
    elif kind == "drill":
        proof = drill(tenancy, keeper, tenant.id, told)
        return f"It failed: {proof.error}" if proof.error else proven(proof)
    elif kind == "tick":
        keeper.copy(tenant.id)
    return ""


def proven(proof: Proof) -> str:
    """Say what a clean restore brought back, and how long it took."""
    return f"The restore was proven: {proof.rows:,} rows came back, and it took {in_words(proof.seconds)}."


def _moment(keeper: Keeper, tenant: ResolvedTenant, seq: int | None) -> Moment:
    shelf = keeper.shelf(tenant.id)
    return shelf.newest() if seq is None else shelf.moment(seq)
