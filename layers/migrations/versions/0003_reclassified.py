"""Features whose classification has changed.

Revision: 0003, after 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "reclassified",
        sa.Column("layer", sa.Text(), nullable=False),
        sa.Column("feature_id", sa.UUID(), nullable=False),
        sa.Column("classification", sa.String(length=20), nullable=False),
        sa.PrimaryKeyConstraint("layer", "feature_id"),
        schema="baige_sys",
        comment="Features whose classification has changed, and what it is now; their old versions show no more",
    )


def downgrade() -> None:
    """Drop it."""
    op.drop_table("reclassified", schema="baige_sys")
