"""The layer of planned changes to the cameras.

Revision: 0005, after 0004
"""

import sqlalchemy as sa
from alembic import context, op
from geoalchemy2 import Geometry
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

SRID = context.config.attributes["storage_srid"] if context.config else 4490
_NAME = "camera_plan"


def upgrade() -> None:
    """Make the table and that of its history."""
    op.create_table(
        _NAME,
        sa.Column("id", postgresql.UUID(), primary_key=True, server_default=sa.text("gen_random_uuid()")),
        sa.Column("name_zh", sa.String(200)),
        sa.Column("name_en", sa.String(200)),
        sa.Column("admin_code", sa.String(12)),
        sa.Column("src_crs", sa.String(12)),
        sa.Column("positional_acc_m", sa.Double()),
        sa.Column("valid_from", sa.Date()),
        sa.Column("valid_to", sa.Date()),
        sa.Column("source_org", sa.String(200)),
        sa.Column("source_ref", sa.String(200)),
        sa.Column("classification", sa.String(20), nullable=False, server_default=sa.text("'internal'")),
        sa.Column("synthetic", sa.Boolean(), nullable=False, server_default=sa.text("false")),
        sa.Column("geom_repaired", sa.Boolean(), nullable=False, server_default=sa.text("false")),
        sa.Column("scenario", sa.String(60), nullable=False),
        sa.Column("camera", sa.String(64), nullable=False),
        sa.Column("action", sa.String(20), nullable=False),
        sa.Column("camera_type", sa.String(60)),
        sa.Column("azimuth_deg", sa.Double()),
        sa.Column("tilt_deg", sa.Double()),
        sa.Column("hfov_deg", sa.Double()),
        sa.Column("vfov_deg", sa.Double()),
        sa.Column("view_dist_m", sa.Double()),
        sa.Column("res_w_px", sa.BigInteger()),
        sa.Column("mount_height_m", sa.Double()),
        sa.Column("ptz_type", sa.SmallInteger()),
        sa.Column("geom", Geometry("POINT", srid=SRID, dimension=2, spatial_index=False), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.text("now()")),
        sa.Column(
            "change_id",
            sa.BigInteger(),
            server_default=sa.text("(nullif(current_setting('baige.change_id'::text, true), ''::text))::bigint"),
        ),
        schema="baige",
    )
    op.create_index(f"{_NAME}_geom_gist", _NAME, ["geom"], schema="baige", postgresql_using="gist")
    op.create_index(f"{_NAME}_scenario_idx", _NAME, ["scenario"], schema="baige")
    op.create_index(
        f"{_NAME}_admin_code_idx",
        _NAME,
        ["admin_code"],
        schema="baige",
        postgresql_ops={"admin_code": "varchar_pattern_ops"},
    )
    for key in (["scenario", "camera"], ["source_ref"]):
        present = sa.text(" AND ".join(f"{part} IS NOT NULL" for part in key))
        op.create_index(
            f"{_NAME}_{'_'.join(key)}_key", _NAME, key, unique=True, schema="baige", postgresql_where=present
        )
    op.execute(
        f'CREATE TABLE baige_history."{_NAME}" (replaced_at timestamptz NOT NULL, replaced_by bigint,'
        f' replaced_op varchar(1) NOT NULL, LIKE baige."{_NAME}")'
    )
    op.create_index(f"{_NAME}_history_id_idx", _NAME, ["id", "replaced_at"], schema="baige_history")
    op.create_index(f"{_NAME}_history_by_idx", _NAME, ["replaced_by"], schema="baige_history")


def downgrade() -> None:
    """Drop them."""
    op.drop_table(_NAME, schema="baige")
    op.drop_table(_NAME, schema="baige_history")
