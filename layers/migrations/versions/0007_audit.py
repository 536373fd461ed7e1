"""The audit, and an index that finds the rows of a change.

Revision: 0007, after 0006
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def _layers() -> list[str]:
    return list(op.get_bind().execute(sa.text("SELECT tablename FROM pg_tables WHERE schemaname = 'baige' ORDER BY 1")).scalars())


def upgrade() -> None:
    """Make them."""
    op.create_table(
        "audit",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("layer", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("district", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=True),
        sa.Column("detail", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'::jsonb"), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        schema="baige_sys",
        comment="Changes, and reads of restricted layers; each hash covers the entry and the hash before it",
    )
    op.create_index("audit_seq_key", "audit", ["seq"], unique=True, schema="baige_sys")
    op.create_index("audit_open_idx", "audit", ["id"], schema="baige_sys", postgresql_where=sa.text("seq IS NULL"))
    for layer in _layers():
        op.create_index(f"{layer}_change_brin", layer, ["change_id"], schema="baige", postgresql_using="brin")


def downgrade() -> None:
    """Drop them."""
    for function in ("audit_change()", "audit_guard()", "audit_reads(jsonb)", "audit_seal()"):
        op.execute(f"DROP FUNCTION IF EXISTS baige_sys.{function} CASCADE")
    for layer in _layers():
        op.drop_index(f"{layer}_change_brin", layer, schema="baige")
    op.execute("DROP TABLE baige_sys.audit CASCADE")
