"""New keys for old: nothing acknowledged is lost, whoever is killed in the middle."""

from __future__ import annotations

import fcntl
import functools
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from datetime import timedelta
from pathlib import Path

import pytest
import sqlcipher3.dbapi2 as driver
from sqlalchemy import select

from app.config import Config
from app.facilities import storage
from app.facilities.storage import StorageDamaged, StoredFile
from app.tenancy import ResolvedTenant, Tenancy, db, due, jobs, keys, platform_context, rotation, tenant_context, utcnow
from app.tenancy.database import connect, waiting
from app.tenancy.errors import CannotStart, DatabaseUnreadable, DiskFull, Refused, TenantBusy
from app.tenancy.keys import Keys, load_master_key
from app.tenancy.ledger import AuditRow
from app.tenancy.placements import Drained

fork = multiprocessing.get_context("fork")
FAR = timedelta(days=3650)


@pytest.fixture
def rotate(app, tenancy) -> Callable[..., rotation.Rotated]:
    def give_a_new_key(tenant) -> rotation.Rotated:
        with app.app_context():
            return rotation.rotate(tenancy, tenant)

    return give_a_new_key


@pytest.fixture
def now(tenancy) -> Callable[..., ResolvedTenant]:
    """Return the tenant as it is now: each rotation makes a new generation of it."""
    return lambda tenant: tenancy.registry.by_id(tenant.id)


@pytest.fixture
def keep(at, now) -> Callable[..., str]:
    """Store bytes for a tenant and return the name of the file."""
    return lambda tenant, data: at(now(tenant), lambda: storage.put(data).name)


@pytest.fixture
def read(at, now) -> Callable[..., bytes]:
    return lambda tenant, name: at(now(tenant), lambda: storage.read(name))


def opens(tenancy: Tenancy, tenant, version: int) -> bool:
    try:
        connect(tenancy.placements.file(tenant.id), tenancy.keys.database_key(tenant.id, version)).close()
    except driver.DatabaseError:
        return False
    return True


# One tenant


def test_a_rotated_file_opens_with_the_new_key_alone_and_nothing_else_changed(tenancy, alpha, beta, client_for, rotate):
    before = tenancy.placements.file(beta.id).read_bytes(), tenancy.keys.database_key(beta.id)
    rotated = rotate(alpha)
    assert (rotated.version, tenancy.keys.versions(alpha.id), tenancy.keys.pending(alpha.id)) == (2, [1, 2], None)
    assert (opens(tenancy, alpha, 1), opens(tenancy, alpha, 2)) == (False, True)
    assert client_for(alpha).get("/").status_code == 200
    assert (tenancy.placements.file(beta.id).read_bytes(), tenancy.keys.database_key(beta.id)) == before
    assert sorted(path.name for path in tenancy.placements.folder(alpha.id).glob("main*incoming*")) == []


def test_nobody_is_signed_out_by_a_rotation(tenancy, alpha, signed_in, rotate):
    owner = signed_in(alpha)
    rotate(alpha)
    rotation.rotate_master(tenancy)
    assert owner.get("/desk/").status_code == 200


def test_a_new_key_is_no_other_ones_child(tenancy, alpha, rotate):
    """Whoever has every older key, and the file, has nothing."""
    seen = [tenancy.keys.database_key(alpha.id)]
    for _ in range(3):
        rotate(alpha)
        seen.append(tenancy.keys.database_key(alpha.id))
    assert len(set(seen)) == 4
    content = tenancy.placements.file(alpha.id)
    for old in seen[:-1]:
        with pytest.raises(driver.DatabaseError):
            connect(content, old)


def test_stored_files_are_read_and_found_again_after_a_rotation(tenancy, alpha, keep, read, monkeypatch, rotate):
    name = keep(alpha, b"the minutes")
    rotate(alpha)
    assert read(alpha, name) == b"the minutes"
    assert keep(alpha, b"the minutes") == name
    tenancy.keys.drop(alpha.id, 1)
    assert read(alpha, name) == b"the minutes"
    assert keep(alpha, b"the minutes") == name

    monkeypatch.setattr(keys, "LASTING", ())
    tenancy.keys.close()
    assert keep(alpha, b"the minutes") != name, "the trap, with the guard out: the same bytes lie here twice"


def test_the_old_version_opens_no_stored_file_any_more(at, now, tenancy, alpha, keep, rotate):
    name = keep(alpha, b"the minutes")
    rotate(alpha)
    wrapped = at(now(alpha), lambda: storage.find(name).wrapped_key)
    with pytest.raises(StorageDamaged):
        at(now(alpha), lambda: storage._unwrap(alpha.id, name, wrapped, 1))


def test_a_module_that_wraps_nothing_anew_would_lose_its_files_and_none_at_all_is_refused(
    tenancy, alpha, keep, read, monkeypatch, rotate
):
    name = keep(alpha, b"the minutes")
    monkeypatch.setattr(rotation, "_rewraps", [])
    with pytest.raises(RuntimeError, match="create_app"):
        rotate(alpha)
    assert read(alpha, name) == b"the minutes"
    monkeypatch.setattr(rotation, "_rewraps", [lambda *_: None])
    rotate(alpha)
    with pytest.raises(StorageDamaged):
        read(alpha, name)


def test_a_damaged_stored_file_does_not_keep_the_others_from_a_new_key(at, tenancy, alpha, keep, read, rotate):
    good, bad = keep(alpha, b"good"), keep(alpha, b"bad")

    def damage() -> None:
        storage.find(bad).wrapped_key = os.urandom(60)

    at(alpha, damage)
    rotate(alpha)
    assert read(alpha, good) == b"good"
    with pytest.raises(StorageDamaged):
        read(alpha, bad)


def test_letters_are_recognised_after_a_rotation(tenancy, alpha, rotate):
    before = tenancy.keys.tenant_subkey(alpha.id, "letters")
    rotate(alpha)
    assert tenancy.keys.tenant_subkey(alpha.id, "letters") == before


# What is on its way


RAN: list[int] = []


@pytest.fixture
def job() -> Iterator[None]:
    jobs.job("test.rotation")(_note)
    RAN.clear()
    yield
    jobs._jobs.pop("test.rotation", None)


def _note(number: int) -> None:
    RAN.append(number)


def _sent(app, alpha, number: int) -> jobs.Envelope:
    """Have a job on its way, its envelope signed."""
    with app.app_context(), tenant_context(alpha):
        row = due.add("test.rotation", {"number": number})
        db.session.flush()
        row.holder, row.leased_until = due.QUEUE, utcnow() + timedelta(minutes=5)
        envelope = jobs.seal(due.Reserved(row.id, row.job, 0))
        db.session.info.pop("due", None)
        db.session.commit()
        return envelope


def test_what_was_on_its_way_waits_again_and_its_old_envelope_is_dropped_quietly(app, alpha, now, job, work, rotate):
    envelope = _sent(app, alpha, 7)
    rotate(alpha)
    with app.app_context():
        with tenant_context(now(alpha), writes=False):
            row = db.session.get(due.Due, envelope["due"])
            assert (row.holder, row.leased_until, row.attempts) == ("", None, 0)
        with pytest.raises(TenantBusy, match="brought again"):
            jobs.perform(envelope)
        forged = {**envelope, "mac": "0" * 64}
        with pytest.raises(jobs.EnvelopeRefused):
            jobs.perform(forged)
        assert RAN == []
    work(now(alpha))
    assert RAN == [7]


def test_an_envelope_of_a_key_that_is_forgotten_is_a_forgery(app, tenancy, alpha, job, rotate):
    envelope = _sent(app, alpha, 7)
    rotate(alpha)
    tenancy.keys.drop(alpha.id, 1)
    with app.app_context(), pytest.raises(jobs.EnvelopeRefused):
        jobs.perform(envelope)


def test_without_letting_go_what_was_on_its_way_would_wait_for_the_queue(app, alpha, now, job, monkeypatch, rotate):
    """The trap, with the guard out: the row is held by a queue whose envelope nobody takes."""
    envelope = _sent(app, alpha, 7)
    real = rotation.rewrap

    def rewrap(connection, *arguments) -> None:
        real(connection, *arguments)
        connection.execute("UPDATE due SET holder = 'queue' WHERE id = ?", (envelope["due"],))

    monkeypatch.setattr(rotation, "rewrap", rewrap)
    rotate(alpha)
    with app.app_context(), tenant_context(now(alpha), writes=False):
        assert not db.session.scalars(select(due.Due).where(due.is_ready(), due.Due.id == envelope["due"])).all()


# What cannot be rotated


def test_a_damaged_file_is_refused_and_its_key_stays(tenancy, alpha, rotate):
    path = tenancy.placements.file(alpha.id)
    tenancy.pool.discard(alpha.id)
    path.write_bytes(os.urandom(path.stat().st_size))
    with pytest.raises(DatabaseUnreadable, match="backup"):
        rotate(alpha)
    assert (tenancy.keys.versions(alpha.id), tenancy.keys.pending(alpha.id)) == ([1], None)


@pytest.mark.parametrize(
    "harm",
    [
        lambda copy: copy.execute("UPDATE stamp SET tenant_id = 'another'"),
        lambda copy: copy.execute("DELETE FROM stamp"),
    ],
)
def test_a_copy_that_does_not_prove_whole_never_takes_the_place(tenancy, alpha, client_for, monkeypatch, harm, rotate):
    real = rotation.rewrap

    def rewrap(connection, *arguments) -> None:
        real(connection, *arguments)
        harm(connection)

    monkeypatch.setattr(rotation, "rewrap", rewrap)
    with pytest.raises(Refused, match="did not prove whole"):
        rotate(alpha)
    assert (tenancy.keys.versions(alpha.id), tenancy.keys.pending(alpha.id)) == ([1], None)
    assert client_for(alpha).get("/").status_code == 200
    monkeypatch.setattr(rotation, "_verify", lambda *_: None)
    rotate(alpha)
    with pytest.raises(DatabaseUnreadable, match="stamp"):
        tenancy.placements.open_file(alpha.id)


def flip(path: Path) -> None:
    """Change one byte of a page in the middle."""
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 8192 * 4096 + 2048)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))


def test_one_flipped_byte_in_the_copy_is_noticed(tenancy, alpha, client_for, monkeypatch, rotate):
    real = rotation._copy

    def copy(source, incoming, *arguments) -> None:
        real(source, incoming, *arguments)
        flip(incoming)

    monkeypatch.setattr(rotation, "_copy", copy)
    with pytest.raises(Refused, match="did not prove whole"):
        rotate(alpha)
    assert tenancy.keys.versions(alpha.id) == [1]
    assert client_for(alpha).get("/").status_code == 200


def test_one_flipped_byte_in_the_file_stops_a_rotation(tenancy, alpha, rotate):
    tenancy.pool.discard(alpha.id)
    with closing(tenancy.placements.open_file(alpha.id, guarded=False)) as file:
        file.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    flip(tenancy.placements.file(alpha.id))
    with pytest.raises((DatabaseUnreadable, Refused)):
        rotate(alpha)
    assert (tenancy.keys.versions(alpha.id), tenancy.keys.pending(alpha.id)) == ([1], None)


def test_a_full_disk_stops_a_rotation_and_the_tenant_serves_on(small_disk, tenancy, alpha, client_for, rotate):
    room = os.statvfs(small_disk)
    (small_disk / "ballast").write_bytes(b"\0" * (room.f_bavail * room.f_frsize - 200_000))
    with pytest.raises(DiskFull):
        rotate(alpha)
    (small_disk / "ballast").unlink()
    assert (tenancy.keys.versions(alpha.id), tenancy.keys.pending(alpha.id)) == ([1], None)
    assert not list(tenancy.placements.folder(alpha.id).glob("*incoming*"))
    assert client_for(alpha).get("/").status_code == 200


def test_the_command_rotates_and_the_ledger_has_it(app, tenancy, alpha, runner):
    result = runner("keys", "rotate", "alpha")
    assert result.exit_code == 0, result.output
    assert "version 2" in result.output
    assert runner("keys", "rotate", "nobody").exit_code == 2
    with app.app_context(), platform_context(writes=False):
        row = db.session.scalars(select(AuditRow).where(AuditRow.kind == "key_rotated")).one()
    assert (row.tenant_id, row.detail["version"]) == (alpha.id, 2)


# While others write, and while somebody kills


class Scribe:
    """Writes rows and files for a tenant in a process of its own, as fast as it is let, and says what was acknowledged."""

    def __init__(self, app, tenant, name: str) -> None:
        self.name, self._tenant, self._app = name, tenant, app
        self._acknowledged, self._trouble = fork.Value("i", 0), fork.Value("i", 0)
        self._stop = fork.Event()
        self._process = fork.Process(target=self._write)
        self._process.start()

    @property
    def acknowledged(self) -> int:
        return self._acknowledged.value

    def end(self) -> int:
        """Stop, and return how often something other than "busy" was met."""
        self._stop.set()
        self._process.join(30)
        return self._trouble.value + abs(self._process.exitcode or 0)

    def _write(self) -> None:
        number = 0
        while not self._stop.is_set():
            try:
                with self._app.app_context(), tenant_context(self._tenant_now()):
                    due.add(f"test.{self.name}", {"number": number}, run_at=utcnow() + FAR)
                    if number % 5 == 0:
                        storage.put(f"{self.name} {number}".encode())
                    db.session.commit()
                number += 1
                self._acknowledged.value = number
            except TenantBusy:
                time.sleep(0.01)
            except Exception as error:
                print(f"{self.name}: {type(error).__name__}: {error}", flush=True)
                self._trouble.value += 1
                time.sleep(0.05)

    def _tenant_now(self):
        found = self._app.extensions["tenancy"].registry.by_id(self._tenant.id)
        if found.placement != "ready":
            raise TenantBusy("sealed")
        return found


@pytest.fixture
def scribes(app, alpha) -> Iterator[list[Scribe]]:
    working = [Scribe(app, alpha, name) for name in ("ada", "ben")]
    yield working
    for scribe in working:
        scribe._stop.set()
        scribe._process.join(30)


def missing(app, tenancy, tenant, scribe: Scribe) -> list[object]:
    """Return what was acknowledged to a scribe and is not there."""
    promised = scribe.acknowledged
    with app.app_context(), tenant_context(tenancy.registry.by_id(tenant.id), writes=False):
        wanted = select(due.Due.arguments).where(due.Due.job == f"test.{scribe.name}")
        numbers = {arguments["number"] for arguments in db.session.scalars(wanted)}
        lost: list[object] = [number for number in range(promised) if number not in numbers]
        for file in db.session.scalars(select(StoredFile)).all():
            with suppress(StorageDamaged):
                storage.read(file.name)
                continue
            lost.append(file.name)
    return lost


def until_written(scribes: list[Scribe], more: int) -> None:
    wanted = [scribe.acknowledged + more for scribe in scribes]
    deadline = time.monotonic() + 30
    while any(scribe.acknowledged < least for scribe, least in zip(scribes, wanted, strict=True)):
        assert time.monotonic() < deadline, "the scribes do not get on"
        time.sleep(0.01)


def test_a_rotation_under_writers_of_other_processes_loses_nothing(app, tenancy, alpha, scribes, rotate):
    until_written(scribes, 3)
    for _ in range(4):
        rotate(alpha)
        until_written(scribes, 3)
    assert [scribe.end() for scribe in scribes] == [0, 0]
    assert [missing(app, tenancy, alpha, scribe) for scribe in scribes] == [[], []]
    assert tenancy.keys.versions(alpha.id) == [1, 2, 3, 4, 5]


def test_a_rotation_under_threads_of_the_same_process_loses_nothing(app, tenancy, alpha, at, rotate):
    done, stop, troubles = [0, 0, 0], threading.Event(), []

    def write(place: int) -> None:
        while not stop.is_set():
            tenant = tenancy.registry.by_id(alpha.id)
            try:
                at(tenant, lambda: due.add(f"test.{place}", {"number": done[place]}, run_at=utcnow() + FAR))
            except TenantBusy:
                time.sleep(0.01)
                continue
            except Exception as error:
                troubles.append(error)
                continue
            done[place] += 1

    threads = [threading.Thread(target=write, args=(place,)) for place in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(3):
        rotate(alpha)
        time.sleep(0.2)
    stop.set()
    for thread in threads:
        thread.join(30)
    assert troubles == []
    assert min(done) > 0
    tenant = tenancy.registry.by_id(alpha.id)
    for place in range(3):
        rows = at(
            tenant, lambda job=f"test.{place}": len(db.session.scalars(select(due.Due).where(due.Due.job == job)).all())
        )
        assert rows == done[place]


def dies(owner: object, name: str, when: str) -> Callable[[pytest.MonkeyPatch], None]:
    """Have this process killed before or after it calls a function."""

    def arm(patch: pytest.MonkeyPatch) -> None:
        real = getattr(owner, name)

        @functools.wraps(real)
        def deadly(*arguments, **options):
            if when == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            real(*arguments, **options)
            os.kill(os.getpid(), signal.SIGKILL)

        patch.setattr(owner, name, deadly)

    return arm


def killed(work: Callable[[], object], arm: Callable[[pytest.MonkeyPatch], None] = lambda _: None, after: float = 30):
    """Run `work` in a process that is killed where `arm` says or after so many seconds; returns its exit code."""

    def run() -> None:
        arm(pytest.MonkeyPatch())
        work()

    process = fork.Process(target=run)
    process.start()
    process.join(after)
    if process.exitcode is None:
        process.kill()
        process.join()
    return process.exitcode


POINTS = {
    "before the key": dies(Keys, "make_next", "before"),
    "after the key": dies(Keys, "make_next", "after"),
    "in the copy": dies(rotation, "rewrap", "before"),
    "after the copy": dies(rotation, "_copy", "after"),
    "before it takes the place": dies(Drained, "replace", "before"),
    "before the key is in use": dies(Drained, "replace", "after"),
    "before it serves again": dies(Keys, "activate", "after"),
}


@pytest.mark.parametrize("point", POINTS)
def test_a_rotation_killed_at_a_point_leaves_the_tenant_whole(app, tenancy, alpha, keep, read, point, rotate):
    name = keep(alpha, b"the minutes")
    assert killed(lambda: rotate(alpha), POINTS[point]) == -signal.SIGKILL
    assert tenancy.registry.by_id(alpha.id).placement == "sealed"
    assert tenancy.placements.recover(alpha.id)
    version = 2 if "in use" in point or "serves" in point else 1
    assert (tenancy.keys.version(alpha.id), tenancy.keys.pending(alpha.id)) == (version, None)
    assert not list(tenancy.placements.folder(alpha.id).glob("*incoming*"))
    tenant = tenancy.registry.by_id(alpha.id)
    assert read(tenant, name) == b"the minutes"
    rotate(tenant)
    assert read(tenancy.registry.by_id(alpha.id), name) == b"the minutes"


def test_without_recovery_a_rotation_killed_before_its_key_is_in_use_would_lose_the_tenant(tenancy, alpha, rotate):
    """The trap, with the guard out: the file in place opens with the pending key alone."""
    killed(lambda: rotate(alpha), POINTS["before the key is in use"])
    with pytest.raises(DatabaseUnreadable):
        tenancy.placements.open_file(alpha.id)


def test_a_file_that_cannot_be_opened_for_the_moment_costs_no_key(tenancy, alpha, rotate, keep, read, monkeypatch):
    """Killed before its key is in use, and met again while a copying program has locked the file."""
    name = keep(alpha, b"the minutes")
    killed(lambda: rotate(alpha), POINTS["before the key is in use"])
    monkeypatch.setattr(waiting, "busy", 0.05)
    monkeypatch.setattr(waiting, "most", 0.05)
    held, free = fork.Event(), fork.Event()

    def hold() -> None:
        with tenancy.placements.file(alpha.id).open("r+b") as file:
            fcntl.lockf(file, fcntl.LOCK_EX)
            held.set()
            free.wait(30)

    holder = fork.Process(target=hold)
    holder.start()
    assert held.wait(30)
    with suppress(driver.OperationalError):
        tenancy.placements.recover(alpha.id)
    free.set()
    holder.join(30)
    assert tenancy.placements.recover(alpha.id)
    assert read(alpha, name) == b"the minutes"


def _rounds(app, tenancy, alpha, rotate, scribes: list[Scribe], rounds: int) -> None:
    chance = random.Random(4)
    began = time.monotonic()
    rotate(alpha)
    whole = time.monotonic() - began
    for _ in range(rounds):
        killed(lambda: rotate(alpha), after=chance.uniform(0, whole * 1.5))
        assert tenancy.placements.recover(alpha.id)
        until_written(scribes, 1)
        assert [missing(app, tenancy, alpha, scribe) for scribe in scribes] == [[], []]
    assert [scribe.end() for scribe in scribes] == [0, 0]
    assert [missing(app, tenancy, alpha, scribe) for scribe in scribes] == [[], []]


def test_rotations_killed_anywhere_under_writers_lose_nothing(app, tenancy, alpha, rotate, scribes):
    _rounds(app, tenancy, alpha, rotate, scribes, 6)


@pytest.mark.prove
@pytest.mark.timeout(3600)
def test_two_hundred_rotations_killed_anywhere_under_writers_lose_nothing(app, tenancy, alpha, rotate, scribes):
    _rounds(app, tenancy, alpha, rotate, scribes, 200)


# The master key


def everything(found: Keys) -> dict[tuple[str, int], bytes]:
    owners = found._rows("SELECT DISTINCT owner FROM wrapped_key WHERE owner <> ?", "")
    return {
        (owner, version): found.database_key(owner, version) for (owner,) in owners for version in found.versions(owner)
    }


def test_a_new_master_key_opens_everything_and_the_old_one_nothing(
    home: Path, config: Config, tenancy, alpha, client_for, rotate
):
    rotate(alpha)
    old, before = (home / "instance" / "master.key").read_bytes(), everything(tenancy.keys)
    subkeys = tenancy.keys.subkey("health")
    rotation.rotate_master(tenancy)
    assert tenancy.keys.master == (home / "instance" / "master.key").read_bytes() != old
    assert everything(tenancy.keys) == before
    assert tenancy.keys.subkey("health") == subkeys
    assert client_for(alpha).get("/").status_code == 200
    for name in ("master.key", "keyring.sqlite3"):
        assert (home / "instance" / name).stat().st_mode & 0o777 == 0o600
    assert not list((home / "instance").glob("*.next*"))
    with pytest.raises(CannotStart, match="does not open"):
        Keys(old, home / "instance" / "keyring.sqlite3").database_key(alpha.id)
    again = Tenancy(config)
    assert everything(again.keys) == before
    again.close()


def test_no_wrapped_key_of_the_old_keyring_opens_under_the_new_master(tenancy, alpha):
    old = dict(_wrapped(tenancy.keys))
    rotation.rotate_master(tenancy)
    new = dict(_wrapped(tenancy.keys))
    assert set(old) == set(new)
    assert not set(old.values()) & set(new.values())


def _wrapped(found: Keys) -> list[tuple[str, bytes]]:
    with found._lock:
        return found._ring().execute("SELECT owner || version, wrapped FROM wrapped_key").fetchall()


def _watching(home: Path, ready, stop, troubles) -> None:
    file, keyring = home / "instance" / "master.key", home / "instance" / "keyring.sqlite3"
    found = Keys(load_master_key(file, first_start=False), keyring, file)
    before = found.database_key("registry"), found.subkey("health")
    ready.set()
    count = 0
    while not stop.is_set():
        count += 1
        try:
            found.make(f"owner{os.getpid()}x{count}")
            found.close() if count % 7 == 0 else None
            if (found.database_key("registry"), found.subkey("health")) != before:
                troubles.value += 1
        except Exception as error:
            print(f"{type(error).__name__}: {error}", flush=True)
            troubles.value += 1
    with troubles.get_lock():
        troubles.value += sum(not found.versions(f"owner{os.getpid()}x{number}") for number in range(1, count + 1))


def test_running_processes_go_on_and_a_tenant_made_meanwhile_is_not_lost(home: Path, tenancy):
    stop, troubles = fork.Event(), fork.Value("i", 0)
    readies = [fork.Event() for _ in range(2)]
    processes = [fork.Process(target=_watching, args=(home, ready, stop, troubles)) for ready in readies]
    for process, ready in zip(processes, readies, strict=True):
        process.start()
        assert ready.wait(30)
    for _ in range(15):
        rotation.rotate_master(tenancy)
        time.sleep(0.02)
    stop.set()
    for process in processes:
        process.join(30)
    assert troubles.value == 0
    assert [process.exitcode for process in processes] == [0, 0]


MASTER_POINTS = {
    "before the new key": dies(Keys, "_write_next", "before"),
    "after the new key": dies(Keys, "_write_next", "after"),
    "in the new keyring": dies(keys, "_wrap", "after"),
    "before the keyring is replaced": dies(Keys, "_copy_under", "after"),
    "before the key is replaced": dies(Path, "replace", "after"),
    "after all": dies(Keys, "change_master", "after"),
}


def _of(home: Path) -> Keys:
    return Keys(
        load_master_key(home / "instance" / "master.key", first_start=False), home / "instance" / "keyring.sqlite3"
    )


@pytest.mark.parametrize("point", MASTER_POINTS)
@pytest.mark.parametrize("next_comes", ["a start", "a running process"])
def test_a_rotation_of_the_master_killed_at_a_point_is_ended_or_undone(
    home: Path, config: Config, tenancy, alpha, point, next_comes
):
    before, old = everything(tenancy.keys), tenancy.keys.master
    assert killed(lambda: tenancy.keys.change_master(), MASTER_POINTS[point]) == -signal.SIGKILL
    if next_comes == "a start":
        tenancy = Tenancy(config)
    assert everything(tenancy.keys) == before
    is_new = point in ("before the key is replaced", "after all")
    assert (tenancy.keys.master != old) == is_new
    assert everything(_of(home)) == before, "the two files alone open it"
    tenancy.keys.prepare()
    assert not list((home / "instance").glob("*.next*"))
    rotation.rotate_master(tenancy)
    assert everything(tenancy.keys) == everything(_of(home)) == before
    tenancy.close()


@pytest.mark.parametrize("second", MASTER_POINTS)
def test_a_second_rotation_of_the_master_over_a_killed_one_loses_nothing(home: Path, config: Config, tenancy, second):
    """The key that a killed rotation left beside the old one is the only one that opens: the next must not write over it."""
    before = everything(tenancy.keys)
    killed(lambda: tenancy.keys.change_master(), MASTER_POINTS["before the key is replaced"])
    fresh = Keys(
        (home / "instance" / "master.key").read_bytes(), home / "instance" / "keyring.sqlite3", config.master_key_file
    )
    killed(lambda: fresh.change_master(), MASTER_POINTS[second])
    again = Tenancy(config)
    assert everything(again.keys) == everything(_of(home)) == before
    again.close()


@pytest.mark.prove
def test_two_hundred_rotations_of_the_master_killed_anywhere_lose_no_key(home: Path, config: Config, tenancy):
    before, chance = everything(tenancy.keys), random.Random(4)
    for count in range(200):
        killed(lambda: tenancy.keys.change_master(), after=chance.uniform(0, 0.12))
        if count % 2:
            again = Tenancy(config)
            assert everything(again.keys) == before
            again.close()
        assert everything(tenancy.keys) == before


@pytest.fixture
def credential(home: Path, config_of, tmp_path: Path) -> Iterator[Config]:
    """Put the master key where nobody can write, as a credential of systemd is."""
    folder = tmp_path / "credentials"
    folder.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(folder)], check=False, capture_output=True, text=True)
    if mount.returncode:
        pytest.skip(f"a folder that cannot be written to cannot be made here: {mount.stderr.strip()}")
    shutil.move(home / "instance" / "master.key", folder / "master")
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
    yield config_of(home, FREEHOLD_MASTER_KEY_FILE=str(folder / "master"))
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_master_key_that_cannot_be_written_is_refused_and_another_file_is_offered(
    credential, home, config_of, tmp_path
):
    tenancy = Tenancy(credential)
    before = everything(tenancy.keys)
    with pytest.raises(Refused, match="--write-new-key"):
        rotation.rotate_master(tenancy)
    assert everything(tenancy.keys) == before
    new = tmp_path / "new.key"
    rotation.rotate_master(tenancy, new)
    assert new.stat().st_mode & 0o777 == 0o600
    with pytest.raises(Refused, match="there already"):
        rotation.rotate_master(tenancy, new)
    assert everything(tenancy.keys) == before
    tenancy.close()
    with pytest.raises(CannotStart, match="does not open"):
        Tenancy(credential)
    again = Tenancy(config_of(home, FREEHOLD_MASTER_KEY_FILE=str(new)))
    assert everything(again.keys) == before
    again.close()


def test_the_command_says_that_a_new_kit_is_due(app, runner, tenancy, tmp_path):
    result = runner("keys", "rotate-master")
    assert result.exit_code == 0, result.output
    assert "new recovery kit" in result.output
    with app.app_context(), platform_context(writes=False):
        assert db.session.scalars(select(AuditRow).where(AuditRow.kind == "master_key_rotated")).one()
    refused = runner("keys", "rotate-master", "--write-new-key", str(tmp_path / "new.key"))
    assert refused.exit_code == 2
    assert "Stop Freehold" in refused.output
    assert not (tmp_path / "new.key").exists()


def test_a_copy_of_the_keyring_opens_with_the_key_of_its_time(home: Path, tenancy, alpha, tmp_path):
    with tenancy.keys.unchanged():
        shutil.copy(home / "instance" / "keyring.sqlite3", tmp_path / "keyring.sqlite3")
    kit, key = tenancy.keys.master, tenancy.keys.database_key(alpha.id)
    rotation.rotate_master(tenancy)
    assert Keys(kit, tmp_path / "keyring.sqlite3").database_key(alpha.id) == key
    with pytest.raises(CannotStart):
        Keys(tenancy.keys.master, tmp_path / "keyring.sqlite3").database_key(alpha.id)
