"""Who gave no name is called otherwise than by their address, which not everybody is to see."""

from alembic import op

revision = "accounts_0008"
down_revision = "accounts_0007"


def upgrade() -> None:
    op.execute(
        "UPDATE user SET name = 'Member ' || substr(name, 1, 2) "
        "WHERE name = email OR (state = 'removed' AND name LIKE '%@%')"
    )


def downgrade() -> None:
    """Leave the names as they are: each page shows them."""
