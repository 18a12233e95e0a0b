"""Roles of operators, their visits to tenants, and which person belongs where."""

import sqlalchemy as sa
from alembic import op

revision = "registry_0005"
down_revision = "registry_0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("operator", sa.Column("role", sa.String, nullable=False, server_default="all"))
    op.create_table(
        "operator_visit",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column(
            "session_hash",
            sa.String,
            sa.ForeignKey("operator_session.token_hash", ondelete="CASCADE", onupdate="CASCADE"),
            nullable=False,
            index=True,
        ),
        sa.Column("tenant_id", sa.String, sa.ForeignKey("tenant.id", ondelete="CASCADE"), nullable=False, index=True),
        sa.Column("link_hash", sa.String, nullable=False, unique=True),
        sa.Column("reason", sa.String, nullable=False),
        sa.Column("wants_change", sa.Boolean, nullable=False),
        sa.Column("created_at", sa.Integer, nullable=False),
        sa.Column("expires_at", sa.Integer, nullable=False),
    )
    op.create_table(
        "identity",
        sa.Column("mark", sa.String, primary_key=True),
        sa.Column("tenant_id", sa.String, sa.ForeignKey("tenant.id", ondelete="CASCADE"), primary_key=True, index=True),
    )


def downgrade() -> None:
    op.drop_table("identity")
    op.drop_table("operator_visit")
    op.drop_column("operator", "role")
