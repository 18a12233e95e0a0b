"""Second factors of operators, when their sessions gave one last, and of whom a plan asks one."""

import sqlalchemy as sa
from alembic import op

revision = "registry_0006"
down_revision = "registry_0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "operator_factor",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("person_id", sa.Integer, sa.ForeignKey("operator.id", ondelete="CASCADE"), nullable=False),
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
    op.create_index("ix_operator_factor_person_id", "operator_factor", ["person_id"])
    op.create_table(
        "operator_recovery_code",
        sa.Column("hash", sa.String, primary_key=True),
        sa.Column("person_id", sa.Integer, sa.ForeignKey("operator.id", ondelete="CASCADE"), nullable=False),
    )
    op.create_index("ix_operator_recovery_code_person_id", "operator_recovery_code", ["person_id"])
    op.create_table(
        "operator_attempt",
        sa.Column("token_hash", sa.String, primary_key=True),
        sa.Column("person_id", sa.Integer, sa.ForeignKey("operator.id", ondelete="CASCADE"), nullable=False),
        sa.Column("seed", sa.String, nullable=False),
        sa.Column("challenge", sa.String, nullable=False),
        sa.Column("target", sa.String, nullable=False),
        sa.Column("expires_at", sa.Integer, nullable=False),
    )
    op.create_index("ix_operator_attempt_person_id", "operator_attempt", ["person_id"])
    op.add_column("operator_session", sa.Column("proved_at", sa.Integer))
    op.add_column("tier", sa.Column("second_factor", sa.String, nullable=False, server_default=""))


def downgrade() -> None:
    op.drop_column("tier", "second_factor")
    op.drop_column("operator_session", "proved_at")
    for table in ("operator_attempt", "operator_recovery_code", "operator_factor"):
        op.drop_table(table)
