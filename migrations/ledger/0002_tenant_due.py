"""When each tenant's file wants to be opened next, and what waits in it."""

import sqlalchemy as sa
from alembic import op

revision = "ledger_0002"
down_revision = "ledger_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "tenant_due",
        sa.Column("tenant_id", sa.String, primary_key=True),
        sa.Column("next_at", sa.Integer),
        sa.Column("waiting", sa.Integer, nullable=False),
        sa.Column("oldest_at", sa.Integer),
        sa.Column("set_aside", sa.Integer, nullable=False),
        sa.Column("schedules", sa.String, nullable=False),
        sa.Column("seen_at", sa.Integer, nullable=False),
    )
