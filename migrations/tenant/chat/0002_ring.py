"""Lines that ring for a conversation say no longer who wrote and what: not everybody who talks may read the inbox."""

from alembic import op

revision = "chat_0002"
down_revision = "chat_0001"

RING = "Somebody has written to us."
LINK = "<p><a href=\"/desk/inbox/' || substr(told_for, 14) || '\">" + RING + "</a></p>"


def upgrade() -> None:
    op.execute(
        f"UPDATE line SET source = '{RING}', html = '{LINK}' WHERE told_for LIKE 'conversation:%' AND removed_at IS NULL"  # noqa: S608
    )


def downgrade() -> None:
    pass
