"""Sessions of browsers, and the counter of credentials.

Revision: 0004, after 0003
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "session",
        sa.Column("token_sha256", sa.String(length=64), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("district", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("issuer", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("token_sha256"),
        schema="baige_sys",
        comment="Sessions of browsers, hashed; each of a key, or of a token of the provider named",
    )
    op.create_table(
        "credential_epoch",
        sa.Column("epoch", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("epoch"),
        schema="baige_sys",
        comment="One row: raised by every change of a key or session",
    )


def downgrade() -> None:
    """Drop them."""
    op.execute("DROP FUNCTION IF EXISTS baige_sys.credentials_changed() CASCADE")
    op.drop_table("credential_epoch", schema="baige_sys")
    op.drop_table("session", schema="baige_sys")
