from sqlalchemy import text, update

from app.tenancy.registry import Registry, Setting, Tenant


def test_a_host_is_looked_up_once_and_again_after_any_commit(tenancy, alpha):
    registry: Registry = tenancy.registry
    first = registry.resolve("alpha.localhost")
    assert registry.resolve("alpha.localhost") is first
    with tenancy.engines["registry"].begin() as connection:
        connection.execute(update(Tenant).where(Tenant.id == alpha.id).values(name="Alpha Anew"))
    assert registry.resolve("alpha.localhost").name == "Alpha Anew"


def test_unknown_hosts_are_not_remembered(tenancy):
    for number in range(100):
        assert tenancy.registry.resolve(f"h{number}.localhost") is None
    assert not tenancy.registry._by_host


def test_settings_are_seen_at_the_next_look(tenancy):
    assert tenancy.registry.settings() == {}
    with tenancy.engines["registry"].begin() as connection:
        connection.execute(text("INSERT INTO setting VALUES ('platform_name', 'Village')"))
    assert tenancy.registry.settings() == {"platform_name": "Village"}
    assert Setting.__bind_key__ == "registry"


def test_tenants_are_listed_in_order_whole_and_by_state(tenancy, alpha, beta):
    assert [tenant.slug for tenant in tenancy.registry.tenants()] == ["alpha", "beta"]
    tenancy.lifecycle.suspend("beta", "late")
    assert [tenant.slug for tenant in tenancy.registry.tenants("suspended")] == ["beta"]


def test_a_lookup_goes_over_indexes_alone(tenancy):
    plan = tenancy.registry._open_file().execute(
        "EXPLAIN QUERY PLAN SELECT tenant.id FROM tenant JOIN tier ON tier.name = tenant.tier_name "
        "JOIN domain ON domain.tenant_id = tenant.id WHERE domain.host = 'x'"
    )
    assert not [row for row in plan.fetchall() if row[3].startswith("SCAN")]
