"""The worker as it is, with a job that lasts: `python crew_of_tests.py`."""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from app.serve import working
from app.tenancy import current_tenant, jobs


@jobs.job("test.long_of_crew", timeout=120)
def run_long(file):
    with open(file, "a") as out:
        out.write(f"{current_tenant().slug} began\n")
    time.sleep(60)


if __name__ == "__main__":
    working.main()
