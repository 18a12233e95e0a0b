"""Sealed files of the tenant."""

import sqlalchemy as sa
from alembic import op

revision = "facilities_0001"
down_revision = None
branch_labels = ("facilities",)
depends_on = ("tenancy_0001",)


def upgrade() -> None:
    op.create_table(
        "stored_file",
        sa.Column("name", sa.String(), primary_key=True),
        sa.Column("wrapped_key", sa.LargeBinary(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("mime", sa.String(), nullable=False),
        sa.Column("created_at", sa.Integer(), nullable=False),
    )
