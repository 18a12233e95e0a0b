"""Tiers, tenants, domains, settings and operators."""

import sqlalchemy as sa
from alembic import op

revision = "registry_0001"
down_revision = None
branch_labels = ("registry",)
depends_on = None

GIB = 1 << 30


def upgrade() -> None:
    tier = op.create_table(
        "tier",
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("label", sa.String, nullable=False),
        sa.Column("max_users", sa.Integer),
        sa.Column("max_bytes", sa.Integer),
        sa.Column("position", sa.Integer, nullable=False),
    )
    op.bulk_insert(
        tier,
        [
            {"name": "standard", "label": "Standard", "max_users": 50, "max_bytes": 10 * GIB, "position": 1},
            {"name": "premium", "label": "Premium", "max_users": 200, "max_bytes": 50 * GIB, "position": 2},
            {
                "name": "enterprise",
                "label": "Enterprise",
                "max_users": None,
                "max_bytes": None,
                "position": 3,
            },
        ],
    )
    op.create_table(
        "tenant",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("slug", sa.String, nullable=False, unique=True),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("state", sa.String, nullable=False, index=True),
        sa.Column("reason", sa.String, nullable=False),
        sa.Column("tier_name", sa.String, sa.ForeignKey("tier.name"), nullable=False),
        sa.Column("placement", sa.String, nullable=False),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("schema", sa.String, nullable=False, index=True),
        sa.Column("hidden", sa.Boolean, nullable=False),
        sa.Column("created_at", sa.Integer, nullable=False),
    )
    op.create_table(
        "domain",
        sa.Column("host", sa.String, primary_key=True),
        sa.Column("tenant_id", sa.String, sa.ForeignKey("tenant.id"), nullable=False, index=True),
        sa.Column("is_primary", sa.Boolean, nullable=False),
        sa.Column("created_at", sa.Integer, nullable=False),
    )
    op.create_table(
        "setting",
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("value", sa.String, nullable=False),
    )
    op.create_table(
        "operator",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("email", sa.String, nullable=False, unique=True),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("password_hash", sa.String, nullable=False),
        sa.Column("created_at", sa.Integer, nullable=False),
    )
    op.create_table(
        "operator_session",
        sa.Column("token_hash", sa.String, primary_key=True),
        sa.Column(
            "operator_id",
            sa.Integer,
            sa.ForeignKey("operator.id", ondelete="CASCADE"),
            nullable=False,
            index=True,
        ),
        sa.Column("csrf", sa.String, nullable=False),
        sa.Column("created_at", sa.Integer, nullable=False),
        sa.Column("last_seen_at", sa.Integer, nullable=False),
        sa.Column("expires_at", sa.Integer, nullable=False),
    )
