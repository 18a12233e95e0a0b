"""How often the page cache answers: hot pages visited inside this process, as one worker sees them.

`python -m bench.hits COUNT < VISITS` prints a line of JSON.
"""

from __future__ import annotations

import itertools
import json
import sys

from app import create_app
from bench.inside import call, environs


def share(visits: list[str], count: int) -> float:
    """Make `count` visits, in turn, and give the share that was answered from memory."""
    application = create_app()
    shelf = application.extensions["freehold.pages"]
    for environ in itertools.islice(itertools.cycle(environs(visits)), count):
        call(application, environ)
    return shelf.hits / max(shelf.hits + shelf.misses, 1)


if __name__ == "__main__":
    print(json.dumps({"share": share(sys.stdin.read().splitlines(), int(sys.argv[1]))}))
