"""What is still to be done, and by when."""

import sqlalchemy as sa
from alembic import op

revision = "tenancy_0002"
down_revision = "tenancy_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "due",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("job", sa.String, nullable=False),
        sa.Column("arguments", sa.JSON, nullable=False),
        sa.Column("event_id", sa.Integer),
        sa.Column("schedule", sa.String, unique=True),
        sa.Column("run_at", sa.Integer, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("holder", sa.String, nullable=False),
        sa.Column("leased_until", sa.Integer),
        sa.Column("error", sa.String, nullable=False),
        sa.Column("set_aside_at", sa.Integer),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_due_run_at", "due", ["run_at"])
