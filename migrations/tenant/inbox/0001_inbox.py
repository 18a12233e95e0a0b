"""The shared inbox: boxes, those who write to them, and what is said."""

import sqlalchemy as sa
from alembic import op

revision = "inbox_0001"
down_revision = None
branch_labels = ("inbox",)
depends_on = ("facilities_0002", "accounts_0001")


def upgrade() -> None:
    op.create_table(
        "box",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("local_part", sa.String, nullable=False, unique=True),
        sa.Column("signature", sa.String, nullable=False),
    )
    op.create_table(
        "contact",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("email", sa.String, nullable=False, unique=True),
        sa.Column("created_at", sa.Integer, nullable=False),
    )
    _conversations()
    _messages()


def _conversations() -> None:
    op.create_table(
        "conversation",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("number", sa.Integer, nullable=False, unique=True),
        sa.Column("box_id", sa.Integer, sa.ForeignKey("box.id"), nullable=False),
        sa.Column("contact_id", sa.Integer, sa.ForeignKey("contact.id"), nullable=False),
        sa.Column("subject", sa.String, nullable=False),
        sa.Column("preview", sa.String, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("assignee_id", sa.Integer, sa.ForeignKey("user.id", ondelete="SET NULL")),
        sa.Column("submission_id", sa.Integer, unique=True),
        sa.Column("created_at", sa.Integer, nullable=False),
        sa.Column("last_message_at", sa.Integer, nullable=False),
    )
    for column in ("box_id", "contact_id", "assignee_id", "last_message_at"):
        op.create_index(f"ix_conversation_{column}", "conversation", [column])
    op.create_index("ix_conversation_folder", "conversation", ["state", "last_message_at"])


def _messages() -> None:
    op.create_table(
        "message",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("conversation_id", sa.Integer, sa.ForeignKey("conversation.id", ondelete="CASCADE"), nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("author_id", sa.Integer, sa.ForeignKey("user.id", ondelete="SET NULL")),
        sa.Column("contact_id", sa.Integer, sa.ForeignKey("contact.id")),
        sa.Column("text", sa.String, nullable=False),
        sa.Column("html", sa.String, nullable=False),
        sa.Column("created_at", sa.Integer, nullable=False),
        sa.Column("client_id", sa.String),
        sa.Column("letter_state", sa.String, nullable=False),
        sa.Column("letter_error", sa.String, nullable=False),
        sa.Column("letter_id", sa.String, unique=True),
        sa.Column("sent_at", sa.Integer),
        sa.UniqueConstraint("author_id", "client_id"),
    )
    for column in ("conversation_id", "contact_id"):
        op.create_index(f"ix_message_{column}", "message", [column])
