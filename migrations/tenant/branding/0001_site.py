"""How the organisation presents itself."""

import sqlalchemy as sa
from alembic import op

from app.tenancy.schema import touch_version

revision = "branding_0001"
down_revision = None
branch_labels = ("branding",)
depends_on = ("facilities_0001",)


def upgrade() -> None:
    op.create_table(
        "site",
        sa.Column("id", sa.Integer, sa.CheckConstraint("id = 1"), primary_key=True),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("tagline", sa.String, nullable=False),
        sa.Column("language", sa.String, nullable=False),
        sa.Column("time_zone", sa.String, nullable=False),
        sa.Column("brand_colour", sa.String, nullable=False),
        sa.Column("accent", sa.String, nullable=False),
        sa.Column("scheme", sa.String, nullable=False),
        sa.Column("logo_name", sa.String, sa.ForeignKey("stored_file.name")),
        sa.Column("footer", sa.String, nullable=False),
        sa.Column("footer_html", sa.String, nullable=False),
        sa.Column("updated_at", sa.Integer, nullable=False),
    )
    touch_version("site")
