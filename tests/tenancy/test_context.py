import threading

import pytest
from sqlalchemy import text

from app.content.models import Topic
from app.tenancy import ResolvedTenant, Tenancy, current_tenant, db, platform_context, tenant_context
from app.tenancy.context import current_scope
from app.tenancy.errors import AlreadyBound, NoTenant, OpenLease


def test_a_context_makes_its_tenant_current_and_restores(alpha: ResolvedTenant):
    with tenant_context(alpha):
        assert current_tenant() is alpha
    assert current_scope() is None


def test_a_context_restores_after_an_exception(alpha: ResolvedTenant):
    with pytest.raises(ZeroDivisionError), tenant_context(alpha):
        _ = 1 / 0
    assert current_scope() is None


def test_rebinding_inside_a_context_is_refused_and_says_what_to_do(alpha: ResolvedTenant, beta: ResolvedTenant):
    with tenant_context(alpha):
        with pytest.raises(AlreadyBound, match="Leave the first"), tenant_context(beta):
            pytest.fail("entered")
        with pytest.raises(AlreadyBound), tenant_context(alpha):
            pytest.fail("entered")
        assert current_tenant() is alpha


def test_no_context_is_an_error_that_says_what_to_do(app):
    with app.app_context(), pytest.raises(NoTenant, match="with tenant_context"):
        current_tenant()


def test_no_context_no_connection(app):
    with app.app_context(), pytest.raises(NoTenant):
        db.session.query(Topic).all()


def test_the_platform_context_opens_no_tenant(app):
    with app.app_context(), platform_context(), pytest.raises(NoTenant):
        db.session.query(Topic).all()


def test_a_thread_does_not_inherit_the_tenant(alpha: ResolvedTenant):
    seen: list[object] = []
    with tenant_context(alpha):
        thread = threading.Thread(target=lambda: seen.append(current_scope()))
        thread.start()
        thread.join()
    assert seen == [None]


def test_leaving_with_a_live_lease_raises(app, tenancy: Tenancy, alpha: ResolvedTenant):
    with app.app_context():
        kept = []
        with pytest.raises(OpenLease, match="still in use"), tenant_context(alpha):
            kept.append(tenancy.engines["tenant"].connect())
            kept[0].execute(text("SELECT 1"))
        kept[0].close()
    assert current_scope() is None
