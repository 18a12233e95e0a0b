"""What the archivist process runs: `python -m app.serve.archiving`."""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType

from app import create_app
from app.backups.archivist import Archivist
from app.config import Config
from app.facilities.sweep import Sweeper
from app.serve import archivist, beats
from app.serve.hosts import HostList
from app.tenancy import database

NICE = 5  # sweeps yield to requests, and go before jobs
SWITCH = 0.0005  # seconds; while a copy holds writers, the sweeps of the other thread must not hold the interpreter


def main() -> None:
    """Sweep, and keep copies, until told to stop."""
    os.nice(NICE)
    sys.setswitchinterval(SWITCH)
    config = Config.load(os.environ)
    app, stop = create_app(config), threading.Event()
    database.be_brief()

    def end(number: int, frame: FrameType | None) -> None:
        # In a thread, because the one that is interrupted here may hold the event's own lock.
        threading.Thread(target=stop.set).start()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    sweeper = Sweeper(app)
    archivist_of_all = Archivist(app, sweeper)
    copies = threading.Thread(target=archivist_of_all.run, args=(stop, beats.beat_of("copies", config)), name="copies")
    copies.start()
    threading.Thread(target=HostList(app).keep, args=(stop,), name="host-list", daemon=True).start()
    sweeper.run(stop, beats.beat_of(archivist.NAME, config))
    copies.join()


if __name__ == "__main__":
    main()
