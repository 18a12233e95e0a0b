"""What is kept of each owner, what was proven, and what was asked for."""

import sqlalchemy as sa
from alembic import op

revision = "ledger_0003"
down_revision = "ledger_0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "tenant_backup",
        sa.Column("tenant_id", sa.String, primary_key=True),
        sa.Column("seq", sa.Integer, nullable=False),
        sa.Column("at", sa.Integer, nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("event_id", sa.Integer, nullable=False),
        sa.Column("size", sa.Integer, nullable=False),
        sa.Column("kept_bytes", sa.Integer, nullable=False),
        sa.Column("moments", sa.Integer, nullable=False),
        sa.Column("interval", sa.Float, nullable=False),
        sa.Column("late_since", sa.Integer),
        sa.Column("error", sa.String, nullable=False),
        sa.Column("signature", sa.String, nullable=False),
    )
    op.create_table(
        "proof",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("tenant_id", sa.String, nullable=False),
        sa.Column("moment_at", sa.Integer, nullable=False),
        sa.Column("proven_at", sa.Integer, nullable=False),
        sa.Column("seconds", sa.Float, nullable=False),
        sa.Column("bytes", sa.Integer, nullable=False),
        sa.Column("rows", sa.Integer, nullable=False),
        sa.Column("error", sa.String, nullable=False),
    )
    op.create_index("proof_tenant", "proof", ["tenant_id", "proven_at"])
    op.create_table(
        "backup_order",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("tenant_id", sa.String, nullable=False, index=True),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("seq", sa.Integer),
        sa.Column("asked_by", sa.String, nullable=False),
        sa.Column("asked_at", sa.Integer, nullable=False),
        sa.Column("state", sa.String, nullable=False, index=True),
        sa.Column("step", sa.String, nullable=False),
        sa.Column("done", sa.Integer, nullable=False),
        sa.Column("total", sa.Integer, nullable=False),
        sa.Column("message", sa.String, nullable=False),
        sa.Column("ended_at", sa.Integer),
    )
