"""What the archivist process runs: `python -m app.serve.archiving`."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType

from app import create_app
from app.config import Config
from app.facilities.sweep import Sweeper
from app.serve import archivist, beats
from app.serve.hosts import HostList
from app.tenancy import database

NICE = 5  # sweeps yield to requests, and go before jobs


def main() -> None:
    """Sweep until told to stop."""
    os.nice(NICE)
    config = Config.load(os.environ)
    app, stop = create_app(config), threading.Event()
    database.be_brief()

    def end(number: int, frame: FrameType | None) -> None:
        # In a thread, because the one that is interrupted here may hold the event's own lock.
        threading.Thread(target=stop.set).start()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    threading.Thread(target=HostList(app).keep, args=(stop,), name="host-list", daemon=True).start()
    Sweeper(app).run(stop, beats.beat_of(archivist.NAME, config))


if __name__ == "__main__":
    main()
