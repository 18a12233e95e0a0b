"""What was asked for on a page is carried out, told, and begun again when it was cut short."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from contextvars import Context

import pytest
from sqlalchemy import select

from app.backups import orders, previews
from app.backups.models import DONE, FAILED, RUNNING, WAITING, Order
from app.backups.orders import Carrier, ask, carry_out
from app.tenancy import ResolvedTenant, Tenancy, db, platform_context
from tests.running import until


def write(tenancy: Tenancy, tenant: ResolvedTenant, number: int) -> None:
    with closing(tenancy.placements.open_file(tenant.id)) as file:
        file.execute("CREATE TABLE IF NOT EXISTS written (number INTEGER)")
        file.execute("INSERT INTO written VALUES (?)", (number,))


def numbers(tenancy: Tenancy, tenant: ResolvedTenant) -> list[int]:
    with closing(tenancy.placements.open_file(tenant.id)) as file:
        return [row[0] for row in file.execute("SELECT number FROM written").fetchall()]


@pytest.fixture
def order(app) -> Callable[..., int]:
    def add(kind: str, tenant: ResolvedTenant, seq: int | None = None) -> int:
        def inside() -> int:
            with app.app_context(), platform_context():
                number = ask(kind, tenant.id, "Olive", seq).id
                db.session.commit()
                return number

        return Context().run(inside)

    return add


@pytest.fixture
def read(app) -> Callable[[int], Order]:
    def row(number: int) -> Order:
        with app.app_context():
            return db.session.scalar(select(Order).where(Order.id == number))

    return row


@pytest.fixture
def done(app, tenancy, read) -> Callable[[int], Order]:
    def carry(number: int) -> Order:
        def inside() -> None:
            with app.app_context():
                carry_out(tenancy, number)

        Context().run(inside)
        return read(number)

    return carry


@pytest.fixture
def carrier(tenancy) -> Iterator[Carrier]:
    carrier = Carrier(tenancy)
    yield carrier
    carrier.close()


@pytest.fixture
def two(tenancy, keeper, alpha) -> None:
    for number in (1, 2):
        write(tenancy, alpha, number)
        keeper.copy(alpha.id)


def test_each_kind_is_carried_out_and_says_so(tenancy, keeper, alpha, two, order, done):
    assert done(order("preview", alpha, 1)).message == "The preview is ready."
    assert numbers(tenancy, previews.preview_of(tenancy, alpha.id)) == [1]
    assert done(order("discard", alpha)).state == DONE
    assert previews.preview_of(tenancy, alpha.id) is None
    assert re.fullmatch(
        r"The restore was proven: .* rows came back, and it took .*", done(order("drill", alpha)).message
    )
    write(tenancy, alpha, 3)
    assert done(order("tick", alpha)).state == DONE
    assert keeper.shelf(alpha.id).newest().seq == 3
    replaced = done(order("replace", alpha, 1))
    assert (replaced.state, replaced.message, replaced.ended_at is not None) == (DONE, "It is done.", True)
    assert numbers(tenancy, alpha) == [1]


def test_a_preview_that_is_asked_for_again_takes_the_place_of_the_first(tenancy, alpha, two, order, done):
    done(order("preview", alpha, 1))
    done(order("preview", alpha, 2))
    assert numbers(tenancy, previews.preview_of(tenancy, alpha.id)) == [1, 2]
    assert len(list(tenancy.registry.tenants())) == 3


def test_one_order_at_a_time_for_one_tenant(alpha, beta, order):
    first = order("drill", alpha)
    assert order("replace", alpha, 1) == first
    assert order("drill", beta) != first


@pytest.mark.parametrize(("seq", "saying"), [(9, "moment 9 is not kept any more")])
def test_what_is_refused_is_told_plainly(alpha, two, order, done, seq, saying):
    failed = done(order("replace", alpha, seq))
    assert failed.state == FAILED
    assert saying in failed.message


def test_a_damaged_copy_and_a_target_that_is_gone_are_told_plainly(tenancy, keeper, alpha, two, order, done):
    shelf = keeper.shelf(alpha.id)
    path = shelf.target.root / shelf.folder / "packs" / str(max(shelf.packs()))
    whole = path.read_bytes()
    path.write_bytes(whole[:100] + bytes([whole[100] ^ 1]) + whole[101:])
    assert "was changed after it was written" in done(order("replace", alpha, 2)).message
    drilled = done(order("drill", alpha))
    assert drilled.message.startswith("It failed: 1 of its copies cannot be read")
    shelf.target.root.rename(shelf.target.root.with_name("aside"))
    assert "Is its disk mounted" in done(order("tick", alpha)).message
    shelf.target.root.with_name("aside").rename(shelf.target.root)
    assert numbers(tenancy, alpha) == [1, 2]


def test_an_order_for_a_tenant_that_is_gone_fails_plainly(app, tenancy, order, done):
    with app.app_context():
        gamma = tenancy.lifecycle.create("gamma", "Gamma Guild")
    number = order("drill", gamma)
    tenancy.lifecycle._unmake(gamma)
    assert done(number).message == "That organisation is not here any more."


def test_an_order_that_was_carried_out_is_not_carried_out_again(tenancy, alpha, two, order, done):
    number = order("replace", alpha, 1)
    done(number)
    write(tenancy, alpha, 9)
    done(number)
    assert numbers(tenancy, alpha) == [1, 9], "two archivists, or one that looked twice"


def test_the_archivist_carries_orders_out_in_processes_of_their_own(tenancy, alpha, two, order, read, carrier):
    number = order("replace", alpha, 1)
    carrier.round()
    until(lambda: carrier.round() or read(number).state not in (WAITING, RUNNING))
    assert read(number).state == DONE
    assert numbers(tenancy, tenancy.registry.by_id(alpha.id)) == [1]


def test_one_that_is_cut_short_has_failed_and_says_that_nothing_is_half_done(tenancy, alpha, two, order, read, carrier):
    number = order("replace", alpha, 1)
    carrier.round()
    os.kill(carrier._running[number].pid, signal.SIGKILL)
    until(lambda: carrier.round() or read(number).state == FAILED)
    assert "Nothing is half done" in read(number).message
    assert numbers(tenancy, alpha) in ([1, 2], [1])
    assert order("replace", alpha, 1) != number


def test_what_an_earlier_archivist_was_carrying_out_is_begun_again(tenancy, alpha, two, order, read, carrier):
    number = order("drill", alpha)
    first = Carrier(tenancy)
    first.round()
    first.close()
    with tenancy.engines["ledger"].begin() as ledger:
        ledger.execute(orders.update(Order).values(state=RUNNING, step="Checking it"))
    carrier.begin_again()
    assert (read(number).state, read(number).step) == (WAITING, "")
    carrier.round()
    until(lambda: carrier.round() or read(number).state == DONE)


def test_the_end_waits_for_no_process_that_does_not_end(carrier, tenancy, alpha, order, monkeypatch):
    monkeypatch.setattr(orders, "ENDING", 0.2)
    order("drill", alpha)
    carrier.round()
    process = next(iter(carrier._running.values()))
    os.kill(process.pid, signal.SIGSTOP)
    began = time.monotonic()
    carrier.close()
    assert time.monotonic() - began < 3
    assert process.wait(5) != 0


def test_how_far_it_is_is_told_twice_a_second_at_most(tenancy, alpha, order, read, monkeypatch):
    number = order("drill", alpha)
    told, notes = orders.Told(tenancy.engines["ledger"], number), []
    monkeypatch.setattr(told, "note", lambda **facts: notes.append(facts["done"]))
    for done in range(1000):
        told("Reading the copy", done, 1000)
    told("Checking it", 0, 10)
    assert notes == [0, 0]
