"""What the tests of the queue look at, and what they put there by hand."""

import json
import uuid
import zlib

from app.facilities import queue

QUEUE = "rq:queue:jobs"


def read(notes):
    return notes.read_text().splitlines() if notes.exists() else []


def quarantined(client):
    return [json.loads(entry) for entry in client.lrange("quarantine", 0, -1)]


def bring(client, envelope):
    """Put an envelope into the queue by hand, under a name that is sound."""
    name = uuid.uuid4().hex
    call = [queue._FUNCTION, None, [envelope], {}]
    client.hset(f"rq:job:{name}", mapping=hash_of(json.dumps(call).encode()))
    client.rpush(QUEUE, name)
    return name


def hash_of(data):
    stamp = "2026-01-01T00:00:00.000000Z"
    return {"data": zlib.compress(data), "created_at": stamp, "origin": "jobs", "status": "queued", "timeout": "30"}
