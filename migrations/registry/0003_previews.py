"""Previews: tenants made from a moment of another; how long, and in how much room, each plan's moments are kept."""

import sqlalchemy as sa
from alembic import op

revision = "registry_0003"
down_revision = "registry_0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("tenant", sa.Column("preview_of", sa.String))
    op.add_column("tenant", sa.Column("preview_at", sa.Integer))
    op.add_column("tier", sa.Column("backup_days", sa.Integer, nullable=False, server_default="92"))
    op.add_column("tier", sa.Column("backup_share", sa.Integer, nullable=False, server_default="3"))
    op.execute("UPDATE tier SET backup_days = 366 WHERE name IN ('premium', 'enterprise')")
