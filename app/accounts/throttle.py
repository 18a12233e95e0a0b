"""How often a password may be tried for one address, before anything is hashed.

Kept in memory, so each web process counts for itself and a restart begins anew; it holds the 8,192 addresses
tried last, about 1 MB. Both sides of the platform count apart: the key names the house.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque

TRIES = 10
WITHIN = 600  # seconds
MOST = 8192  # addresses remembered

_tried: OrderedDict[tuple[str, str], deque[float]] = OrderedDict()
_lock = threading.Lock()


def count_try(house: str, address: str) -> int:
    """Count a try and return 0, or the seconds to wait when there were too many."""
    now = time.monotonic()
    key = (house, address.strip().casefold()[:254])
    with _lock:
        times = _tried.setdefault(key, deque())
        _tried.move_to_end(key)
        while times and now - times[0] >= WITHIN:
            times.popleft()
        if len(times) >= TRIES:
            return int(WITHIN - (now - times[0])) + 1
        times.append(now)
        while len(_tried) > MOST:
            _tried.popitem(last=False)
    return 0


def forgive(house: str, address: str) -> None:
    """Forget the tries of an address that has signed in."""
    with _lock:
        _tried.pop((house, address.strip().casefold()[:254]), None)
