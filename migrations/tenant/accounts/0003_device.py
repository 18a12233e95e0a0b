"""Devices, and what a session knows of its person."""

import sqlalchemy as sa
from alembic import op

revision = "accounts_0003"
down_revision = "accounts_0002"


def upgrade() -> None:
    op.create_table(
        "device",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("user_id", sa.Integer, sa.ForeignKey("user.id", ondelete="CASCADE"), nullable=False),
        sa.Column("family", sa.String, nullable=False, unique=True),
        sa.Column("token_hash", sa.String, nullable=False),
        sa.Column("previous_hash", sa.String),
        sa.Column("rotated_at", sa.Integer, nullable=False),
        sa.Column("is_taken_up", sa.Boolean, nullable=False),
        sa.Column("user_agent", sa.String, nullable=False),
        sa.Column("created_at", sa.Integer, nullable=False),
        sa.Column("last_seen_at", sa.Integer, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_device_user_id", "device", ["user_id"])
    # Nullable, since yesterday's code still signs people in while this one is on its way.
    with op.batch_alter_table("session") as session:
        session.add_column(sa.Column("device_id", sa.Integer))
        session.add_column(sa.Column("proved_at", sa.Integer))
        session.add_column(sa.Column("ends_at", sa.Integer))
        session.create_foreign_key("session_device", "device", ["device_id"], ["id"], ondelete="CASCADE")
        session.create_index("ix_session_device_id", ["device_id"])
    # Who is signed in finds that browser in their list. It has no device cookie, so none is known by this row.
    op.execute(
        "INSERT INTO device (id, user_id, family, token_hash, rotated_at, is_taken_up, user_agent, created_at, last_seen_at) "
        "SELECT id, user_id, lower(hex(randomblob(32))), lower(hex(randomblob(32))), created_at, 1, user_agent, created_at,"
        " last_seen_at FROM session"
    )
    op.execute("UPDATE session SET device_id = id, ends_at = expires_at")


def downgrade() -> None:
    with op.batch_alter_table("session") as session:
        session.drop_index("ix_session_device_id")
        session.drop_constraint("session_device", type_="foreignkey")
        for name in ("ends_at", "proved_at", "device_id"):
            session.drop_column(name)
    op.drop_table("device")
