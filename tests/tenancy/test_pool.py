import resource
import sys
import threading

import pytest
from sqlalchemy import create_engine, event, text
from sqlalchemy.pool import QueuePool

from app.tenancy import ResolvedTenant, Tenancy, tenant_context
from app.tenancy.context import current_tenant
from app.tenancy.errors import CannotStart, DatabaseUnreadable, PoolExhausted, WrongTenant
from app.tenancy.pool import TenantPool, refuse_wrong_tenant


def stamp_seen(engine) -> str:
    with engine.connect() as connection:
        return connection.scalar(text("SELECT tenant_id FROM stamp"))


def stock_engine(tenancy: Tenancy, *, guarded: bool):
    """A stock pool whose creator reads the context: what the trap is made of."""
    engine = create_engine(
        "sqlite+sqlcipher3://",
        creator=lambda: tenancy.placements.open_file(current_tenant().id),
        poolclass=QueuePool,
    )

    @event.listens_for(engine, "connect")
    def note(connection, record) -> None:
        record.info["tenant"] = current_tenant().id

    if guarded:
        event.listen(engine, "checkout", refuse_wrong_tenant)
    return engine


def test_a_stock_pool_leaks_and_ours_does_not(tenancy: Tenancy, alpha: ResolvedTenant, beta: ResolvedTenant):
    leaking = stock_engine(tenancy, guarded=False)
    with tenant_context(alpha):
        assert stamp_seen(leaking) == alpha.id
    with tenant_context(beta):
        assert stamp_seen(leaking) == alpha.id, "the trap: beta was served from alpha's file"
    leaking.dispose()

    ours = tenancy.engines["tenant"]
    for tenant in (alpha, beta, alpha):
        with tenant_context(tenant):
            assert stamp_seen(ours) == tenant.id


def test_checkout_alone_refuses_a_connection_of_another_tenant(tenancy, alpha, beta):
    """The layer below holds when the pool above it is a stock one."""
    engine = stock_engine(tenancy, guarded=True)
    with tenant_context(alpha):
        stamp_seen(engine)
    with tenant_context(beta), pytest.raises(WrongTenant):
        stamp_seen(engine)
    engine.dispose()


def small_pool(tenancy: Tenancy, limit: int):
    pool = TenantPool(tenancy.placements.open, tenancy.placements.is_current, limit)
    return pool, create_engine("sqlite+sqlcipher3://", pool=pool)


def test_the_least_recently_used_goes_first(tenancy, alpha, beta):
    pool, engine = small_pool(tenancy, 1)
    for tenant in (alpha, beta, beta, alpha):
        with tenant_context(tenant):
            assert stamp_seen(engine) == tenant.id
    assert (pool.counters.opens, pool.counters.hits, pool.counters.evictions) == (3, 1, 2)
    assert pool.idle_count() == 1
    pool.dispose()


def test_a_leased_connection_is_never_evicted(tenancy, alpha, beta):
    pool, engine = small_pool(tenancy, 1)
    with tenant_context(alpha), engine.connect() as first:
        first.execute(text("SELECT 1"))
        with pytest.raises(PoolExhausted):
            engine.connect()
        assert first.scalar(text("SELECT tenant_id FROM stamp")) == alpha.id
    assert pool.counters.refusals == 1
    pool.dispose()


def test_reading_requests_cannot_write(app, tenancy, alpha):
    with tenant_context(alpha, writes=False), tenancy.engines["tenant"].connect() as connection:
        with pytest.raises(Exception, match="readonly"):
            connection.execute(text("UPDATE stamp SET version = version"))
        connection.rollback()
    with tenant_context(alpha), tenancy.engines["tenant"].begin() as connection:
        connection.execute(text("UPDATE stamp SET version = version"))


def test_idle_connections_of_an_older_generation_are_closed(tenancy, alpha):
    with tenant_context(alpha):
        stamp_seen(tenancy.engines["tenant"])
    assert tenancy.pool.idle_count() == 1
    tenancy.pool.tidy()
    assert tenancy.pool.idle_count() == 1
    with tenancy.engines["registry"].begin() as registry:
        registry.execute(text("UPDATE tenant SET generation = generation + 1 WHERE id = :id"), {"id": alpha.id})
    tenancy.pool.tidy()
    assert tenancy.pool.idle_count() == 0


def test_a_lease_that_is_too_long_is_interrupted(tenancy, alpha, monkeypatch):
    monkeypatch.setattr("app.tenancy.pool.LEASE_SECONDS", 0.2)
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    with tenant_context(alpha), tenancy.engines["tenant"].connect() as connection:
        with pytest.raises(Exception, match="interrupt"):
            connection.execute(text(endless))
    assert tenancy.pool.counters.interrupts >= 1


def test_a_low_descriptor_limit_stops_the_start_and_says_what_to_do():
    from app.tenancy import _raise_descriptor_limit

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with pytest.raises(CannotStart, match="FREEHOLD_MAX_OPEN_TENANTS"):
        _raise_descriptor_limit(hard)


def test_racing_threads_never_open_more_than_the_limit(app, tenancy):
    with app.app_context():
        tenants = [tenancy.lifecycle.create(f"house-{number}", "House") for number in range(12)]
    pool, engine = small_pool(tenancy, 4)
    most: list[int] = []

    def visit() -> None:
        for _ in range(10):
            for tenant in tenants:
                with tenant_context(tenant, writes=False), engine.connect() as connection:
                    assert connection.scalar(text("SELECT tenant_id FROM stamp")) == tenant.id
                    most.append(pool._count)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        threads = [threading.Thread(target=visit) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    assert len(most) == 4 * 10 * len(tenants)
    assert max(most) <= 4
    assert sum(record.dbapi_connection is not None for entries in pool._idle.values() for _, record in entries) <= 4
    pool.dispose()
    assert pool.idle_count() == pool.leased_count() == 0


def test_closing_before_a_fork_leaves_the_engine_with_this_pool(tenancy, alpha):
    with tenant_context(alpha):
        stamp_seen(tenancy.engines["tenant"])
    tenancy.close()
    assert tenancy.engines["tenant"].pool is tenancy.pool
    assert tenancy.pool.idle_count() == 0
    with tenant_context(alpha):
        assert stamp_seen(tenancy.engines["tenant"]) == alpha.id


def test_a_failed_open_takes_no_place(tenancy, alpha, beta):
    pool, engine = small_pool(tenancy, 1)
    tenancy.placements.file(alpha.id).write_bytes(b"broken" * 1000)
    for _ in range(3):
        with tenant_context(alpha), pytest.raises(DatabaseUnreadable):
            engine.connect()
    with tenant_context(beta):
        assert stamp_seen(engine) == beta.id
    pool.dispose()
