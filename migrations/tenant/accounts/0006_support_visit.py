"""Visits of operators, and joining by mail domain."""

import sqlalchemy as sa
from alembic import op

revision = "accounts_0006"
down_revision = "accounts_0005"


def upgrade() -> None:
    op.create_table(
        "support_visit",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("mark", sa.String, nullable=False, unique=True),
        sa.Column("token_hash", sa.String, nullable=False, unique=True),
        sa.Column("csrf", sa.String, nullable=False),
        sa.Column("email", sa.String, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("reason", sa.String, nullable=False),
        sa.Column("wants_change", sa.Boolean, nullable=False),
        sa.Column("began_at", sa.Integer, nullable=False),
        sa.Column("expires_at", sa.Integer, nullable=False),
        sa.Column("ended_at", sa.Integer),
        sa.Column("ended_by", sa.String, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "support_rule",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("may_change", sa.Boolean, nullable=False),
    )
    op.create_table(
        "join_domain",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.String, nullable=False, unique=True),
        sa.Column("created_at", sa.Integer, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("join_domain")
    op.drop_table("support_rule")
    op.drop_table("support_visit")
