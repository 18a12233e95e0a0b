"""The worker: several forks of one process, each made again when it ends, all gone when it is told to."""

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis
from sqlalchemy import select

from app.serve import beats, valkey, worker
from app.serve.crew import Crew
from app.serve.folders import make_folders
from app.tenancy import db, due, jobs, tenant_context
from tests.running import alive, descendants, until
from tests.serve import crew_of_tests
from tests.serve.running import ROOT, environment_of, running

PROGRAM = [sys.executable, crew_of_tests.__file__]


@pytest.fixture
def client(config):
    with running(config, valkey), redis.Redis.from_url(config.valkey_url) as client:
        yield client


@contextmanager
def at_work(config, client):
    """Run a crew of two, and yield it when both have told Valkey of themselves."""
    crew = subprocess.Popen(
        PROGRAM, cwd=ROOT, env=environment_of(config), stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        until(lambda: len(members(client)) == 2)
        yield crew
    finally:
        left = descendants(crew.pid)
        crew.kill()
        crew.wait()
        for pid in alive(left):
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def crew(config, client):
    with at_work(config, client) as crew:
        yield crew


@pytest.fixture
def busy(app, crew, alpha, beta, tmp_path):
    """Give the crew two jobs that last a minute, and return what their processes are when both have begun."""
    notes = tmp_path / "notes"
    for tenant in (alpha, beta):
        with app.app_context(), tenant_context(tenant):
            jobs.later("test.long_of_crew", file=str(notes))
            db.session.commit()
    app.extensions["tenancy"].close()
    until(lambda: notes.exists() and len(notes.read_text().splitlines()) == 2)
    return descendants(crew.pid)


def members(client):
    """Return the process ids of the workers that have told Valkey of themselves and run."""
    said = [client.hget(key, "pid") for key in client.smembers("rq:workers")]
    return set(alive(int(pid) for pid in said if pid))


def rows_of(app, *tenants):
    """Return the rows of the lasting jobs."""
    found = []
    for tenant in tenants:
        with app.app_context(), tenant_context(tenant, writes=False):
            found += db.session.scalars(select(due.Due).where(due.Due.job == "test.long_of_crew")).all()
            db.session.expunge_all()
    return found


def test_as_many_are_at_work_as_the_settings_say(crew, client):
    assert members(client) == set(alive(descendants(crew.pid)))


def test_they_share_what_their_parent_has_loaded(crew, client):
    """A worker that loads the app for itself has some 60 MB of its own; a fork shares most of it."""
    for pid in members(client):
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        own = {line.split(":")[0]: int(line.split()[1]) for line in rollup.splitlines()[1:]}
        assert own["Private_Dirty"] < 0.4 * own["Rss"]


def test_one_that_is_killed_is_followed_by_another(crew, client):
    victim, other = members(client)
    os.kill(victim, signal.SIGKILL)
    until(lambda: len(members(client) - {victim}) == 2)
    assert other in members(client)


def test_the_job_of_one_that_is_killed_ends_with_it(app, crew, client, busy, alpha, beta):
    """Else the job would go on while its next try begins."""
    victim, _ = sorted(members(client))
    horses = descendants(victim)
    assert horses
    os.kill(victim, signal.SIGKILL)
    until(lambda: not alive(horses), seconds=3)
    assert len(alive(busy)) == 2  # the other worker and its job go on


def test_when_their_parent_is_killed_they_end_by_themselves(crew, client, busy):
    crew.kill()
    crew.wait()
    until(lambda: not alive(busy), seconds=9)


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_told_to_stop_all_end_and_jobs_in_hand_are_put_back(app, crew, client, busy, alpha, beta, ending):
    began = time.monotonic()
    crew.send_signal(ending)
    assert crew.wait(timeout=9) == 0
    assert time.monotonic() - began < 7
    assert not alive(busy)
    assert [row.attempts for row in rows_of(app, alpha, beta)] == [0, 0]


def test_ctrl_c_on_a_terminal_reaches_all_of_them_and_still_puts_the_jobs_back(app, crew, client, busy, alpha, beta):
    os.killpg(crew.pid, signal.SIGINT)
    assert crew.wait(timeout=9) == 0
    assert [row.attempts for row in rows_of(app, alpha, beta)] == [0, 0]


def test_without_valkey_they_are_made_again_until_it_is_back(config):
    make_folders(config)
    crew = subprocess.Popen(
        PROGRAM, cwd=ROOT, env=environment_of(config), stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        until(lambda: worker.is_ready(config))
        with running(config, valkey), redis.Redis.from_url(config.valkey_url) as client:
            until(lambda: len(members(client)) == 2)
            assert crew.poll() is None
    finally:
        crew.terminate()
        crew.wait(timeout=10)


def test_it_is_ready_while_it_gives_signs_of_life(config, crew):
    until(lambda: worker.is_ready(config), seconds=5)
    crew.send_signal(signal.SIGSTOP)
    try:
        until(lambda: not worker.is_ready(config), seconds=8)
    finally:
        crew.send_signal(signal.SIGCONT)
    until(lambda: worker.is_ready(config), seconds=5)


def test_one_that_ends_at_once_is_made_again_ever_more_seldom(tmp_path):
    crew = Crew(1, lambda: None, tmp_path / "beat")
    (place,) = crew._places
    pauses = []
    for _ in range(7):
        place.started_at = time.monotonic()
        crew._leave(place, 1)
        pauses.append(round(place.start_at - time.monotonic(), 1))
    assert pauses == [0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0]
    place.started_at = time.monotonic() - 60
    crew._leave(place, 1)
    assert place.start_at <= time.monotonic()


def test_an_earlier_sign_of_life_does_not_count(config):
    beat = beats.beat_of("worker", config)
    beat.parent.mkdir(parents=True)
    beat.touch()
    worker.command(config)
    assert not worker.is_ready(config)
