"""What visitors send through the contact form."""

import sqlalchemy as sa
from alembic import op

revision = "content_0002"
down_revision = "content_0001"
branch_labels = None
depends_on = ("facilities_0002",)


def upgrade() -> None:
    # The text comes last: whoever counts rows need not read past it. It is not public, so it moves no version.
    op.create_table(
        "submission",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("fingerprint", sa.String, nullable=False, unique=True),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("reason", sa.String, nullable=False),
        sa.Column("origin", sa.String, nullable=False),
        sa.Column("created_at", sa.Integer, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("email", sa.String, nullable=False),
        sa.Column("subject", sa.String, nullable=False),
        sa.Column("text", sa.String, nullable=False),
    )
    op.create_index("ix_submission_origin", "submission", ["origin"])
    op.create_index("ix_submission_created_at", "submission", ["created_at"])
