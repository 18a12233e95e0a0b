"""A bell for those who wait: "tenant X has news". It says nothing else, and nothing depends on it.

Who hears it looks into the tenant's file, which they also do without it, a little later. When Valkey is down nobody is told;
a commit never fails or waits long for it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import redis

from app.facilities import queue

CHANNEL = "doorbell"

_TENANT = re.compile(rb"[0-9a-f]{32}")


def ring(tenant_id: str) -> None:
    """Tell everybody who listens that the tenant has news."""
    queue.ask(lambda valkey: valkey.publish(CHANNEL, tenant_id))


def listen(connection: redis.Redis) -> Iterator[str | None]:
    """Yield the id of each tenant that rings, None for what is no id; raises `redis.RedisError` when Valkey goes away."""
    with connection.pubsub(ignore_subscribe_messages=True) as ears:
        ears.subscribe(CHANNEL)
        while True:
            message = ears.get_message(timeout=30.0)
            if message is not None:
                data = message["data"]
                yield data.decode() if _TENANT.fullmatch(data) else None
