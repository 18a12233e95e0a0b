"""Everything that happened, in the order in which it did."""

import sqlalchemy as sa
from alembic import op

revision = "facilities_0002"
down_revision = "facilities_0001"
branch_labels = None
depends_on = ("tenancy_0002",)


def upgrade() -> None:
    # Numbers are never given twice, even when all older events are gone: pages resume by them.
    op.create_table(
        "event",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("subject", sa.String, nullable=False),
        sa.Column("audience", sa.String, nullable=False),
        sa.Column("actor", sa.Integer),
        sa.Column("payload", sa.JSON, nullable=False),
        sa.Column("created_at", sa.Integer, nullable=False),
        sqlite_autoincrement=True,
    )
