"""Invitations, and when a person was last here."""

import sqlalchemy as sa
from alembic import op

revision = "accounts_0002"
down_revision = "accounts_0001"


def upgrade() -> None:
    op.create_table(
        "invitation",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("email", sa.String, nullable=False, unique=True),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("role", sa.String, nullable=False),
        sa.Column("seed", sa.String, nullable=False),
        sa.Column("token_hash", sa.String, nullable=False, unique=True),
        sa.Column("invited_by", sa.Integer, sa.ForeignKey("user.id", ondelete="SET NULL")),
        sa.Column("inviter_name", sa.String, nullable=False),
        sa.Column("created_at", sa.Integer, nullable=False),
        sa.Column("expires_at", sa.Integer, nullable=False),
        sa.Column("letter_state", sa.String, nullable=False),
        sa.Column("letter_error", sa.String, nullable=False),
        sqlite_autoincrement=True,
    )
    op.add_column("user", sa.Column("last_seen_at", sa.Integer))


def downgrade() -> None:
    op.drop_column("user", "last_seen_at")
    op.drop_table("invitation")
