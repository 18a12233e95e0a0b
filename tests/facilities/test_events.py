"""The log of one tenant: what is recorded, who answers, who may see it, from where one can go on, and what is forgotten."""

import importlib
import os
import subprocess
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, update

from app.facilities import events
from app.facilities.events import Event, Position
from app.tenancy import db, due, jobs, utcnow
from app.tenancy.due import Due

ROOT = Path(__file__).parents[2]

BAKED = events.kind("TestBaked", "Bread was baked.", subject="loaf", payload={"oven": "id of the oven"})
BURNT = events.kind("TestBurnt", "Bread was burnt.", subject="loaf")
BOUGHT = events.kind("TestBought", "Bread was bought.", subject="loaf")

HEARD = []


@events.react("TestBaked")
def smell(event):
    HEARD.append(("smell", event.subject_id))
    if event.payload["oven"] == 13:
        raise ValueError("no such oven")


@events.react("TestBurnt")
def bake_again(event):
    events.record(BAKED, event.subject_id + 1, audience="nobody", oven=1)


@events.later("TestBought", "TestBurnt", name="test.deliver", tries=2)
def deliver(event):
    HEARD.append(("deliver", event.kind, event.subject))


@pytest.fixture(autouse=True)
def _nothing_heard_yet():
    HEARD.clear()


@pytest.fixture
def log_of(at):
    mine = select(Event).where(Event.kind.like("Test%")).order_by(Event.id)
    return lambda tenant: at(tenant, lambda: db.session.scalars(mine).all())


@pytest.fixture
def due_of(at):
    mine = select(Due).where(Due.job == "test.deliver").order_by(Due.id)
    return lambda tenant: at(tenant, lambda: db.session.scalars(mine).all())


def bake(number, oven=1):
    return events.record(BAKED, number, audience="members", by=1, oven=oven)


def buy(number):
    return events.record(BOUGHT, number, audience="nobody")


def test_an_event_is_written_in_the_transaction_of_its_change_or_not_at_all(
    app, in_tenant, log_of, due_of, alpha, beta
):
    with app.app_context(), in_tenant(alpha):
        bake(1)
        buy(2)
        db.session.rollback()
    assert (log_of(alpha), due_of(alpha)) == ([], [])
    with app.app_context(), in_tenant(alpha):
        bake(3)
        buy(4)
        db.session.commit()
    facts = [
        (each.kind, each.subject, each.subject_id, each.audience, each.actor, each.payload) for each in log_of(alpha)
    ]
    assert facts == [
        ("TestBaked", "loaf:3", 3, "members", 1, {"oven": 1}),
        ("TestBought", "loaf:4", 4, "nobody", None, {}),
    ]
    assert len(due_of(alpha)) == 1
    assert log_of(beta) == []


def test_who_answers_at_once_does_so_in_the_writers_transaction(at, app, in_tenant, log_of, alpha):
    at(alpha, lambda: events.record(BURNT, 1, audience="nobody"))
    assert [each.kind for each in log_of(alpha)] == ["TestBurnt", "TestBaked"]
    assert HEARD == [("smell", 2)]
    with app.app_context(), in_tenant(alpha), pytest.raises(ValueError, match="oven"):
        bake(5, oven=13)
    assert len(log_of(alpha)) == 2


def test_who_answers_later_hears_of_the_event_once_it_is_there(at, work, due_of, alpha):
    at(alpha, lambda: buy(7))
    assert HEARD == []
    assert due_of(alpha)[0].event_id is not None
    work(alpha)
    assert HEARD == [("deliver", "TestBought", "loaf:7")]
    assert due_of(alpha) == []


def test_work_about_an_event_that_is_forgotten_is_simply_done(at, work, due_of, alpha):
    at(alpha, lambda: buy(7))
    at(alpha, lambda: db.session.execute(db.delete(Event)))
    work(alpha)
    assert (HEARD, due_of(alpha)) == ([], [])


def test_a_module_that_is_read_twice_answers_once(at, work, tmp_path, monkeypatch, alpha):
    (tmp_path / "twice_read.py").write_text(
        "from app.facilities import events\n"
        "from tests.facilities.test_events import HEARD\n"
        "@events.react('TestBought')\ndef hear(event):\n    HEARD.append('at once')\n"
        "@events.later('TestBought', name='test.twice')\ndef hear_later(event):\n    HEARD.append('later')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("twice_read")
    try:
        importlib.reload(module)
        at(alpha, lambda: buy(1))
        work(alpha)
        assert sorted(map(str, HEARD)) == sorted(["at once", "later", str(("deliver", "TestBought", "loaf:1"))])
    finally:
        events._reactions["TestBought"].clear()
        events._jobs["TestBought"].remove("test.twice")
        del jobs._jobs["test.twice"]


def test_two_handlers_cannot_share_the_name_of_a_job():
    with pytest.raises(ValueError, match=r"test\.deliver"):
        events.later("TestBaked", name="test.deliver")(smell)
    assert "job test.deliver" not in events.handlers("TestBaked")


def test_two_kinds_cannot_share_a_name_and_one_may_be_declared_again():
    assert events.kind("TestBurnt", "Bread was burnt.", subject="loaf") == BURNT
    with pytest.raises(ValueError, match="TestBurnt"):
        events.kind("TestBurnt", "Something else.", subject="loaf")


def test_a_payload_that_the_kind_does_not_declare_is_refused(app, in_tenant, alpha):
    with app.app_context(), in_tenant(alpha):
        for payload in ({}, {"oven": 1, "name": "Olive"}, {"name": "Olive"}):
            with pytest.raises(ValueError, match="TestBaked says"):
                events.record(BAKED, 1, audience="members", **payload)


@pytest.mark.parametrize("audience", ["", "everybody", "*", "member", "members2", ":members"])
def test_an_audience_that_nobody_answers_for_is_refused_and_sees_nothing(app, in_tenant, alpha, audience):
    with app.app_context(), in_tenant(alpha):
        with pytest.raises(ValueError, match="audience"):
            events.record(BURNT, 1, audience=audience)
        assert events.may_see(audience, [1, 2]) == set()


def test_an_audience_never_names_anybody_who_was_not_asked_about(app, in_tenant, alpha):
    events.audience("test-all")(lambda key, people: {1, 2, 3, int(key)})
    try:
        with app.app_context(), in_tenant(alpha):
            assert events.may_see("test-all:9", [2, 9, 50]) == {2, 9}
            assert events.may_see("test-all:9", []) == set()
            assert events.may_see("nobody", [1, 2]) == set()
    finally:
        del events._audiences["test-all"]


def test_the_order_of_numbers_is_the_order_of_commits_so_whoever_reads_on_misses_nothing(app, in_tenant, at, alpha):
    start_at = at(alpha, events.position).id
    seen, is_over = [], threading.Event()

    def write(base):
        for number in range(25):
            with app.app_context(), in_tenant(alpha):
                bake(base + number)
                time.sleep(0.001)
                db.session.commit()

    def read():
        last = start_at
        while True:
            was_over = is_over.is_set()
            with app.app_context(), in_tenant(alpha, writes=False):
                found = events.since(last, 7)
            seen.extend(found)
            last = found[-1].id if found else last
            if was_over and not found:
                return

    reader = threading.Thread(target=read)
    writers = [threading.Thread(target=write, args=(base,)) for base in (100, 200, 300, 400)]
    for thread in (reader, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    is_over.set()
    reader.join()
    assert len(seen) == 100
    assert [each.id for each in seen] == sorted({each.id for each in seen})


# Positions.


def test_a_position_is_read_as_it_was_written(at, alpha):
    at(alpha, lambda: buy(1))
    position = at(alpha, events.position)
    assert Position.read(str(position)) == position
    assert position.id > 0


@pytest.mark.parametrize(
    "given",
    [
        *("", "-", "5", "*", "abcdef01", "abcdef01-", "abcdef01--5", "abcdef01-x", "abcdef0-5", "abcdef012-5"),
        *(
            "abcdef01-٣",
            "abcdef01-5\n",
            "abcdef01-" + "9" * 30,
            "../../x-5",
            "abcdef01-1.5",
            "abcdef01- 5",
            "abc*ef01-5",
        ),
    ],
)
def test_what_is_no_position_is_none(given):
    assert Position.read(given) is None


def test_positions_of_two_tenants_are_never_taken_for_one_anothers(at, alpha, beta):
    first_life = db.text("UPDATE stamp SET epoch = 1")
    for tenant in (alpha, beta):
        at(tenant, lambda: db.session.execute(first_life, bind_arguments={"mapper": Event}))
    theirs = at(beta, events.position)
    end = at(alpha, events.position)
    assert end.epoch != theirs.epoch
    assert at(alpha, lambda: events.can_resume(Position(theirs.epoch, 0), events.position())) is False


def test_one_can_go_on_from_what_is_kept_and_from_nowhere_else(at, alpha):
    at(alpha, lambda: [buy(number) for number in range(10)])
    end = at(alpha, events.position)

    def resumes(number, epoch=end.epoch):
        return at(alpha, lambda: events.can_resume(Position(epoch, number), events.position()))

    assert resumes(end.id)
    assert resumes(end.id - 10)
    assert not resumes(end.id + 1)
    assert not resumes(end.id, "00000000")
    at(alpha, lambda: db.session.execute(db.delete(Event).where(Event.id < end.id - 4)))
    assert resumes(end.id - 5)
    assert not resumes(end.id - 6)
    next_life = db.text("UPDATE stamp SET epoch = epoch + 1")  # as a restore does
    at(alpha, lambda: db.session.execute(next_life, bind_arguments={"mapper": Event}))
    assert not resumes(end.id)


def test_a_number_is_never_given_twice(at, alpha):
    last = at(alpha, lambda: buy(1).id)
    at(alpha, lambda: db.session.execute(db.delete(Event)))
    assert at(alpha, lambda: buy(2).id) == last + 1


# What is forgotten.


@pytest.fixture
def age(at):
    def back(tenant, numbers, days):
        made = utcnow() - timedelta(days=days)
        at(tenant, lambda: db.session.execute(update(Event).where(Event.id.in_(numbers)).values(created_at=made)))

    return back


@pytest.fixture
def loaves(at, age, alpha):
    """Ten events, of which the first six are forty days old; nothing else in the log."""
    at(alpha, lambda: db.session.execute(db.delete(Event)))
    made = at(alpha, lambda: [bake(number).id for number in range(10)])
    age(alpha, made[:6], 40)
    return made


def ids(log):
    return [each.id for each in log]


def test_events_of_more_than_thirty_days_are_forgotten(at, log_of, loaves, alpha):
    at(alpha, events.retire)
    assert ids(log_of(alpha)) == loaves[6:]


def test_events_of_twenty_nine_days_are_kept(at, age, log_of, loaves, alpha):
    age(alpha, loaves, 29)
    at(alpha, events.retire)
    assert ids(log_of(alpha)) == loaves


def test_the_newest_event_is_kept_however_old_it_is(at, age, log_of, loaves, alpha):
    age(alpha, loaves, 400)
    at(alpha, events.retire)
    assert ids(log_of(alpha)) == loaves[-1:]


def test_an_event_that_still_has_work_waiting_is_kept_and_all_after_it(at, log_of, loaves, alpha):
    at(alpha, lambda: due.add("test.deliver", {"event_id": loaves[2]}, event_id=loaves[2]))
    at(alpha, events.retire)
    assert ids(log_of(alpha)) == loaves[2:]


def test_an_empty_log_has_nothing_to_forget(at, log_of, alpha):
    at(alpha, lambda: db.session.execute(db.delete(Event)))
    at(alpha, events.retire)
    assert log_of(alpha) == []


def test_events_are_retired_every_night():
    assert jobs.schedules()["events.retire"].startswith("H H(1-5)")


# The catalogue.


def test_the_page_about_events_is_what_the_command_prints(home):
    script = (
        "from flask.cli import ScriptInfo\nfrom app import create_app\nfrom app.facilities.events_cli import cli\n"
        "cli(obj=ScriptInfo(create_app=create_app), args=[])"
    )
    printed = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env={**os.environ, "FREEHOLD_HOME": str(home)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert (ROOT / "docs/events.md").read_text() == printed


def test_every_kind_says_what_it_means_in_a_sentence():
    for kind in events.kinds():
        assert kind.name[0].isupper(), kind
        assert kind.name.isalnum(), kind
        assert kind.meaning[0].isupper(), kind
        assert kind.meaning.endswith("."), kind
        assert all(kind.payload.values()), kind
