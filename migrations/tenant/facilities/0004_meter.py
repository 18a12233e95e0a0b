"""How far the owners were told of each meter, and what was counted in a day."""

import sqlalchemy as sa
from alembic import op

revision = "facilities_0004"
down_revision = "facilities_0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "meter",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.String, nullable=False, unique=True),
        sa.Column("told", sa.Integer, nullable=False),
        sa.Column("day", sa.String, nullable=False),
        sa.Column("count", sa.Integer, nullable=False),
    )
