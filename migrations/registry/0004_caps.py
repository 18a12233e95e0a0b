"""What plans allow becomes rows, one for each meter, and tenants may have exceptions.

The two columns of `tier` stay in the file for code of yesterday that is still running; nothing reads them any more.
"""

import sqlalchemy as sa
from alembic import op

revision = "registry_0004"
down_revision = "registry_0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "tier_cap",
        sa.Column("tier", sa.String, sa.ForeignKey("tier.name", ondelete="CASCADE"), primary_key=True),
        sa.Column("meter", sa.String, primary_key=True),
        sa.Column("cap", sa.Integer, nullable=False),
    )
    op.create_table(
        "tenant_cap",
        sa.Column("tenant_id", sa.String, sa.ForeignKey("tenant.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("meter", sa.String, primary_key=True),
        sa.Column("cap", sa.Integer),
        sa.Column("reason", sa.String, nullable=False),
        sa.Column("until", sa.Integer),
    )
    for meter, column in (("users", "max_users"), ("storage", "max_bytes")):
        op.execute(
            f"INSERT INTO tier_cap (tier, meter, cap) SELECT name, '{meter}', {column} FROM tier WHERE {column} IS NOT NULL"  # noqa: S608
        )
