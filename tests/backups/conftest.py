from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app import Freehold
from app.backups.archivist import Archivist
from app.backups.keeper import Keeper
from app.tenancy import Tenancy
from tests.backups.rounds import quick

WRITER = textwrap.dedent(
    """
    # Opens and closes the file again and again, writes with increasing numbers, and says what was acknowledged, and when.
    import sys, time
    from pathlib import Path
    from app.tenancy.database import connect
    path, key, writer, pace = Path(sys.argv[1]), bytes.fromhex(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    number, slowest = 0, 0.0
    while True:
        connection = connect(path, key)
        for _ in range(7):
            began = time.time()
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("INSERT INTO written VALUES (?, ?, ?, randomblob(900))", (writer, number + 1, began))
            connection.execute("COMMIT")
            number += 1
            print(number, began, time.time(), flush=True)
            time.sleep(pace)
        connection.close()
    """
)


@pytest.fixture
def keeper(tenancy: Tenancy) -> Iterator[Keeper]:
    keeper = Keeper(tenancy)
    keeper.prepare()
    yield keeper
    keeper.raw_side.close()


@pytest.fixture
def archivist(app: Freehold, monkeypatch: pytest.MonkeyPatch) -> Iterator[Archivist]:
    quick(monkeypatch)
    archivist = Archivist(app)
    archivist.keeper.prepare()
    archivist.remember()
    yield archivist
    archivist.keeper.raw_side.close()


class Writers:
    """Three processes that write to one file; `stop` returns what each was told is safe: (number, began, ended)."""

    def __init__(self, path: Path, key: bytes, log: Path, count: int = 3, pace: float = 0.002) -> None:
        self._logs = [log / f"writer-{number}" for number in range(count)]
        self._files = [each.open("w") for each in self._logs]
        self._processes = [
            subprocess.Popen(
                [sys.executable, "-c", WRITER, str(path), key.hex(), str(number), str(pace)], stdout=file, text=True
            )
            for number, file in enumerate(self._files)
        ]

    def acknowledged(self) -> list[list[tuple[int, float, float]]]:
        found = []
        for log in self._logs:
            lines = log.read_text().splitlines()
            rows = [line.split() for line in lines if line.count(" ") == 2 and line.split()[2]]
            found.append([(int(number), float(began), float(ended)) for number, began, ended in rows])
        return found

    def stop(self) -> list[list[tuple[int, float, float]]]:
        for process in self._processes:
            process.kill()
            process.wait()
        for file in self._files:
            file.close()
        return self.acknowledged()


@pytest.fixture
def writers(tmp_path: Path) -> Iterator[Callable[..., Writers]]:
    begun: list[Writers] = []

    def begin(path: Path, key: bytes, **options: float) -> Writers:
        begun.append(Writers(path, key, tmp_path, **options))
        return begun[-1]

    yield begin
    for each in begun:
        each.stop()
