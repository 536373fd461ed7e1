"""What each key has asked, counted for all server processes together.

Revision: 0008, after 0007
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "key_use",
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("tokens", sa.Double(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("used", sa.BigInteger(), nullable=False),
        sa.Column("granted", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("key_id"),
        schema="baige_sys",
        comment="Requests of each key; unlogged: a crash of the database begins the counts anew",
        prefixes=["UNLOGGED"],
    )
    # each request changes its key's row: room in the page lets it be written in place
    op.execute("ALTER TABLE baige_sys.key_use SET (fillfactor = 20)")


def downgrade() -> None:
    """Drop it."""
    op.drop_table("key_use", schema="baige_sys")
