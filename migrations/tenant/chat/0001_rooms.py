"""Rooms, who is in them and how far they have read, and the lines written there."""

import sqlalchemy as sa
from alembic import op

revision = "chat_0001"
down_revision = None
branch_labels = ("chat",)
depends_on = ("facilities_0002", "accounts_0001")


def upgrade() -> None:
    _rooms()
    _memberships()
    _lines()


def _rooms() -> None:
    op.create_table(
        "room",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("folded", sa.String, nullable=False, unique=True),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("created_by", sa.Integer, sa.ForeignKey("user.id", ondelete="SET NULL")),
        sa.Column("created_at", sa.Integer, nullable=False),
    )
    op.create_index("ix_room_created_by", "room", ["created_by"])
    # The organisations that are here already get the room that new ones are planted with.
    op.execute(
        "INSERT INTO room (name, folded, kind, created_at) "
        "SELECT 'general', 'general', 'open', CAST(strftime('%s', 'now') AS INTEGER) * 1000000 FROM stamp"
    )


def _memberships() -> None:
    op.create_table(
        "membership",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("room_id", sa.Integer, sa.ForeignKey("room.id", ondelete="CASCADE"), nullable=False),
        sa.Column("user_id", sa.Integer, sa.ForeignKey("user.id", ondelete="CASCADE"), nullable=False),
        sa.Column("last_read_id", sa.Integer, nullable=False),
        sa.Column("joined_at", sa.Integer, nullable=False),
        sa.UniqueConstraint("room_id", "user_id"),
    )
    op.create_index("ix_membership_user_id", "membership", ["user_id"])


def _lines() -> None:
    # Numbers are never given twice: how far somebody has read is kept as one.
    op.create_table(
        "line",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("room_id", sa.Integer, sa.ForeignKey("room.id", ondelete="CASCADE"), nullable=False),
        sa.Column("author_id", sa.Integer, sa.ForeignKey("user.id", ondelete="SET NULL")),
        sa.Column("author_name", sa.String, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("source", sa.String, nullable=False),
        sa.Column("html", sa.String, nullable=False),
        sa.Column("created_at", sa.Integer, nullable=False),
        sa.Column("edited_at", sa.Integer),
        sa.Column("removed_at", sa.Integer),
        sa.Column("client_id", sa.String),
        sa.Column("told_for", sa.String, unique=True),
        sa.UniqueConstraint("author_id", "client_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_line_room_id", "line", ["room_id"])
    op.create_index("ix_line_created_at", "line", ["created_at"])
