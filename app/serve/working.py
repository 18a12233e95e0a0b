"""What the worker process runs: `python -m app.serve.working`."""

from __future__ import annotations

import gc
import os
import signal
from functools import partial

from sqlalchemy.orm import configure_mappers

from app import create_app
from app.config import Config
from app.facilities.queue import Worker, patient_connection
from app.serve import beats, worker
from app.serve.crew import Crew
from app.serve.lifelines import end_with

NICE = 10  # jobs yield to requests


def main() -> None:
    """Work until told to stop."""
    os.nice(NICE)
    config = Config.load(os.environ)
    app = create_app(config)
    configure_mappers()
    gc.freeze()  # What is loaded by now stays shared by the forks; collecting it would copy it.

    def work() -> None:
        # A job whose worker was killed ends with it: its row is free for the next.
        os.register_at_fork(after_in_child=partial(end_with, os.getpid(), signal.SIGKILL))
        with app.app_context():
            Member.at(patient_connection()).work()

    Crew(config.workers, work, beats.beat_of(worker.NAME, config)).run()


class Member(Worker):
    """One of the crew. Ctrl-C reaches all of a terminal's processes; the crew's first passes it on, once."""

    def _install_signal_handlers(self) -> None:
        super()._install_signal_handlers()
        signal.signal(signal.SIGINT, signal.SIG_IGN)


if __name__ == "__main__":
    main()
