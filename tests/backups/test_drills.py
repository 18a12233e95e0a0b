"""Drills prove what can be brought back, find what cannot, and never say more than they have seen."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from app.backups import drills
from app.backups.drills import drill, oldest
from app.backups.keeper import CENTRAL, KEYRING
from app.backups.models import Proof
from app.backups.target import TargetDown
from app.tenancy import ResolvedTenant, Tenancy, db, rotation, utcnow
from app.tenancy.errors import DiskFull, Refused
from tests.backups.doing import noted, proof_of


def write(tenancy: Tenancy, tenant: ResolvedTenant) -> None:
    with closing(tenancy.placements.open_file(tenant.id)) as file:
        file.execute("CREATE TABLE IF NOT EXISTS written (filler BLOB)")
        file.execute("INSERT INTO written VALUES (randomblob(9000))")


@pytest.fixture
def three(tenancy, keeper, alpha) -> Callable[[int], Path]:
    """Return where the packs of three moments lie."""
    for _ in range(3):
        write(tenancy, alpha)
        keeper.copy(alpha.id)
    shelf = keeper.shelf(alpha.id)

    def path(seq: int) -> Path:
        return shelf.target.root / shelf.folder / "packs" / str(next(name for name in shelf.packs() if name.seq == seq))

    return path


def proofs(app, owner: str) -> list[Proof]:
    with app.app_context():
        return list(db.session.scalars(select(Proof).where(Proof.tenant_id == owner).order_by(Proof.id)))


def flip(path: Path, place: int = 100) -> None:
    whole = bytearray(path.read_bytes())
    whole[place] ^= 1
    path.write_bytes(whole)


def test_a_clean_one_says_what_it_brought_back_and_how_long_it_took(app, tenancy, keeper, alpha, three):
    proof = drill(tenancy, keeper, alpha.id)
    assert (proof.error, proof.rows > 0, proof.bytes > 0) == ("", True, True)
    assert proof.moment_at == keeper.shelf(alpha.id).newest().at
    assert 0 < proof.seconds < 60
    assert [each.error for each in proofs(app, alpha.id)] == [""]
    assert list((tenancy.config.instance / "drill").iterdir()) == []


@pytest.mark.parametrize("owner", CENTRAL)
def test_the_central_files_are_proven_too(tenancy, keeper, owner):
    keeper.copy(owner)
    assert drill(tenancy, keeper, owner).error == ""


@pytest.mark.parametrize("seq", [1, 2, 3])
@pytest.mark.parametrize("place", [100, -1])
def test_a_damaged_pack_is_told_set_aside_and_followed_by_a_new_base(app, tenancy, keeper, alpha, three, seq, place):
    path = three(seq)
    flip(path, place)
    proof = drill(tenancy, keeper, alpha.id)
    assert "1 of its copies cannot be read any more" in proof.error
    assert path.name in proof.error
    assert not path.exists()
    assert (path.parents[1] / "damaged" / path.name).exists()
    newest = max(keeper.shelf(alpha.id).packs())
    assert (newest.seq, newest.parent) in ((4, 0), (3, 0)), (
        "nothing that can be brought back is left until it is written to"
    )
    write(tenancy, alpha)
    keeper.copy(alpha.id)
    assert drill(tenancy, keeper, alpha.id).error == ""
    assert [bool(each.error) for each in proofs(app, alpha.id)] == [True, False]


def test_a_lost_pack_is_no_proof_of_what_builds_upon_it(app, tenancy, keeper, alpha, three):
    three(3).unlink()
    three(2).unlink()
    proof = drill(tenancy, keeper, alpha.id)
    assert (proof.error, proof.moment_at) == ("", keeper.shelf(alpha.id).moment(1).at)


def test_the_only_pack_damaged_in_a_file_in_use_leaves_an_error_and_no_crash(app, tenancy, keeper, alpha):
    keeper.copy(alpha.id)
    shelf = keeper.shelf(alpha.id)
    flip(next((shelf.target.root / shelf.folder / "packs").iterdir()))
    write(tenancy, alpha)
    reader = tenancy.placements.open_file(alpha.id)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM written").fetchall()
    write(tenancy, alpha)
    with closing(reader):
        assert "cannot be read any more" in drill(tenancy, keeper, alpha.id).error


def test_a_target_that_is_gone_or_no_room_to_try_prove_nothing_neither_way(
    app, tenancy, keeper, alpha, three, monkeypatch
):
    root = tenancy.config.backups
    root.rename(root.with_name("aside"))
    with pytest.raises(TargetDown):
        drill(tenancy, keeper, alpha.id)
    root.with_name("aside").rename(root)

    def full(*_: object) -> None:
        raise DiskFull("There is no room.")

    monkeypatch.setattr("app.backups.restore._require_room", full)
    with pytest.raises(DiskFull):
        drill(tenancy, keeper, alpha.id)
    assert proofs(app, alpha.id) == []
    assert list((tenancy.config.instance / "drill").iterdir()) == []


def test_without_a_copy_there_is_nothing_to_prove(app, tenancy, keeper, beta):
    with pytest.raises(Refused, match="no copy of it yet"):
        drill(tenancy, keeper, beta.id)
    assert proofs(app, beta.id) == []


def test_the_oldest_proof_has_its_turn_first_and_a_young_one_none(app, tenancy, keeper, alpha, beta):
    now = utcnow()
    assert set(oldest(tenancy, 10)) == {*CENTRAL, alpha.id, beta.id}
    noted(app, proof_of(alpha, now - timedelta(days=3)), proof_of(beta, now - timedelta(days=9)))
    noted(app, proof_of(beta, now - timedelta(hours=1), error="damaged"))
    assert oldest(tenancy, 10)[3:] == [beta.id, alpha.id], "one that failed is no proof"
    assert len(oldest(tenancy, 2)) == 2
    noted(app, proof_of(beta, now - timedelta(hours=1)))
    assert beta.id not in oldest(tenancy, 10)


def test_copies_of_the_keyring_from_before_a_new_master_key_are_locked_and_not_damaged(app, tenancy, keeper):
    keeper.copy(KEYRING)
    before = keeper.shelf(KEYRING).packs()
    rotation.rotate_master(tenancy)
    keeper.copy(KEYRING)
    assert drill(tenancy, keeper, KEYRING).error == ""
    assert set(before) < set(keeper.shelf(KEYRING).packs())
    assert drills.scrub(keeper.shelf(KEYRING)) == []


def test_it_yields_to_everybody_else():
    child = os.fork()
    if not child:
        drills.be_last()
        os._exit(os.getpriority(os.PRIO_PROCESS, 0))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 19
