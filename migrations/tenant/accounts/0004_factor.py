"""Second factors, recovery codes, what somebody has begun in order to come in, and what an organisation asks for."""

import sqlalchemy as sa
from alembic import op

revision = "accounts_0004"
down_revision = "accounts_0003"


def upgrade() -> None:
    op.create_table(
        "factor",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("person_id", sa.Integer, sa.ForeignKey("user.id", ondelete="CASCADE"), nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("secret", sa.String, nullable=False),
        sa.Column("last_step", sa.Integer, nullable=False),
        sa.Column("host", sa.String, nullable=False),
        sa.Column("credential", sa.String),
        sa.Column("public_key", sa.String, nullable=False),
        sa.Column("signatures", sa.Integer, nullable=False),
        sa.Column("created_at", sa.Integer, nullable=False),
        sa.Column("last_used_at", sa.Integer),
        sa.UniqueConstraint("credential"),
    )
    op.create_index("ix_factor_person_id", "factor", ["person_id"])
    op.create_table(
        "recovery_code",
        sa.Column("hash", sa.String, primary_key=True),
        sa.Column("person_id", sa.Integer, sa.ForeignKey("user.id", ondelete="CASCADE"), nullable=False),
    )
    op.create_index("ix_recovery_code_person_id", "recovery_code", ["person_id"])
    op.create_table(
        "attempt",
        sa.Column("token_hash", sa.String, primary_key=True),
        sa.Column("person_id", sa.Integer, sa.ForeignKey("user.id", ondelete="CASCADE"), nullable=False),
        sa.Column("seed", sa.String, nullable=False),
        sa.Column("challenge", sa.String, nullable=False),
        sa.Column("target", sa.String, nullable=False),
        sa.Column("expires_at", sa.Integer, nullable=False),
    )
    op.create_index("ix_attempt_person_id", "attempt", ["person_id"])
    op.create_table(
        "sign_in_link",
        sa.Column("token_hash", sa.String, primary_key=True),
        sa.Column("person_id", sa.Integer, sa.ForeignKey("user.id", ondelete="CASCADE"), nullable=False),
        sa.Column("expires_at", sa.Integer, nullable=False),
    )
    op.create_index("ix_sign_in_link_person_id", "sign_in_link", ["person_id"])
    op.create_table(
        "sign_in_rules",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("second_factor", sa.String, nullable=False),
        sa.Column("by_letter", sa.Boolean, nullable=False),
    )


def downgrade() -> None:
    for table in ("sign_in_rules", "sign_in_link", "attempt", "recovery_code", "factor"):
        op.drop_table(table)
