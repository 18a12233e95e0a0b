"""Stored files are sealed, named by their content, and fail loudly when somebody touched them."""

from __future__ import annotations

import io
import resource
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import func, select

from app import Freehold
from app.facilities import storage
from app.facilities.storage import CHUNK, StorageDamaged, StoredFile
from app.tenancy import ResolvedTenant, Tenancy, db, tenant_context
from app.tenancy.errors import DiskFull

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 64
Inside = Callable[[ResolvedTenant], AbstractContextManager[None]]


@pytest.fixture
def inside(app: Freehold) -> Inside:
    @contextmanager
    def enter(tenant: ResolvedTenant) -> Iterator[None]:
        with app.app_context(), tenant_context(tenant):
            yield

    return enter


def kept(tenancy: Tenancy, tenant: ResolvedTenant) -> list[Path]:
    return sorted(path for path in (tenancy.placements.folder(tenant.id) / "files").rglob("*") if path.is_file())


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 3 * CHUNK + 17])
def test_what_was_put_is_read_back(inside: Inside, alpha: ResolvedTenant, size: int) -> None:
    data = bytes(range(256)) * (size // 256 + 1)
    with inside(alpha):
        file = storage.put(io.BytesIO(data[:size]), "")
        db.session.commit()
        assert file.size == size
        assert storage.read(file.name) == data[:size]
        assert storage.open_file(file.name).read() == data[:size]


def test_nothing_of_it_can_be_read_on_the_disk(inside: Inside, tenancy: Tenancy, alpha: ResolvedTenant) -> None:
    with inside(alpha):
        storage.put(b"the minutes of the meeting " * 100)
        db.session.commit()
    (path,) = kept(tenancy, alpha)
    assert b"minutes" not in path.read_bytes()
    assert path.stat().st_mode & 0o077 == 0


def test_the_same_bytes_are_kept_once(inside: Inside, tenancy: Tenancy, alpha: ResolvedTenant) -> None:
    with inside(alpha):
        assert storage.put(PNG).name == storage.put(PNG).name
        db.session.commit()
        assert storage.put(PNG).name
        assert db.session.scalar(select(func.count()).select_from(StoredFile)) == 1
        assert storage.read(storage.put(PNG).name) == PNG
    assert len(kept(tenancy, alpha)) == 1


def test_two_organisations_name_the_same_bytes_differently(
    inside: Inside, alpha: ResolvedTenant, beta: ResolvedTenant
) -> None:
    names = []
    for tenant in (alpha, beta):
        with inside(tenant):
            names.append(storage.put(PNG).name)
            db.session.commit()
    assert names[0] != names[1]
    with inside(beta), pytest.raises(StorageDamaged):
        storage.read(names[0])


def test_a_file_of_another_organisation_in_its_place_does_not_open(
    inside: Inside, tenancy: Tenancy, alpha: ResolvedTenant, beta: ResolvedTenant
) -> None:
    with inside(alpha):
        storage.put(b"alpha's letter")
        db.session.commit()
    with inside(beta):
        name = storage.put(b"beta's letter.").name
        db.session.commit()
    kept(tenancy, beta)[0].write_bytes(kept(tenancy, alpha)[0].read_bytes())
    with inside(beta), pytest.raises(StorageDamaged):
        storage.read(name)


def swap(data: bytes) -> bytes:
    sealed = CHUNK + 16
    return data[sealed : 2 * sealed] + data[:sealed] + data[2 * sealed :]


@pytest.mark.parametrize(
    "harm",
    [
        pytest.param(lambda data: data[:-1], id="cut short by a byte"),
        pytest.param(lambda data: data[: 2 * (CHUNK + 16)], id="cut at the end of a chunk"),
        pytest.param(swap, id="chunks reordered"),
        pytest.param(lambda data: data[:100] + bytes([data[100] ^ 1]) + data[101:], id="a bit flipped"),
        pytest.param(lambda data: data + data[-100:], id="something added"),
        pytest.param(lambda data: b"", id="emptied"),
    ],
)
def test_harm_to_a_file_is_noticed(
    inside: Inside, tenancy: Tenancy, alpha: ResolvedTenant, harm: Callable[[bytes], bytes]
) -> None:
    with inside(alpha):
        name = storage.put(bytes(range(256)) * 1024).name
        db.session.commit()
    (path,) = kept(tenancy, alpha)
    path.write_bytes(harm(path.read_bytes()))
    with inside(alpha), pytest.raises(StorageDamaged):
        storage.read(name)


def test_a_missing_file_is_named(inside: Inside, tenancy: Tenancy, alpha: ResolvedTenant) -> None:
    with inside(alpha):
        name = storage.put(PNG).name
        db.session.commit()
    kept(tenancy, alpha)[0].unlink()
    with inside(alpha), pytest.raises(StorageDamaged, match=name):
        storage.read(name)


def test_a_full_disk_leaves_nothing_behind(inside: Inside, tenancy: Tenancy, alpha: ResolvedTenant) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with inside(alpha):
        resource.setrlimit(resource.RLIMIT_FSIZE, (2 * CHUNK, before[1]))
        try:
            with pytest.raises(DiskFull):
                storage.put(b"x" * 5 * CHUNK)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        db.session.commit()
        assert db.session.scalar(select(func.count()).select_from(StoredFile)) == 0
    assert kept(tenancy, alpha) == []


@pytest.mark.parametrize(
    ("data", "hint", "mime"),
    [
        (PNG, "text/html", "image/png"),
        (b"%PDF-1.4\n", "", "application/pdf"),
        (b"<html><script>alert(1)</script>", "text/html", "text/plain"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'><script/></svg>", "image/svg+xml", "text/plain"),
        (b"hello", "text/html", "text/plain"),
        (b"a,b\n1,2\n", "text/csv", "text/csv"),
        (b"\xff\x00\xfe\x01\x02", "image/png", "application/octet-stream"),
        (b"", "image/png", "text/plain"),
    ],
)
def test_what_a_file_is_its_bytes_tell(
    inside: Inside, alpha: ResolvedTenant, data: bytes, hint: str, mime: str
) -> None:
    with inside(alpha):
        assert storage.put(data, hint).mime == mime
        db.session.rollback()
