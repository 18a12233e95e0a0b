"""What the worker process runs: `python -m app.serve.working`."""

from __future__ import annotations

import os

from app import create_app
from app.config import Config
from app.facilities.queue import Worker, patient_connection

NICE = 10  # jobs yield to requests


def main() -> None:
    """Work until told to stop."""
    os.nice(NICE)
    app = create_app(Config.load(os.environ))
    with app.app_context():
        Worker.at(patient_connection()).work()


if __name__ == "__main__":
    main()
