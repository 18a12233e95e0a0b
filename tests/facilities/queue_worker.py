"""A real worker process for the tests of the queue, with jobs that write down what they saw."""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from app import create_app
from app.config import Config
from app.facilities.queue import Worker, patient_connection
from app.tenancy import current_tenant, jobs


@jobs.job("test.write")
def write(file, text):
    with open(file, "a") as out:
        out.write(f"{current_tenant().slug} {text}\n")


@jobs.job("test.fail", tries=3)
def fail(file):
    write(file, "tried")
    raise ValueError("a private thing of the tenant")


@jobs.job("test.long")
def run_long(file):
    write(file, "began")
    time.sleep(60)


def main(home):
    app = create_app(Config.load({"FREEHOLD_HOME": home}))
    with app.app_context():
        Worker.at(patient_connection()).work()


if __name__ == "__main__":
    main(sys.argv[1])
