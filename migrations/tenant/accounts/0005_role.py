"""Roles that owners make. Members keep what they could do until now, by a role of that kind, where there are any."""

import json

import sqlalchemy as sa
from alembic import op

revision = "accounts_0005"
down_revision = "accounts_0004"

# What every member could do before there were permissions.
TEAM = ["people.see", "content.edit", "inbox.answer", "chat.talk"]


def upgrade() -> None:
    op.create_table(
        "role",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("key", sa.String, nullable=False, unique=True),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("permissions", sa.JSON, nullable=False),
    )
    file = op.get_bind()
    members = "SELECT 1 FROM user WHERE role = 'member' AND state <> 'removed'"
    invited = "SELECT 1 FROM invitation WHERE role = 'member'"
    if file.execute(sa.text(f"{members} UNION ALL {invited}")).first():
        insert = sa.text("INSERT INTO role (key, name, permissions) VALUES ('team', 'Team', :permissions)")
        file.execute(insert, {"permissions": json.dumps(TEAM)})
        op.execute("UPDATE user SET role = 'team' WHERE role = 'member' AND state <> 'removed'")
        op.execute("UPDATE invitation SET role = 'team' WHERE role = 'member'")


def downgrade() -> None:
    op.execute("UPDATE user SET role = 'member' WHERE role <> 'owner'")
    op.execute("UPDATE invitation SET role = 'member' WHERE role <> 'owner'")
    op.drop_table("role")
