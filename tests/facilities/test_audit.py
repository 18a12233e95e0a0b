"""The audit of one tenant: what is noted, what a hand in the file leaves behind, and what is no alarm."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from contextvars import Context
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import select

from app.backups.keeper import Keeper
from app.backups.restore import restore_as, restore_replacing
from app.console import tenants
from app.facilities import audit
from app.facilities.audit import Audit, AuditHead
from app.facilities.audit_chain import Chain
from app.ops import health
from app.tenancy import db, jobs, platform_context, rotation, tenant_context, utcnow
from app.tenancy.ledger import AuditRow

ROOT = Path(__file__).parents[2]
UNSEALED = "DROP TRIGGER audit_is_not_changed"

audit.kind("test_opened", "A door was opened.", "{actor} opened {subject}")


def inside(app, work, *arguments):
    """Do something in the application's context, as a command does."""

    def do():
        with app.app_context():
            return work(*arguments)

    return Context().run(do)


@pytest.fixture
def noted(at):
    """Note some acts at a tenant, each in a transaction of its own."""

    def note(tenant, count=5, start=1):
        for number in range(start, start + count):
            at(tenant, lambda number=number: audit.note("test_opened", actor="o@x.test", subject=f"door {number}"))

    return note


@pytest.fixture
def verify(app):
    def do(tenant):
        with app.app_context():
            return audit.verify(tenant)

    return do


@pytest.fixture
def head_of(app):
    def look(tenant):
        def inside():
            with app.app_context(), platform_context():
                return db.session.get(AuditHead, tenant.id)

        return Context().run(inside)

    return look


@pytest.fixture
def told(app):
    def facts(tenant, *kinds):
        with app.app_context(), platform_context():
            rows = (
                select(AuditRow).where(AuditRow.tenant_id == tenant.id, AuditRow.kind.in_(kinds)).order_by(AuditRow.id)
            )
            return db.session.scalars(rows).all()

    return facts


@pytest.fixture
def by_hand(tenancy):
    """Do something to a tenant's file as whoever holds it and its key can."""

    def do(tenant, *statements):
        with closing(tenancy.placements.open_file(tenant.id)) as file:
            for statement in statements:
                file.execute(statement)
            return file.execute("SELECT id, kind, actor, subject, hash FROM audit ORDER BY id").fetchall()

    return do


@pytest.fixture
def put_back(tenancy):
    """Take a copy of a tenant's file now; what is returned puts it in the place of the file as it is then."""

    def take(tenant):
        tenancy.pool.discard(tenant.id)
        path = tenancy.placements.file(tenant.id)
        with closing(tenancy.placements.open_file(tenant.id)) as file:
            file.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        copy = path.with_name("stolen")
        shutil.copyfile(path, copy)

        def back():
            tenancy.pool.discard(tenant.id)
            for beside in ("-wal", "-shm"):
                path.with_name(path.name + beside).unlink(missing_ok=True)
            shutil.copyfile(copy, path)

        return back

    return take


# What is noted.


def test_a_note_stands_and_falls_with_its_transaction(app, alpha, verify, by_hand):
    before = len(by_hand(alpha))
    with app.app_context(), tenant_context(alpha, request_id="r-1"):
        audit.note("test_opened", actor="olive", subject="the shed", why="rain")
        db.session.rollback()
        audit.note("test_opened", actor="olive", subject="the gate", why="sun")
        db.session.commit()
        row = db.session.scalars(select(Audit).order_by(Audit.id.desc())).first()
        assert (row.subject, row.told, row.request_id, row.id) == ("the gate", {"why": "sun"}, "r-1", before + 1)
    assert verify(alpha) is None


def test_an_act_of_no_declared_kind_is_refused(at, alpha):
    with pytest.raises(KeyError):
        at(alpha, lambda: audit.note("unheard_of"))


def test_two_kinds_of_one_name_are_refused():
    with pytest.raises(ValueError, match="test_opened"):
        audit.kind("test_opened", "Something else.")


def test_many_writers_at_once_make_one_chain(app, alpha, at, verify, head_of, by_hand):
    before = len(by_hand(alpha))

    def write(name):
        for number in range(12):
            at(alpha, lambda number=number: audit.note("test_opened", actor=name, subject=str(number)))

    writers = [threading.Thread(target=write, args=(f"w{number}",)) for number in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    rows = by_hand(alpha)
    assert len(rows) == before + 48
    assert verify(alpha) is None
    assert (head_of(alpha).row_id, head_of(alpha).hash) == (rows[-1][0], rows[-1][-1])


def test_strangers_bring_about_one_row_a_minute_for_one_address_and_twenty_in_all(at, alpha, by_hand, verify):
    before = len(by_hand(alpha))
    for number in range(60):
        at(alpha, lambda number=number: audit.note_seldom("sign_in_failed", f"a{number % 40}@x.test"))
    rows = by_hand(alpha)[before:]
    assert len(rows) == audit.AT_MOST
    at(alpha, lambda: audit.note_seldom("sign_in_failed", "a0@x.test"))
    assert len(by_hand(alpha)) == before + audit.AT_MOST
    assert verify(alpha) is None


# What a hand in the file leaves behind: any single thing done to any chain is found.


def chain_of(count):
    """Return a chain in memory, and the connection to its file."""
    file = sqlite3.connect(":memory:", isolation_level=None)
    file.execute("CREATE TABLE stamp (epoch INTEGER)")
    file.execute("INSERT INTO stamp VALUES (7)")
    file.execute(
        "CREATE TABLE audit (id INTEGER PRIMARY KEY, at INTEGER NOT NULL, kind TEXT, actor TEXT, subject TEXT, "
        "detail TEXT, request_id TEXT, previous TEXT, hash TEXT)"
    )
    chain = Chain(lambda statement, given: file.execute(statement, tuple(given)).fetchall(), b"k" * 32)
    for number in range(count):
        chain.append("test_opened", actor=f"p{number % 3}", subject=f"door {number}", number=number)
    return chain, file


COLUMNS = ("at", "kind", "actor", "subject", "detail", "request_id", "previous", "hash")
VALUES = st.one_of(st.text(max_size=20), st.integers(-(2**40), 2**40), st.binary(max_size=8), st.none())


@given(st.integers(1, 12), st.data())
@hypothesis_settings(max_examples=150, deadline=None)
def test_any_change_of_any_row_is_found_and_the_row_is_named(count, data):
    chain, file = chain_of(count)
    head = chain.end()
    assert chain.verify(head) is None
    row, column = data.draw(st.integers(1, count)), data.draw(st.sampled_from(COLUMNS))
    value = data.draw(VALUES.filter(lambda value: value is not None or column != "at"))
    was = file.execute(f"SELECT {column} FROM audit WHERE id = ?", (row,)).fetchone()
    file.execute(f"UPDATE audit SET {column} = ? WHERE id = ?", (value, row))
    found = chain.verify(head)
    if file.execute(f"SELECT {column} FROM audit WHERE id = ?", (row,)).fetchone() == was:
        assert found is None
    else:
        assert found is not None
        assert found.row == row


@given(st.integers(1, 12), st.data())
@hypothesis_settings(max_examples=100, deadline=None)
def test_any_removal_swap_insertion_or_cut_is_found(count, data):
    chain, file = chain_of(count)
    head = chain.end()
    row = data.draw(st.integers(1, count))
    other = data.draw(st.integers(1, count))
    act = data.draw(st.sampled_from(("remove", "swap", "insert", "cut", "renumber")))
    if act == "remove":
        file.execute("DELETE FROM audit WHERE id = ?", (row,))
    elif act == "cut":
        file.execute("DELETE FROM audit WHERE id >= ?", (row,))
    elif act == "renumber":
        file.execute("DELETE FROM audit WHERE id = ?", (row,))
        for number in range(row + 1, count + 1):
            file.execute("UPDATE audit SET id = ? WHERE id = ?", (number - 1, number))
    elif act == "insert":
        file.execute(
            "INSERT INTO audit SELECT ?, at, kind, actor, subject, detail, request_id, hash, hash FROM audit "
            "WHERE id = ?",
            (data.draw(st.sampled_from((-3, 0, count + 1, count + 9))), row),
        )
    else:
        file.execute("UPDATE audit SET id = -1 WHERE id = ?", (row,))
        file.execute("UPDATE audit SET id = ? WHERE id = ?", (row, other))
        file.execute("UPDATE audit SET id = ? WHERE id = -1", (other,))
    found = chain.verify(head)
    assert found is not None or (act == "swap" and row == other)


def test_who_knows_how_it_is_made_but_has_not_the_key_cannot_make_it_anew():
    chain, file = chain_of(5)
    head = chain.end()
    file.execute("DELETE FROM audit")
    forger = Chain(lambda statement, given: file.execute(statement, tuple(given)).fetchall(), b"x" * 32)
    for number in range(5):
        forger.append("test_opened", actor="p", subject=f"door {number}")
    assert chain.verify(head).row == 1
    assert chain.verify(None).row == 1, "without a head as well"


def test_what_was_retired_is_no_gap_and_what_is_cut_off_besides_is_one():
    chain, file = chain_of(9)
    last, mac, count = chain.up_to(file.execute("SELECT at FROM audit WHERE id = 5").fetchone()[0])
    assert (last, count) == (4, 4)
    chain.append("older_rows_retired", up_to=last, hash=mac, count=count)
    file.execute("DELETE FROM audit WHERE id <= 4")
    assert chain.verify(chain.end()) is None
    file.execute("DELETE FROM audit WHERE id = 5")
    assert chain.verify(chain.end()).row == 5


# In a tenant's own file, with the head in the ledger.


def test_rows_are_not_changed_by_mistake(alpha, noted, by_hand):
    noted(alpha)
    with pytest.raises(Exception, match="never changed"):
        by_hand(alpha, "UPDATE audit SET actor = 'mallory'")


@pytest.mark.parametrize(
    "done",
    [
        ("UPDATE audit SET actor = 'mallory' WHERE id = 3",),
        ("DELETE FROM audit WHERE id = 3",),
        ("DELETE FROM audit WHERE id > 3",),
        ("DELETE FROM audit",),
    ],
)
def test_a_hand_in_the_file_is_found_and_everybody_who_should_is_told(
    app, alpha, beta, noted, verify, by_hand, told, runner, signed_in, operator, done
):
    noted(alpha)
    by_hand(alpha, UNSEALED, *done)
    finding = verify(alpha)
    assert finding is not None
    assert verify(alpha) == finding
    assert [row.detail["row"] for row in told(alpha, "audit_broken")] == [finding.row], "told once"
    assert verify(beta) is None
    with app.app_context(), platform_context():
        assert "1 tenants" in health.CHECKS["audit"]()
        assert finding.what in tenants.problems()[0].what
    answer = runner("audit", "verify", "--json")
    assert (answer.exit_code, finding.what in answer.output) == (1, True)
    assert runner("audit", "verify", "beta").exit_code == 0
    assert finding.what in signed_in(alpha).get("/desk/settings/audit/").text
    assert "Its audit is not as it was written" in operator.get("/").text


def test_a_file_of_before_that_is_silently_put_back_is_found_and_is_not_written_away(
    alpha, noted, verify, put_back, head_of, told
):
    noted(alpha, 2)
    back = put_back(alpha)
    noted(alpha, 2, start=3)
    head = head_of(alpha)
    back()
    noted(alpha, 9, start=50)  # goes far beyond the head that the ledger has
    assert (head_of(alpha).row_id, head_of(alpha).hash) == (head.row_id, head.hash)
    assert len(told(alpha, "audit_broken")) == 1, "the first note after it finds it, not only the nightly check"
    assert "not the one that was written" in verify(alpha).what


def test_a_file_that_is_put_back_over_a_later_life_is_found(app, tenancy, alpha, noted, verify, put_back):
    keeper = Keeper(tenancy)
    keeper.prepare()
    noted(alpha, 2)
    back = put_back(alpha)
    moment = keeper.shelf(alpha.id).moment(keeper.copy(alpha.id).header.seq)
    inside(app, restore_replacing, tenancy, keeper, tenancy.registry.by_id(alpha.id), moment)
    assert verify(tenancy.registry.by_id(alpha.id)) is None
    back()
    keeper.raw_side.close()
    with closing(tenancy.placements.open_file(alpha.id, any_age=True)) as file:
        chain = Chain(
            lambda statement, given: file.execute(statement, tuple(given)).fetchall(),
            tenancy.keys.tenant_subkey(alpha.id, "audit"),
        )
        with app.app_context():
            assert "before the organisation was brought back" in chain.verify(audit._head(tenancy, alpha.id)).what


def test_bringing_back_a_moment_is_no_alarm_and_the_old_end_is_kept(app, tenancy, alpha, noted, verify, head_of, told):
    keeper = Keeper(tenancy)
    keeper.prepare()
    noted(alpha, 2)
    moment = keeper.shelf(alpha.id).moment(keeper.copy(alpha.id).header.seq)
    noted(alpha, 5)
    before = head_of(alpha)
    inside(app, restore_replacing, tenancy, keeper, tenancy.registry.by_id(alpha.id), moment)
    again = tenancy.registry.by_id(alpha.id)
    assert verify(again) is None
    after = head_of(alpha)
    assert after.epoch > before.epoch
    assert after.row_id < before.row_id
    kept = told(alpha, "audit_began_anew")
    assert [row.detail["before"]["hash"] for row in kept] == [before.hash]
    noted(again, 3)
    assert verify(again) is None
    assert not told(alpha, "audit_broken")
    copy = inside(app, restore_as, tenancy, alpha.id, moment, "again", "Once More")
    assert verify(copy) is None, "a new organisation from a copy has the rows under its own key"
    keeper.raw_side.close()


@pytest.mark.parametrize("when", ["before the commit", "between the commit and the head"])
def test_a_process_that_dies_leaves_a_chain_that_holds_and_the_next_note_brings_the_head(
    config, app, alpha, noted, verify, head_of, by_hand, when
):
    noted(alpha, 1)
    known = head_of(alpha).row_id
    script = (
        "import os, sys\nfrom pathlib import Path\nfrom app import create_app\nfrom app.config import Config\n"
        "from app.facilities import audit\nfrom app.tenancy import db, tenant_context\n"
        "app = create_app(Config.load({'FREEHOLD_HOME': sys.argv[1]}))\n"
        "audit.kind('test_opened', 'A door was opened.', '{actor} opened {subject}')\n"
        "audit._keep_head = lambda *given: os._exit(9)\n"
        "if sys.argv[2] == 'before the commit': audit._move_of = lambda session: os._exit(9)\n"
        "tenant = app.extensions['tenancy'].registry.by_slug('alpha')\n"
        "with app.app_context(), tenant_context(tenant):\n"
        "    audit.note('test_opened', subject='the last door')\n    db.session.commit()\n"
    )
    died = subprocess.run([sys.executable, "-c", script, str(config.home), when], cwd=ROOT, check=False)
    assert died.returncode == 9
    assert len(by_hand(alpha)) == known + (when != "before the commit")
    assert head_of(alpha).row_id == known
    assert verify(alpha) is None
    noted(alpha, 1)
    assert head_of(alpha).row_id == len(by_hand(alpha))
    assert verify(alpha) is None


def test_a_ledger_that_cannot_be_written_hinders_no_commit(
    app, tenancy, alpha, noted, verify, head_of, by_hand, monkeypatch
):
    noted(alpha, 1)
    known = head_of(alpha).row_id
    with monkeypatch.context() as patch, closing(tenancy._open_central("ledger")) as holder:
        patch.setattr("app.tenancy.database.waiting.most", 0.1)
        patch.setattr("app.tenancy.database.waiting.busy", 0.1)
        tenancy.engines["ledger"].dispose()
        holder.execute("BEGIN IMMEDIATE")
        noted(alpha, 2)
        holder.execute("ROLLBACK")
    assert head_of(alpha).row_id == known
    assert verify(alpha) is None
    assert head_of(alpha).row_id == known + 2 == len(by_hand(alpha)), "the check brings it there"


def test_a_new_key_of_the_tenant_leaves_the_chain_whole_and_is_told(app, tenancy, alpha, noted, verify, by_hand):
    noted(alpha, 2)
    for _ in range(2):
        with app.app_context():
            rotation.rotate(tenancy, tenancy.registry.by_id(alpha.id))
    again = tenancy.registry.by_id(alpha.id)
    assert verify(again) is None
    assert [row[1] for row in by_hand(again)][-2:] == ["key_rotated", "key_rotated"]


def test_the_tenant_is_told_what_operators_did_to_it(tenancy, alpha, verify, by_hand):
    tenancy.lifecycle.suspend("alpha", "The bill is open.")
    tenancy.lifecycle.resume("alpha")
    assert [row[1] for row in by_hand(alpha)][-2:] == ["suspended", "resumed"]
    assert verify(alpha) is None


def test_old_rows_are_taken_out_once_a_month_and_the_chain_goes_on(app, alpha, at, noted, verify, by_hand, monkeypatch):
    noted(alpha, 4)
    at(alpha, audit.retire)
    count = len(by_hand(alpha))
    with monkeypatch.context() as patch:
        patch.setattr(audit, "utcnow", lambda: utcnow() + timedelta(days=401))
        at(alpha, audit.retire)
    assert [row[1] for row in by_hand(alpha)] == ["test_opened", "older_rows_retired"]
    assert by_hand(alpha)[-1][0] == count + 1
    assert verify(alpha) is None
    noted(alpha, 2)
    assert verify(alpha) is None
    by_hand(alpha, f"DELETE FROM audit WHERE id = {count}")
    assert verify(alpha).row == count


def test_the_check_comes_every_night_and_retirement_every_month():
    assert jobs.schedules()["audit.check"].startswith("H H(1-5) *")
    assert jobs.schedules()["audit.retire"].startswith("H H(1-5) H")


def test_the_page_about_the_audit_is_what_the_command_prints(home):
    printed = subprocess.run(
        [sys.executable, "-c", "from app.cli import main\nmain(['audit', 'kinds'])"],
        cwd=ROOT,
        env={**os.environ, "FREEHOLD_HOME": str(home)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert (ROOT / "docs/audit.md").read_text() == printed


def test_every_kind_says_what_it_means_in_a_sentence():
    for kind in audit.kinds():
        assert re.fullmatch(r"[a-z_]+", kind.name), kind
        assert kind.meaning[0].isupper(), kind
        assert kind.meaning.endswith("."), kind
