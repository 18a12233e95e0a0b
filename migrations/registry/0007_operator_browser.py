"""In which browser an operator is signed in."""

import sqlalchemy as sa
from alembic import op

revision = "registry_0007"
down_revision = "registry_0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("operator_session", sa.Column("user_agent", sa.String, nullable=False, server_default=""))


def downgrade() -> None:
    op.drop_column("operator_session", "user_agent")
