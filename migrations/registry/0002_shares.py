"""How many jobs of one tenant may run at once."""

import sqlalchemy as sa
from alembic import op

revision = "registry_0002"
down_revision = "registry_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("tier", sa.Column("max_jobs", sa.Integer, nullable=False, server_default="2"))
