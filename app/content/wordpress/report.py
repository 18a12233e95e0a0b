"""What an import did: what came, what was changed on the way, and what was left out and why."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

LINES = 500  # of one list; what is beyond is counted


@dataclass
class Findings:
    """The report of one run, gathered as it goes."""

    came: Counter[str] = field(default_factory=Counter)
    outcome: Counter[str] = field(default_factory=Counter)
    _changed: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    _left: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    def change(self, what: str, title: str, why: str, count: int = 1) -> None:
        """Note that something is here, but not as it was there."""
        self._changed[what, title, why] += count

    def leave(self, what: str, title: str, why: str, count: int = 1) -> None:
        """Note that something is not here, and why."""
        self._left[what, title, why] += count

    def as_dict(self) -> dict[str, Any]:
        """Return the report as it is stored and printed."""
        return {
            "came": dict(sorted(self.came.items())),
            "outcome": {name: self.outcome[name] for name in ("created", "updated", "unchanged", "kept")},
            "changed": _lines(self._changed),
            "changed_total": sum(self._changed.values()),
            "left": _lines(self._left),
            "left_total": sum(self._left.values()),
            "left_by_kind": _by_kind(self._left),
            "changed_by_kind": _by_kind(self._changed),
            "problems": self.problems,
        }


def _lines(found: Counter[tuple[str, str, str]]) -> list[dict[str, Any]]:
    return [
        {"what": what, "title": title, "why": why, "count": count}
        for (what, title, why), count in list(found.items())[:LINES]
    ]


def _by_kind(found: Counter[tuple[str, str, str]]) -> dict[str, int]:
    kinds: Counter[str] = Counter()
    for (what, _, _), count in found.items():
        kinds[what] += count
    return dict(kinds.most_common())
