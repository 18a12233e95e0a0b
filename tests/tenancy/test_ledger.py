import pytest
from sqlalchemy import select

from app.tenancy import db, platform_context, tenant_context
from app.tenancy.ledger import AuditRow


def rows() -> list[AuditRow]:
    return list(db.session.scalars(select(AuditRow).order_by(AuditRow.id)))


def test_a_fact_is_written_at_once_whatever_becomes_of_the_callers_transaction(app, tenancy, alpha):
    with app.app_context():
        with pytest.raises(ZeroDivisionError), tenant_context(alpha):
            tenancy.ledger.record("tried", alpha.id, other="b" * 32, actor="somebody", by="header")
            _ = 1 / 0
        row = rows()[-1]
    assert (row.kind, row.tenant_id, row.other_tenant_id, row.actor) == ("tried", alpha.id, "b" * 32, "somebody")
    assert row.detail["by"] == "header"
    assert row.detail["request_id"]
    assert row.at.tzinfo is not None


def test_a_reading_request_can_still_be_written_down(app, tenancy, alpha):
    with tenant_context(alpha, writes=False):
        tenancy.ledger.record("seen", alpha.id)
    with app.app_context(), platform_context():
        assert rows()[-1].kind == "seen"
