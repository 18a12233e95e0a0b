"""What it costs to open a house that was not open: one process enters tenants in turn and reads one row.

`python -m bench.cold COUNT` prints a line of JSON: median and p95 (ms) of the first visit to a closed file
and of the second visit right after it.
"""

from __future__ import annotations

import json
import random
import statistics
import sys
import time

from sqlalchemy import select

from app import create_app
from app.content.models import Entry
from app.tenancy import ResolvedTenant, db, tenancy, tenant_context
from bench.village import organisations


def touch(tenant: ResolvedTenant) -> float:
    """Enter a tenant and read one row; the time in ms."""
    began = time.perf_counter()
    with tenant_context(tenant, origin="command", writes=False):
        db.session.execute(select(Entry.id, Entry.title).limit(1)).all()
    return 1000 * (time.perf_counter() - began)


def measure(count: int) -> dict[str, float]:
    """Touch `count` tenants twice each in random order; the first hundred only warm the process up."""
    found = (tenancy.registry.by_slug(organisation.slug) for organisation in organisations(count))
    tenants = [tenant for tenant in found if tenant is not None]
    random.Random(7).shuffle(tenants)
    pairs = [(touch(tenant), touch(tenant)) for tenant in tenants][100:]
    cold, warm = (sorted(times) for times in zip(*pairs, strict=True))
    return {
        "tenants": len(tenants),
        "cold_median": statistics.median(cold), "cold_p95": cold[len(cold) * 95 // 100],
        "warm_median": statistics.median(warm), "warm_p95": warm[len(warm) * 95 // 100],
    }  # fmt: skip


if __name__ == "__main__":
    with create_app().app_context():
        print(json.dumps(measure(int(sys.argv[1]))))
