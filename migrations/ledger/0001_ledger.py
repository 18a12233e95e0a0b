"""Audit and migration runs."""

import sqlalchemy as sa
from alembic import op

revision = "ledger_0001"
down_revision = None
branch_labels = ("ledger",)
depends_on = None


def upgrade() -> None:
    op.create_table(
        "audit",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("at", sa.Integer, nullable=False),
        sa.Column("tenant_id", sa.String, nullable=False),
        sa.Column("other_tenant_id", sa.String),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("actor", sa.String, nullable=False),
        sa.Column("detail", sa.JSON, nullable=False),
    )
    op.create_index("audit_tenant_at", "audit", ["tenant_id", "at"])
    op.create_index("audit_kind_at", "audit", ["kind", "at"])
    op.create_table(
        "migration_run",
        sa.Column("tenant_id", sa.String, primary_key=True),
        sa.Column("target", sa.String, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("error", sa.String, nullable=False),
        sa.Column("at", sa.Integer, nullable=False),
    )
