"""Stored files are sealed, named by their content, and fail loudly when somebody touched them."""

from __future__ import annotations

import io
import os
import resource
import zipfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
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


# What an upload lies in while it comes in.


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[storage.Spool]:
    with storage.Spool(tmp_path) as spool:
        yield spool


def lying_in(spool: storage.Spool) -> bytes:
    """Return what the spool has on the disk, in its file without a name."""
    return Path(f"/proc/self/fd/{spool._file.fileno()}").read_bytes()


@pytest.mark.parametrize("step", [1 << 20, CHUNK, 1000])
@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 3 * CHUNK + 17])
def test_what_was_spooled_is_read_back(spool: storage.Spool, size: int, step: int) -> None:
    data = os.urandom(size)
    for start in range(0, size, step):
        assert spool.write(data[start : start + step]) == len(data[start : start + step])
    assert spool.tell() == size
    spool.seek(0)
    assert spool.read() == data
    assert spool.read(10) == b""
    spool.seek(0)
    assert b"".join(iter(lambda: spool.read(step), b"")) == data


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    pieces=st.lists(st.integers(0, 3 * CHUNK // 2), max_size=5),
    looks=st.lists(st.tuples(st.integers(0, 5 * CHUNK), st.integers(-1, 2 * CHUNK)), max_size=8),
)
def test_a_spool_reads_anywhere_like_a_file(tmp_path: Path, pieces: list[int], looks: list[tuple[int, int]]) -> None:
    with storage.Spool(tmp_path) as spool, io.BytesIO() as plain:
        for number, size in enumerate(pieces):
            for file in (spool, plain):
                file.seek(0, os.SEEK_END)
                file.write(bytes([number + 65]) * size)
            for place, length in looks:
                assert spool.seek(place) == plain.seek(place)
                assert spool.read(length) == plain.read(length)
                assert spool.tell() == plain.tell()


def test_a_spool_reads_by_lines_and_as_text(spool: storage.Spool) -> None:
    lines = [f"line {number} of the minutes, é".encode() + b"\n" for number in range(5000)]
    spool.write(b"".join(lines))
    spool.seek(0)
    assert list(spool) == lines
    spool.seek(0)
    text = io.TextIOWrapper(spool, "utf-8")
    assert text.read() == b"".join(lines).decode()
    text.detach()


def test_a_spool_is_a_file_for_zip_and_for_storing(inside: Inside, alpha: ResolvedTenant, spool: storage.Spool) -> None:
    packed, content = io.BytesIO(), os.urandom(300_000)
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a", b"first")
        archive.writestr("b", content)
    spool.write(packed.getvalue())
    spool.seek(0)
    with zipfile.ZipFile(spool) as archive:
        assert archive.read("b") == content
    spool.seek(0)
    with inside(alpha):
        assert storage.read(storage.put(spool).name) == packed.getvalue()


def test_a_spool_leaves_nothing_to_read_on_the_disk(spool: storage.Spool, tmp_path: Path) -> None:
    spool.write(b"the minutes of the meeting " * 100_000)
    assert len(lying_in(spool)) > 2_000_000
    assert b"minutes" not in lying_in(spool)
    assert list(tmp_path.iterdir()) == []


def test_two_spools_of_the_same_bytes_share_nothing(tmp_path: Path) -> None:
    with storage.Spool(tmp_path) as one, storage.Spool(tmp_path) as other:
        for spool in (one, other):
            spool.write(b"the same " * 50_000)
        assert lying_in(one)[:64] != lying_in(other)[:64]


def test_small_uploads_never_reach_the_disk(spool: storage.Spool) -> None:
    spool.write(b"x" * (CHUNK - 1))
    assert spool._file is None


def test_a_spool_is_not_written_in_its_middle(spool: storage.Spool) -> None:
    """A piece sealed twice with the same key and number would tell what it says."""
    spool.write(b"x" * 2 * CHUNK)
    spool.seek(5)
    with pytest.raises(io.UnsupportedOperation):
        spool.write(b"y")
    with pytest.raises(ValueError, match="before the beginning"):
        spool.seek(-1)


def test_a_changed_spool_is_noticed(spool: storage.Spool) -> None:
    spool.write(b"x" * 2 * CHUNK)
    spool._file.seek(100)
    spool._file.write(b"!")
    spool.seek(0)
    with pytest.raises(StorageDamaged):
        spool.read(1)


def test_a_full_disk_is_told_while_an_upload_comes_in(small_disk: Path) -> None:
    with storage.Spool(small_disk) as spool, pytest.raises(DiskFull):
        for _ in range(200):
            spool.write(os.urandom(CHUNK))
    with storage.Spool(small_disk) as spool:
        spool.write(os.urandom(4 * CHUNK))  # what the first one had is free again
