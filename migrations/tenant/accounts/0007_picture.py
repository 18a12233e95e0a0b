"""A person's picture, and how dates, times and numbers are written for them."""

import sqlalchemy as sa
from alembic import op

revision = "accounts_0007"
down_revision = "accounts_0006"
depends_on = ("facilities_0001",)


def upgrade() -> None:
    picture = sa.Column("picture_name", sa.String, sa.ForeignKey("stored_file.name"))
    op.add_column("user", picture, inline_references=True)
    op.add_column("user", sa.Column("language", sa.String, nullable=False, server_default="en-GB"))
    op.add_column("user", sa.Column("time_zone", sa.String, nullable=False, server_default=""))


def downgrade() -> None:
    for name in ("time_zone", "language", "picture_name"):
        op.drop_column("user", name)
