"""Inspections in the field: photos, where a record was made, and how old the state of an outfall is.

Revision: 0006, after 0005
"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_COLUMNS: tuple[tuple[str, str, Any], ...] = (
    ("outfall", "state_at", sa.DateTime(timezone=True)),
    ("outfall", "monitor_state", sa.String(20)),
    ("outfall_inspection", "lon", sa.Double()),
    ("outfall_inspection", "lat", sa.Double()),
    ("outfall_inspection", "position_error_m", sa.Double()),
)


def upgrade() -> None:
    """Add columns, in the layer and its history alike, and the table of photos."""
    for table, name, kind in _COLUMNS:
        for schema in ("baige", "baige_history"):
            op.add_column(table, sa.Column(name, kind), schema=schema)
    op.create_table(
        "inspection_photo",
        sa.Column("id", postgresql.UUID(as_uuid=True), nullable=False),
        sa.Column("inspection_id", postgresql.UUID(as_uuid=True), nullable=False),
        sa.Column("sent_sha256", sa.String(64), nullable=False, comment="of the file as it was sent, to know it again"),
        sa.Column("width_px", sa.Integer(), nullable=False),
        sa.Column("height_px", sa.Integer(), nullable=False),
        sa.Column("jpeg", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.ForeignKeyConstraint(
            ["inspection_id"], ["baige.outfall_inspection.id"], name="inspection_photo_inspection_id_fkey", ondelete="CASCADE"
        ),
        schema="baige_sys",
        comment="Photos of inspections, drawn anew without any metadata; seen by who may see the outfall",
    )
    op.create_index("inspection_photo_inspection_idx", "inspection_photo", ["inspection_id"], schema="baige_sys")


def downgrade() -> None:
    """Take them away."""
    op.drop_table("inspection_photo", schema="baige_sys")
    for table, name, _ in reversed(_COLUMNS):
        for schema in ("baige", "baige_history"):
            op.drop_column(table, name, schema=schema)
