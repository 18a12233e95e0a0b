from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from app.config import CHECKOUT
from app.tenancy import db, platform_context, recovery_kit
from app.tenancy.errors import Refused
from app.tenancy.ledger import AuditRow

MASTER = bytes(range(32))
PASSPHRASE = "korrekt pferd batterie heftklammer"


@pytest.fixture(scope="module", autouse=True)
def as_it_is():
    """Stretch passphrases at the least cost there is; gives the real one."""
    real = recovery_kit.ARGON2
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recovery_kit, "ARGON2", {"time_cost": 1, "memory_cost": 8, "parallelism": 1})
        yield real


@pytest.fixture(scope="module")
def kit(tmp_path_factory, as_it_is) -> Path:
    file = tmp_path_factory.mktemp("kit") / "kit.txt"
    made = datetime(2026, 11, 22, 9, 30, tzinfo=UTC)
    recovery_kit.write(MASTER, file, PASSPHRASE, installation="console.example.org", made=made)
    return file


@pytest.fixture
def changed(kit, tmp_path):
    """Return a copy of the kit with something else in it."""

    def write(content: str | bytes) -> Path:
        file = tmp_path / "changed.txt"
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        return file

    return write


def test_a_kit_gives_the_master_key_back(kit):
    assert recovery_kit.open(kit, PASSPHRASE) == MASTER


def test_a_kit_says_what_it_is_where_it_belongs_and_what_to_do(kit):
    text = kit.read_text()
    assert "Freehold recovery kit" in text
    assert "console.example.org" in text
    assert "22 November 2026, 09:30 UTC" in text
    assert "freehold backups rebuild FROM --kit FILE" in text
    assert max(map(len, text.splitlines())) <= 120


def test_a_kit_is_for_its_owner_alone_and_holds_no_key_in_the_clear(kit):
    assert kit.stat().st_mode & 0o777 == 0o600
    content = kit.read_bytes()
    assert MASTER not in content
    assert MASTER.hex().encode() not in content.lower()


def test_a_kit_is_never_written_over_another_file(kit):
    before = kit.read_bytes()
    with pytest.raises(Refused, match="never written over"):
        recovery_kit.write(MASTER, kit, PASSPHRASE, installation="elsewhere", made=datetime.now(UTC))
    assert kit.read_bytes() == before


def test_a_kit_that_cannot_be_written_is_refused_plainly(tmp_path):
    with pytest.raises(Refused, match="No such file"):
        recovery_kit.write(MASTER, tmp_path / "no" / "kit", PASSPHRASE, installation="x", made=datetime.now(UTC))


@pytest.mark.parametrize("passphrase", ["", "short", " " * 40, "fourteen chars"])
def test_a_short_passphrase_is_refused(tmp_path, passphrase):
    with pytest.raises(Refused, match="at least 15"):
        recovery_kit.write(MASTER, tmp_path / "kit", passphrase, installation="x", made=datetime.now(UTC))
    assert not (tmp_path / "kit").exists()


@pytest.mark.parametrize("passphrase", ["", PASSPHRASE.upper(), PASSPHRASE + "!", PASSPHRASE[:-1]])
def test_a_wrong_passphrase_is_refused(kit, passphrase):
    with pytest.raises(Refused, match="passphrase does not open"):
        recovery_kit.open(kit, passphrase)


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_a_changed_letter_is_refused_before_anything_is_tried(kit, tmp_path_factory, data):
    content = kit.read_bytes()
    place = data.draw(st.sampled_from([at for at, byte in enumerate(content) if not chr(byte).isspace()]))
    other = data.draw(st.integers(0, 255).filter(lambda byte: byte != content[place] and not chr(byte).isspace()))
    file = tmp_path_factory.mktemp("changed") / "kit"
    file.write_bytes(content[:place] + bytes([other]) + content[place + 1 :])
    with pytest.raises(Refused, match="Take another copy"):
        recovery_kit.open(file, PASSPHRASE)


def test_a_cut_file_is_refused(kit, changed):
    content = kit.read_bytes().rstrip()
    for length in [*range(0, len(content), 37), len(content) - 1]:
        with pytest.raises(Refused, match="Take another copy"):
            recovery_kit.open(changed(content[:length]), PASSPHRASE)


def test_another_installations_name_cannot_be_put_into_a_kit(tmp_path, monkeypatch):
    """Whoever changes the text can count its check anew; it is sealed with the key all the same."""

    def forged(name: str) -> Path:
        kit = tmp_path / name
        recovery_kit.write(MASTER, kit, PASSPHRASE, installation="a.example.org", made=datetime.now(UTC))
        text, body = recovery_kit._parts(kit)
        text = text.replace("a.example.org", "b.example.org")
        sealed = recovery_kit._printed(body + recovery_kit._check(text, body))
        kit.write_text(f"{text}{recovery_kit._BEGIN}\n{sealed}\n{recovery_kit._END}\n")
        return kit

    with pytest.raises(Refused, match="passphrase does not open"):
        recovery_kit.open(forged("guarded"), PASSPHRASE)
    monkeypatch.setattr(recovery_kit, "_plain", lambda text: b"")
    assert recovery_kit.open(forged("unguarded"), PASSPHRASE) == MASTER, "the trap, with the guard out"


def test_a_kit_that_went_by_mail_or_was_typed_still_opens(kit, changed):
    text = kit.read_text()
    assert recovery_kit.open(changed(text.replace("\n", "\r\n")), PASSPHRASE) == MASTER
    assert recovery_kit.open(changed(text.replace(" \n", "\n").replace("\n", "  \n") + "\n\n"), PASSPHRASE) == MASTER


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n", b"x" * 1_000_000, MASTER])
def test_another_file_is_refused(changed, content):
    with pytest.raises(Refused, match="no recovery kit"):
        recovery_kit.open(changed(content), PASSPHRASE)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(Refused, match="cannot be read"):
        recovery_kit.open(tmp_path / "nothing", PASSPHRASE)


def test_a_made_passphrase_has_six_groups_and_is_another_each_time():
    made = {recovery_kit.generate_passphrase() for _ in range(100)}
    assert len(made) == 100
    assert all(re.fullmatch(r"([a-z2-9]{4}-){5}[a-z2-9]{4}", one) for one in made)


def test_the_command_writes_a_kit_that_opens_and_the_ledger_has_it(app, tenancy, runner, tmp_path):
    file = tmp_path / "kit.txt"
    result = runner("keys", "recovery-kit", str(file), "--passphrase-stdin", input=PASSPHRASE + "\n")
    assert result.exit_code == 0, result.output
    assert PASSPHRASE not in result.output
    assert recovery_kit.open(file, PASSPHRASE) == tenancy.keys.master
    with app.app_context(), platform_context(writes=False):
        assert db.session.scalars(select(AuditRow).where(AuditRow.kind == "recovery_kit_made")).one()


def test_a_made_passphrase_does_not_go_into_a_log(runner, tmp_path):
    result = runner("keys", "recovery-kit", str(tmp_path / "kit.txt"))
    assert result.exit_code == 2
    assert "terminal" in result.output
    assert not (tmp_path / "kit.txt").exists()


def test_a_made_passphrase_is_shown_on_the_terminal_and_opens_the_kit(home, tmp_path, as_it_is, monkeypatch):
    monkeypatch.setattr(recovery_kit, "ARGON2", as_it_is)
    file, (ours, theirs) = tmp_path / "kit.txt", pty.openpty()
    command = [sys.executable, "-m", "app.cli", "keys", "recovery-kit", str(file)]
    environment = {**os.environ, "FREEHOLD_HOME": str(home)}
    with subprocess.Popen(command, cwd=CHECKOUT, env=environment, stdout=theirs, stdin=theirs) as process:
        os.close(theirs)
        process.wait(60)
        shown = os.read(ours, 10_000).decode()
    os.close(ours)
    found = re.search(r"([a-z2-9]{4}-){5}[a-z2-9]{4}", shown)
    assert found, shown
    assert recovery_kit.open(file, found[0]) == (home / "instance" / "master.key").read_bytes()
