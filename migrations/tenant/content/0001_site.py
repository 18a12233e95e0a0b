"""Pages, posts, topics, the menu, old addresses, media and imports."""

import sqlalchemy as sa
from alembic import op

from app.tenancy.schema import touch_version

revision = "content_0001"
down_revision = None
branch_labels = ("content",)
depends_on = ("facilities_0001", "accounts_0001")

PUBLIC = ("entry", "topic", "entry_topic", "menu_item", "redirect", "media")


def upgrade() -> None:
    _entries()
    _topics()
    _menu()
    _redirects()
    _media()
    _imports()
    for table in PUBLIC:
        touch_version(table)


def _entries() -> None:
    op.create_table(
        "entry",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("parent_id", sa.Integer, sa.ForeignKey("entry.id", ondelete="SET NULL")),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("slug", sa.String, nullable=False),
        sa.Column("path", sa.String, nullable=False),
        sa.Column("title", sa.String, nullable=False),
        sa.Column("summary", sa.String, nullable=False),
        sa.Column("source_format", sa.String, nullable=False),
        sa.Column("source", sa.String, nullable=False),
        sa.Column("html", sa.String, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("state_before", sa.String),
        sa.Column("visibility", sa.String, nullable=False),
        sa.Column("is_sticky", sa.Boolean, nullable=False),
        sa.Column("is_front", sa.Boolean, nullable=False),
        sa.Column("author_name", sa.String, nullable=False),
        sa.Column("author_id", sa.Integer, sa.ForeignKey("user.id", ondelete="SET NULL")),
        sa.Column("published_at", sa.Integer),
        sa.Column("created_at", sa.Integer, nullable=False),
        sa.Column("updated_at", sa.Integer, nullable=False),
        sa.Column("origin", sa.String),
        sa.UniqueConstraint("kind", "path"),
        sa.UniqueConstraint("origin"),
    )
    op.create_index("ix_entry_parent_id", "entry", ["parent_id"])
    op.create_index("ix_entry_author_id", "entry", ["author_id"])
    op.create_index("ix_entry_published_at", "entry", ["published_at"])


def _topics() -> None:
    op.create_table(
        "topic",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("slug", sa.String, nullable=False, unique=True),
        sa.Column("name", sa.String, nullable=False),
    )
    op.create_table(
        "entry_topic",
        sa.Column("entry_id", sa.Integer, sa.ForeignKey("entry.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("topic_id", sa.Integer, sa.ForeignKey("topic.id", ondelete="CASCADE"), primary_key=True),
    )
    op.create_index("ix_entry_topic_topic_id", "entry_topic", ["topic_id"])


def _menu() -> None:
    op.create_table(
        "menu_item",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("parent_id", sa.Integer, sa.ForeignKey("menu_item.id", ondelete="CASCADE")),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("label", sa.String, nullable=False),
        sa.Column("entry_id", sa.Integer, sa.ForeignKey("entry.id", ondelete="CASCADE")),
        sa.Column("topic_id", sa.Integer, sa.ForeignKey("topic.id", ondelete="CASCADE")),
        sa.Column("url", sa.String),
        sa.Column("origin", sa.String),
        sa.UniqueConstraint("origin"),
    )
    for column in ("parent_id", "entry_id", "topic_id"):
        op.create_index(f"ix_menu_item_{column}", "menu_item", [column])


def _redirects() -> None:
    op.create_table(
        "redirect",
        sa.Column("path", sa.String, primary_key=True),
        sa.Column("entry_id", sa.Integer, sa.ForeignKey("entry.id", ondelete="CASCADE")),
        sa.Column("topic_id", sa.Integer, sa.ForeignKey("topic.id", ondelete="CASCADE")),
    )
    op.create_index("ix_redirect_entry_id", "redirect", ["entry_id"])
    op.create_index("ix_redirect_topic_id", "redirect", ["topic_id"])


def _media() -> None:
    op.create_table(
        "media",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("mime", sa.String, nullable=False),
        sa.Column("alt", sa.String, nullable=False),
        sa.Column("caption", sa.String, nullable=False),
        sa.Column("source_url", sa.String),
        sa.Column("stored_name", sa.String, sa.ForeignKey("stored_file.name")),
        sa.Column("created_at", sa.Integer, nullable=False),
        sa.Column("origin", sa.String),
        sa.UniqueConstraint("origin"),
    )
    op.create_index("ix_media_stored_name", "media", ["stored_name"])


def _imports() -> None:
    op.create_table(
        "content_import",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("stored_name", sa.String, sa.ForeignKey("stored_file.name")),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("done", sa.Integer, nullable=False),
        sa.Column("total", sa.Integer, nullable=False),
        sa.Column("report", sa.String, nullable=False),
        sa.Column("created_at", sa.Integer, nullable=False),
        sa.Column("finished_at", sa.Integer),
    )
