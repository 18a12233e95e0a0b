"""How far each tenant's audit went when it was written to last."""

import sqlalchemy as sa
from alembic import op

revision = "ledger_0004"
down_revision = "ledger_0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "audit_head",
        sa.Column("tenant_id", sa.String, primary_key=True),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("row_id", sa.Integer, nullable=False),
        sa.Column("hash", sa.String, nullable=False),
        sa.Column("at", sa.Integer, nullable=False),
        sa.Column("checked_at", sa.Integer),
        sa.Column("finding", sa.String, nullable=False),
    )
