"""The chain of one tenant's audit: what makes a row follow from the one before it, and what gives a forgery away.

Each row carries an HMAC-SHA256 over itself and the hash of the row before. A plain hash would give away whoever changes
rows and leaves it at that; the key, which lies in the keyring and not in the file, also hinders those who have the file
open for writing, and know how the chain is made, from making it anew. Works by plain SQL on any connection, since a file
that is brought back, or belongs to nobody's request, is written to as well.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

BROUGHT_BACK, RETIRED = "brought_back", "older_rows_retired"
AT_ONCE = 2000  # rows

Ask = Callable[[str, Sequence[Any]], Sequence[Any]]

_COLUMNS = "id, at, kind, actor, subject, detail, request_id, previous, hash"
_END = "SELECT epoch, (SELECT max(id) FROM audit), (SELECT hash FROM audit ORDER BY id DESC LIMIT 1) FROM stamp"
_NEXT = f"SELECT {_COLUMNS} FROM audit WHERE id > ? ORDER BY id LIMIT {AT_ONCE}"  # noqa: S608
_NEWEST = f"SELECT {_COLUMNS} FROM audit WHERE kind = ? ORDER BY id DESC LIMIT 1"  # noqa: S608
_INSERT = f"INSERT INTO audit ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608


class Row(NamedTuple):
    """A row as it lies in the file: `at` in microseconds since 1970, `detail` as JSON."""

    id: int
    at: int
    kind: str
    actor: str
    subject: str
    detail: str
    request_id: str
    previous: str
    hash: str


class Head(NamedTuple):
    """The end of a chain: the life of its file (`epoch`), and the number and hash of its newest row (0 and "" for none)."""

    epoch: int
    id: int
    hash: str


@dataclass(frozen=True)
class Finding:
    """The first row (by number) with which something is wrong, and what."""

    row: int
    what: str

    def __str__(self) -> str:
        return self.what


class Chain:
    """The chain in the file that `ask(statement, parameters)` asks, under the tenant's `key`."""

    def __init__(self, ask: Ask, key: bytes) -> None:
        self._ask = ask
        self._key = key

    def end(self) -> Head:
        """Return where the chain ends."""
        epoch, number, mac = self._ask(_END, ())[0]
        return Head(epoch, number or 0, mac or "")

    def next(self, kind: str, actor: str, subject: str, detail: dict[str, Any], request_id: str) -> Row:
        """Return the row that is to be written next; its writer holds the file until it is."""
        end = self.end()
        told = json.dumps(detail, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        row = Row(end.id + 1, time.time_ns() // 1000, kind, actor, subject, told, request_id, end.hash, "")
        return row._replace(hash=self._mac(row))

    def append(self, kind: str, *, actor: str = "", subject: str = "", request_id: str = "", **detail: Any) -> None:
        """Write the next row; the caller commits."""
        self._ask(_INSERT, self.next(kind, actor, subject, detail, request_id))

    def verify(self, head: Head | None) -> Finding | None:
        """Return the first thing wrong with the chain, or with it and the `head` that is kept outside; None when all fits.

        A few microseconds a row. The caller's transaction began after `head` was read.
        """
        last: Row | None = None
        for row in self._rows():
            finding = self._follows(row, last)
            if finding:
                return finding
            last = row
        return self.fits(head)

    def seal_anew(self, key: bytes) -> None:
        """Put the rows under another tenant's key, up to the first that is not sound, which stays so; the caller commits."""
        other, last, before = Chain(self._ask, key), None, None
        for row in list(self._rows()):
            if self._follows(row, last):
                return
            moved = row._replace(previous=before.hash if before else row.previous)
            before = moved._replace(hash=other._mac(moved))
            self._ask("DELETE FROM audit WHERE id = ?", (row.id,))
            self._ask(_INSERT, before)
            last = row

    def fits(self, head: Head | None) -> Finding | None:
        """Return what is wrong with the chain as one that was once as `head` says; looks at one row."""
        if head is None or not head.id:
            return None
        end = self.end()
        if head.epoch > end.epoch:
            return Finding(
                end.id, "The file is one of before the organisation was brought back; nobody brought it here."
            )
        if head.epoch < end.epoch:
            return (
                None if self._was_brought_back(end.epoch) else Finding(end.id, "The file is another; no row says why.")
            )
        if head.id > end.id:
            return Finding(end.id + 1, f"The rows {end.id + 1} to {head.id} at the end are missing.")
        found = self._ask("SELECT hash FROM audit WHERE id = ?", (head.id,))
        if not found:
            return Finding(head.id, f"Row {head.id} is missing.")
        return None if found[0][0] == head.hash else Finding(head.id, f"Row {head.id} is not the one that was written.")

    def up_to(self, moment: int) -> tuple[int, str, int]:
        """Return number and hash of the newest row of before `moment` (µs since 1970), and how many there are up to it.

        The rows at and after it stay, and so does the newest of all.
        """
        last = self._ask("SELECT coalesce(min(id), 0) - 1 FROM audit WHERE at >= ?", (moment,))[0][0]
        last = self.end().id - 1 if last < 0 else last
        found = self._ask(
            "SELECT id, hash, (SELECT count(*) FROM audit WHERE id <= ?) FROM audit WHERE id = ?", (last, last)
        )
        return tuple(found[0]) if found else (0, "", 0)

    def _rows(self) -> Iterator[Row]:
        last = -(2**63)
        while rows := self._ask(_NEXT, (last,)):
            yield from (Row(*row) for row in rows)
            last = rows[-1][0]

    def _follows(self, row: Row, last: Row | None) -> Finding | None:
        expected = last.id + 1 if last else 1
        if last and row.id != expected:
            return Finding(expected, f"Row {expected} is missing.")
        if not self._is_ours(row):
            return Finding(row.id, f"Row {row.id} was changed, moved here, or added from outside.")
        if last is None:
            return self._begins(row)
        return (
            None if row.previous == last.hash else Finding(row.id, f"Row {row.id} was not written after row {last.id}.")
        )

    def _begins(self, row: Row) -> Finding | None:
        """Say whether the chain may begin with this row: the first of all, or the first that retirement left."""
        retired = self._newest(RETIRED) if row.id != 1 else None
        cut: dict[str, Any] = (
            json.loads(retired.detail) if retired and self._is_ours(retired) else {"up_to": 0, "hash": ""}
        )
        if (row.id, row.previous) == (cut["up_to"] + 1, cut["hash"]):
            return None
        return Finding(cut["up_to"] + 1, f"Row {cut['up_to'] + 1} is missing at the beginning.")

    def _was_brought_back(self, epoch: int) -> bool:
        row = self._newest(BROUGHT_BACK)
        return row is not None and self._is_ours(row) and json.loads(row.detail).get("epoch") == epoch

    def _newest(self, kind: str) -> Row | None:
        found = self._ask(_NEWEST, (kind,))
        return Row(*found[0]) if found else None

    def _is_ours(self, row: Row) -> bool:
        return hmac.compare_digest(self._mac(row).encode(), str(row.hash).encode(errors="replace"))

    def _mac(self, row: Row) -> str:
        text = json.dumps(row[:-1], ensure_ascii=True, separators=(",", ":"), default=repr)
        return hmac.new(self._key, text.encode(), hashlib.sha256).hexdigest()
