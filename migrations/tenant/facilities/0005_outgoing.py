"""What leaves the house by letter: to whom, about what, and what has become of it."""

import sqlalchemy as sa
from alembic import op

revision = "facilities_0005"
down_revision = "facilities_0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # The work that sends a letter is gone once it is done, so its number refers to a row that need not be there.
    op.create_table(
        "outgoing",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("due_id", sa.Integer, unique=True),
        sa.Column("audience", sa.String, nullable=False),
        sa.Column("email", sa.String, nullable=False),
        sa.Column("subject", sa.String, nullable=False),
        sa.Column("place", sa.String, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("reason", sa.String, nullable=False),
        sa.Column("wanted_at", sa.Integer, nullable=False),
        sa.Column("tried_at", sa.Integer),
    )
    op.create_index("ix_outgoing_wanted_at", "outgoing", ["wanted_at"])
