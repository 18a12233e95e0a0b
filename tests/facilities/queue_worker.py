"""A real worker process for the tests of the queue, with jobs that write down what they saw."""

import os
import signal
import sys
import time
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from app import create_app
from app.config import Config
from app.facilities import events
from app.facilities.queue import Worker, patient_connection
from app.serve.crew import Crew
from app.serve.lifelines import end_with
from app.tenancy import current_tenant, jobs

COUNTED = events.kind("TestCounted", "A job of the tests has done its work.", subject="test")
HAPPENED = events.kind(
    "TestHappened", "Something that is answered in a job.", subject="test", payload={"file": "where"}
)


@jobs.job("test.write")
def write(file, text):
    with open(file, "a") as out:
        out.write(f"{current_tenant().slug} {text}\n")


@jobs.job("test.fail", tries=2)
def fail(file):
    write(file, "tried")
    raise ValueError("a private thing of the tenant")


@jobs.job("test.long", tries=2)
def run_long(file):
    write(file, "began")
    time.sleep(60)


@jobs.job("test.hang", timeout=1, tries=2)
def hang(file):
    write(file, "began")
    time.sleep(60)


@jobs.job("test.hang_stubbornly", timeout=1, tries=1)
def hang_stubbornly(file):
    write(file, "began")
    while True:
        try:
            time.sleep(60)
        except Exception:
            continue


@jobs.job("test.count")
def count(file, seconds=0.0):
    """Change the tenant's file, and only then, the first time, take long."""
    is_first = not os.path.exists(file)  # noqa: PTH110
    events.record(COUNTED, 1, audience="nobody")
    write(file, "counted")
    time.sleep(seconds if is_first else 0)


@jobs.job("test.take")
def take(file, seconds):
    """Take long, and only then change the tenant's file."""
    write(file, f"{time.time()}")
    time.sleep(seconds)
    events.record(COUNTED, 1, audience="nobody")


@events.later("TestHappened", name="test.answer")
def answer(event):
    write(event.payload["file"], f"heard {event.subject}")
    events.record(COUNTED, event.id, audience="nobody")


def main(home, size):
    app = create_app(Config.load({"FREEHOLD_HOME": home}))

    def work():
        os.register_at_fork(after_in_child=partial(end_with, os.getpid(), signal.SIGKILL))
        with app.app_context():
            Worker.at(patient_connection()).work()

    if size > 1:
        Crew(size, work, Path(home) / "crew.beat").run()
    else:
        work()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
