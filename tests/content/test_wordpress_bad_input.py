"""Broken and hostile exports are refused in plain words, or taken in part with a report; nothing is half-written."""

from __future__ import annotations

import gzip
import io
import resource
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from app import Freehold
from app.content.models import Entry, Import
from app.content.wordpress.reader import Export, ExportBroken
from app.tenancy import ResolvedTenant, db, tenant_context
from tests.content.wxr import export, item

Bring = Callable[[bytes], Any]
GOOD = export(*(item(number, f"No. {number}", "x" * 500) for number in range(1, 6)))


@pytest.fixture
def bring(runner: Callable[..., Any], tmp_path: Path) -> Bring:
    def run(data: bytes) -> Any:
        file = tmp_path / "export.xml"
        file.write_bytes(data)
        return runner("content", "import-wordpress", "alpha", str(file))

    return run


def posts(app: Freehold, tenant: ResolvedTenant) -> int:
    with app.app_context(), tenant_context(tenant, writes=False):
        return db.session.scalar(select(func.count()).where(Entry.kind == "post")) or 0


def bomb() -> bytes:
    levels = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    return b'<?xml version="1.0"?><!DOCTYPE rss [<!ENTITY l0 "ha">' + levels.encode() + b"]><rss>&l9;</rss>"


def zipped() -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("export.xml", GOOD)
    return packed.getvalue()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        pytest.param(b"", "empty", id="empty"),
        pytest.param(b"  \n ", "empty", id="blank"),
        pytest.param(b"Dear all,\n", "not an export", id="a letter"),
        pytest.param(b"<html><body>Log in</body></html>", "not an export", id="a page"),
        pytest.param(b'<rss version="2.0"><channel><item/></channel></rss>', "not an export", id="a feed"),
        pytest.param(bytes(range(256)) * 40, "not an export", id="noise"),
        pytest.param(b"\x89PNG\r\n\x1a\n" + b"\0" * 99, "not an export", id="a picture"),
        pytest.param(gzip.compress(GOOD), "gzip", id="gzip"),
        pytest.param(zipped(), "zip", id="zip"),
        pytest.param(bomb(), "entities", id="entity bomb"),
        pytest.param(
            b'<!DOCTYPE rss [<!ENTITY x SYSTEM "file:///etc/passwd">]><rss>&x;</rss>', "entities", id="outside entity"
        ),
        pytest.param(b'<!DOCTYPE rss SYSTEM "http://127.0.0.1/x.dtd"><rss/>', "entities", id="outside DTD"),
        pytest.param(b'<?xml version="1.0" encoding="x-klingon"?><rss/>', "x-klingon", id="unknown encoding"),
        pytest.param(b'<?xml version="1.0" encoding="zlib"?><rss/>', "no text", id="an encoding that is none"),
        pytest.param(GOOD[: GOOD.index(b"<item>") + 30], "Export it again", id="cut off before the first item"),
        pytest.param(b"<rss>" + b"<channel>" * 5000, "nested", id="deep"),
    ],
)
def test_what_is_no_export_is_refused_in_plain_words(
    app: Freehold, alpha: ResolvedTenant, bring: Bring, data: bytes, said: str
) -> None:
    result = bring(data)
    assert result.exit_code == 2, result.output
    assert said in result.stderr
    assert "Traceback" not in result.stderr
    assert posts(app, alpha) == 0
    with app.app_context(), tenant_context(alpha, writes=False):
        assert db.session.scalars(select(Import.state)).all() == ["failed"]


@pytest.mark.parametrize("cut", [0.5, 0.8, 0.99])
def test_a_truncated_export_gives_what_is_whole_and_says_so(
    app: Freehold, alpha: ResolvedTenant, bring: Bring, cut: float
) -> None:
    result = bring(GOOD[: int(len(GOOD) * cut)])
    assert result.exit_code == 1
    whole = GOOD[: int(len(GOOD) * cut)].count(b"</item>")
    assert f"{whole} items before that were sound" in result.stderr
    assert posts(app, alpha) == whole
    assert bring(GOOD).exit_code == 0
    assert posts(app, alpha) == 5


def test_a_damaged_middle_gives_what_came_before(app: Freehold, alpha: ResolvedTenant, bring: Bring) -> None:
    damaged = GOOD.replace(b"<title>No. 4</title>", b"<title>No. 4</tilte>")
    assert bring(damaged).exit_code == 1
    assert posts(app, alpha) == 3


def test_stray_windows_letters_are_read_as_what_they_were(app: Freehold, alpha: ResolvedTenant, bring: Bring) -> None:
    result = bring(
        export(item(1, "A caf\x00", "It\x01s")).replace(b"caf\x00", b"caf\xe9 \x96 bar").replace(b"\x01", b"\x92")
    )
    assert result.exit_code == 1
    assert "3 bytes" in result.stderr
    with app.app_context(), tenant_context(alpha, writes=False):
        entry = db.session.scalars(select(Entry).where(Entry.kind == "post")).one()
        assert (entry.title, entry.source) == ("A café – bar", "It’s")


@pytest.mark.parametrize("encoding", ["iso-8859-1", "windows-1252", "utf-16", "utf-8-sig", "koi8-r"])
def test_an_export_in_the_encoding_it_names_is_read(
    app: Freehold, alpha: ResolvedTenant, bring: Bring, encoding: str
) -> None:
    title = "Привет" if encoding == "koi8-r" else "Café"
    name = encoding.removesuffix("-sig")
    data = export(item(1, title, "x")).decode().replace('encoding="UTF-8"', f'encoding="{name}"')
    assert bring(data.encode(encoding)).exit_code == 0
    with app.app_context(), tenant_context(alpha, writes=False):
        assert db.session.scalars(select(Entry.title).where(Entry.kind == "post")).all() == [title]


def test_control_characters_that_xml_forbids_are_dropped(app: Freehold, alpha: ResolvedTenant, bring: Bring) -> None:
    assert bring(export(item(1, "a\x08b", "c\x0bd"))).exit_code == 0
    with app.app_context(), tenant_context(alpha, writes=False):
        assert db.session.scalars(select(Entry.title).where(Entry.kind == "post")).all() == ["ab"]


def test_an_item_that_is_far_too_long_does_not_stop_the_others(
    app: Freehold, alpha: ResolvedTenant, bring: Bring
) -> None:
    result = bring(export(item(1, "Long", "word " * 2_000_000), item(2, "Short", "x")))
    assert result.exit_code == 0
    assert "too long" in result.stdout
    assert posts(app, alpha) == 2


def test_reading_keeps_no_more_than_one_item_in_memory() -> None:
    class Endless(io.RawIOBase):
        """Gives a well-formed export of 60 MB without ever holding it."""

        def __init__(self) -> None:
            self.parts = self.made()

        def made(self) -> Any:
            whole = export(item(1, "One", "x" * 200_000))
            head, _, rest = whole.partition(b"<item>")
            body, _, tail = rest.partition(b"</channel>")
            yield head
            for _ in range(300):
                yield b"<item>" + body
            yield b"</channel>" + tail

        def read(self, size: int = -1) -> bytes:
            return next(self.parts, b"")

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert sum(1 for _ in Export(Endless).items()) == 300  # type: ignore[arg-type]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 40_000  # kilobytes


@pytest.mark.parametrize(
    "content",
    ["<!--" * 30_000, "<pre>" * 30_000, "[gallery " * 15_000, "[caption]" * 15_000, "<a " * 20_000, " " * 400_000 + "x",
     "\n " * 60_000, "<div>" * 30_000, "<p><b><i>" * 10_000, "[a_b]" * 15_000, "&amp;" * 30_000, "<!-- wp:x {" * 15_000],
    ids=lambda content: content[:12],
)  # fmt: skip
@pytest.mark.timeout(120)
def test_no_text_takes_the_square_of_its_length(
    app: Freehold, alpha: ResolvedTenant, bring: Bring, content: str
) -> None:
    assert bring(export(item(1, "One", content))).exit_code == 0
    assert posts(app, alpha) == 1


def test_an_unknown_organisation_is_refused(runner: Callable[..., Any], tmp_path: Path) -> None:
    file = tmp_path / "export.xml"
    file.write_bytes(GOOD)
    result = runner("content", "import-wordpress", "nobody", str(file))
    assert result.exit_code == 2
    assert "nobody" in result.stderr


def test_a_broken_end_is_told_apart_from_the_end() -> None:
    items = Export(lambda: io.BytesIO(GOOD[:-20])).items()
    with pytest.raises(ExportBroken):
        assert len(list(items)) == 5


@pytest.mark.parametrize(
    "text",
    [
        '<iframe src="//["></iframe>',
        '<a href="http://[">Here</a>',
        '<img src="http://[/x.png">',
        "<p>http://[::</p>",
        '<img width="²" src="http://old.example/x.png">',
        f'<img width="{"9" * 5000}" src="http://old.example/x.png">',
    ],
)
def test_an_address_or_a_number_that_is_none_holds_nothing_up(app, alpha, bring, text):
    result = bring(export(item(1, "One", text), item(2, "Two", "Whole.", link="http://[")))
    assert result.exit_code == 0, result.output
    assert posts(app, alpha) == 2
