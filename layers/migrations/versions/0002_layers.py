"""The layers that Baige comes with.

Revision: 0002, after 0001
"""

from typing import Any

import sqlalchemy as sa
from alembic import context, op
from geoalchemy2 import Geometry
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

#: EPSG code of the city's storage system.
SRID = context.config.attributes["storage_srid"] if context.config else 4490


def _geometry(kind: str, srid: int) -> Geometry:
    return Geometry(kind.upper(), srid=srid, dimension=3 if kind.endswith("M") else 2, spatial_index=False)


def _common(classification: str) -> list[sa.Column[Any]]:
    return [
        sa.Column("name_zh", sa.String(200)),
        sa.Column("name_en", sa.String(200)),
        sa.Column("admin_code", sa.String(12)),
        sa.Column("src_crs", sa.String(12)),
        sa.Column("positional_acc_m", sa.Double()),
        sa.Column("valid_from", sa.Date()),
        sa.Column("valid_to", sa.Date()),
        sa.Column("source_org", sa.String(200)),
        sa.Column("source_ref", sa.String(200)),
        sa.Column("classification", sa.String(20), nullable=False, server_default=sa.text(f"'{classification}'")),
        sa.Column("synthetic", sa.Boolean(), nullable=False, server_default=sa.text("false")),
        sa.Column("geom_repaired", sa.Boolean(), nullable=False, server_default=sa.text("false")),
    ]


def _layer(
    name: str,
    geometry: str,
    classification: str,
    columns: list[sa.Column[Any]],
    *,
    keys: list[list[str]] | None = None,
    indexed: list[str] | None = None,
    spatial: list[str] | None = None,
    result: bool = False,
    srid: int = SRID,
) -> None:
    place = [] if geometry == "none" else [sa.Column("geom", _geometry(geometry, srid), nullable=False)]
    op.create_table(
        name,
        sa.Column("id", postgresql.UUID(), primary_key=True, server_default=sa.text("gen_random_uuid()")),
        *_common(classification),
        *columns,
        *place,
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.text("now()")),
        sa.Column(
            "change_id",
            sa.BigInteger(),
            server_default=sa.text("(nullif(current_setting('baige.change_id'::text, true), ''::text))::bigint"),
        ),
        schema="baige",
    )
    for column in [*(["geom"] if place else []), *(spatial or [])]:
        op.create_index(f"{name}_{column}_gist", name, [column], schema="baige", postgresql_using="gist")
    for column in indexed or []:
        op.create_index(f"{name}_{column}_idx", name, [column], schema="baige")
    op.create_index(
        f"{name}_admin_code_idx",
        name,
        ["admin_code"],
        schema="baige",
        postgresql_ops={"admin_code": "varchar_pattern_ops"},
    )
    for key in [] if result else [*(keys or []), ["source_ref"]]:
        present = sa.text(" AND ".join(f"{part} IS NOT NULL" for part in key))
        op.create_index(f"{name}_{'_'.join(key)}_key", name, key, unique=True, schema="baige", postgresql_where=present)
    op.execute(
        f'CREATE TABLE baige_history."{name}" (replaced_at timestamptz NOT NULL, replaced_by bigint,'
        f' replaced_op varchar(1) NOT NULL, LIKE baige."{name}")'
    )
    op.create_index(f"{name}_history_id_idx", name, ["id", "replaced_at"], schema="baige_history")
    op.create_index(f"{name}_history_by_idx", name, ["replaced_by"], schema="baige_history")


def upgrade() -> None:
    """Make the tables of all layers and of their history."""
    _layer(
        "admin_area",
        "MultiPolygon",
        "public",
        [
            sa.Column("level", sa.String(20), nullable=False),
            sa.Column("parent_code", sa.String(12)),
            sa.Column("street_kind", sa.String(20)),
            sa.Column("urban_rural", sa.String(20)),
            sa.Column("boundary_quality", sa.String(200)),
        ],
        keys=[["admin_code", "level"]],
        indexed=["level"],
    )
    _layer(
        "bank_coverage",
        "LineString",
        "internal",
        [
            sa.Column("reach_code", sa.String(40)),
            sa.Column("bank_side", sa.String(20)),
            sa.Column("start_m", sa.Double()),
            sa.Column("end_m", sa.Double()),
            sa.Column("length_m", sa.Double()),
            sa.Column("stationing", sa.String(60)),
            sa.Column("state", sa.String(20), nullable=False),
            sa.Column("density_px_m", sa.Double()),
            sa.Column("cameras", sa.BigInteger()),
            sa.Column("cause", sa.String(20)),
            sa.Column("run_id", postgresql.UUID(), nullable=False),
        ],
        indexed=["reach_code", "bank_side", "cause", "run_id"],
        result=True,
    )
    _layer(
        "building",
        "MultiPolygon",
        "public",
        [
            sa.Column("building_kind", sa.String(20)),
            sa.Column("height_m", sa.Double()),
            sa.Column("min_height_m", sa.Double()),
            sa.Column("levels", sa.Double()),
            sa.Column("height_assumed", sa.Boolean()),
            sa.Column("household_count", sa.BigInteger()),
        ],
        keys=[["source_org", "source_ref"]],
    )
    _layer(
        "camera_site",
        "Point",
        "internal",
        [
            sa.Column("device_code", sa.String(20)),
            sa.Column("point_class", sa.SmallInteger()),
            sa.Column("common_name", sa.String(200)),
            sa.Column("ptz_type", sa.SmallInteger()),
            sa.Column("room_type", sa.SmallInteger()),
            sa.Column("fill_light", sa.SmallInteger()),
            sa.Column("direction", sa.SmallInteger()),
            sa.Column("azimuth_deg", sa.Double()),
            sa.Column("hfov_deg", sa.Double()),
            sa.Column("vfov_deg", sa.Double()),
            sa.Column("tilt_deg", sa.Double()),
            sa.Column("view_dist_m", sa.Double()),
            sa.Column("res_w_px", sa.BigInteger()),
            sa.Column("mount_height_m", sa.Double()),
            sa.Column("mount_kind", sa.String(20)),
            sa.Column("net_status", sa.String(20)),
            sa.Column("device_state", sa.String(20)),
            sa.Column("retention_days", sa.BigInteger()),
            sa.Column("filing_date", sa.Date()),
            sa.Column("in_use_date", sa.Date()),
            sa.Column("sign_posted", sa.Boolean()),
            sa.Column("watch_zone", sa.String(60)),
            sa.Column("is_new_hd", sa.Boolean()),
            sa.Column("owner_org", sa.String(200)),
        ],
        keys=[["device_code"]],
    )
    _layer(
        "camera_view",
        "MultiPolygon",
        "internal",
        [
            sa.Column("camera_id", postgresql.UUID(), nullable=False),
            sa.Column("density_px_m", sa.Double()),
            sa.Column("certainty", sa.String(20), nullable=False),
            sa.Column("online", sa.Boolean()),
            sa.Column("area_m2", sa.Double()),
            sa.Column("only_here_m2", sa.Double()),
            sa.Column("share_residential", sa.Double()),
            sa.Column("residential_mask", _geometry("MultiPolygon", SRID)),
            sa.Column("assumed", postgresql.ARRAY(sa.Text())),
            sa.Column("run_id", postgresql.UUID(), nullable=False),
        ],
        indexed=["camera_id", "run_id"],
        spatial=["residential_mask"],
        result=True,
    )
    _layer(
        "community",
        "MultiPolygon",
        "public",
        [
            sa.Column("committee_kind", sa.String(20)),
            sa.Column("urban_rural", sa.String(20)),
            sa.Column("household_count", sa.BigInteger()),
            sa.Column("population", sa.BigInteger()),
        ],
        keys=[["admin_code"]],
    )
    _layer(
        "coverage_by_grid",
        "MultiPolygon",
        "public",
        [
            sa.Column("unit_kind", sa.String(20)),
            sa.Column("grid_id", postgresql.UUID()),
            sa.Column("grid_code", sa.String(40)),
            sa.Column("urban_rural", sa.String(20)),
            sa.Column("area_m2", sa.Double()),
            sa.Column("public_m2", sa.Double()),
            sa.Column("confirmed_overview", sa.Double()),
            sa.Column("possible_overview", sa.Double()),
            sa.Column("online_overview", sa.Double()),
            sa.Column("confirmed_outline", sa.Double()),
            sa.Column("possible_outline", sa.Double()),
            sa.Column("online_outline", sa.Double()),
            sa.Column("confirmed_discern", sa.Double()),
            sa.Column("possible_discern", sa.Double()),
            sa.Column("online_discern", sa.Double()),
            sa.Column("road_confirmed", sa.Double()),
            sa.Column("road_possible", sa.Double()),
            sa.Column("road_m", sa.Double()),
            sa.Column("crossings", sa.BigInteger()),
            sa.Column("crossings_confirmed", sa.BigInteger()),
            sa.Column("cameras", sa.BigInteger()),
            sa.Column("cameras_online", sa.BigInteger()),
            sa.Column("run_id", postgresql.UUID(), nullable=False),
        ],
        indexed=["unit_kind", "grid_id", "grid_code", "run_id"],
        result=True,
    )
    _layer(
        "coverage_gap",
        "Geometry",
        "internal",
        [
            sa.Column("target_kind", sa.String(20)),
            sa.Column("target_layer", sa.String(48)),
            sa.Column("target_id", postgresql.UUID()),
            sa.Column("cause", sa.String(20)),
            sa.Column("cause_share", sa.Double()),
            sa.Column("density_px_m", sa.Double()),
            sa.Column("need", sa.Double()),
            sa.Column("rank", sa.BigInteger()),
            sa.Column("area_m2", sa.Double()),
            sa.Column("road_m", sa.Double()),
            sa.Column("entrances", sa.BigInteger()),
            sa.Column("outfalls", sa.BigInteger()),
            sa.Column("reach_code", sa.String(40)),
            sa.Column("bank_side", sa.String(20)),
            sa.Column("chainage_start_m", sa.Double()),
            sa.Column("chainage_end_m", sa.Double()),
            sa.Column("stationing", sa.String(60)),
            sa.Column("grid_code", sa.String(15)),
            sa.Column("mount_layer", sa.String(48)),
            sa.Column("mount_id", postgresql.UUID()),
            sa.Column("mount_dist_m", sa.Double()),
            sa.Column("run_id", postgresql.UUID(), nullable=False),
        ],
        indexed=["target_kind", "target_id", "cause", "need", "rank", "run_id"],
        result=True,
    )
    _layer(
        "crossing",
        "Point",
        "public",
        [
            sa.Column("kind", sa.String(20)),
        ],
    )
    _layer(
        "ecological_red_line",
        "MultiPolygon",
        "public",
        [
            sa.Column("area_no", sa.String(60)),
        ],
        keys=[["area_no"]],
    )
    _layer(
        "exhaust_station",
        "Point",
        "public",
        [
            sa.Column("station_no", sa.String(60)),
            sa.Column("kind", sa.String(20)),
            sa.Column("lane_count", sa.BigInteger()),
            sa.Column("camera_count", sa.BigInteger()),
            sa.Column("owner_org", sa.String(200)),
        ],
        keys=[["station_no"]],
    )
    _layer(
        "grid_cell",
        "MultiPolygon",
        "public",
        [
            sa.Column("grid_code", sa.String(15), nullable=False),
            sa.Column("grid_kind", sa.String(20)),
            sa.Column("management_code", sa.String(15)),
            sa.Column("household_count", sa.BigInteger()),
            sa.Column("population", sa.BigInteger()),
            sa.Column("urban_rural", sa.String(20)),
            sa.Column("code_status", sa.String(20)),
        ],
        keys=[["grid_code"]],
        indexed=["grid_kind", "management_code"],
    )
    _layer(
        "grid_event",
        "Point",
        "internal",
        [
            sa.Column("event_no", sa.String(60)),
            sa.Column("category", sa.String(20), nullable=False),
            sa.Column("subcategory", sa.String(80)),
            sa.Column("grid_code", sa.String(15)),
            sa.Column("reported_at", sa.DateTime(timezone=True)),
            sa.Column("closed_at", sa.DateTime(timezone=True)),
            sa.Column("state", sa.String(20)),
        ],
        keys=[["event_no"]],
        indexed=["grid_code", "reported_at"],
    )
    _layer(
        "grid_statistic",
        "none",
        "internal",
        [
            sa.Column("grid_code", sa.String(15), nullable=False),
            sa.Column("period", sa.String(7), nullable=False),
            sa.Column("indicator", sa.String(20), nullable=False),
            sa.Column("value", sa.Double(), nullable=False),
        ],
        keys=[["grid_code", "period", "indicator"]],
        indexed=["grid_code"],
    )
    _layer(
        "key_area",
        "Geometry",
        "internal",
        [
            sa.Column("kind", sa.String(20), nullable=False),
            sa.Column("area_no", sa.String(60)),
            sa.Column("project_stage", sa.String(20)),
            sa.Column("recognised", sa.Boolean()),
            sa.Column("disposition", sa.String(20)),
            sa.Column("length_m", sa.Double()),
            sa.Column("carries", sa.String(20)),
            sa.Column("built_date", sa.Date()),
            sa.Column("camera_count", sa.BigInteger()),
            sa.Column("owner_org", sa.String(200)),
        ],
        keys=[["area_no"]],
        indexed=["kind"],
    )
    _layer(
        "school",
        "Point",
        "public",
        [
            sa.Column("school_no", sa.String(40)),
            sa.Column("school_kind", sa.String(20)),
            sa.Column("boundary", _geometry("MultiPolygon", SRID)),
            sa.Column("entrances", _geometry("MultiPoint", SRID)),
            sa.Column("kitchen_count", sa.BigInteger()),
        ],
        keys=[["school_no"]],
        spatial=["boundary", "entrances"],
    )
    _layer(
        "land_use",
        "MultiPolygon",
        "public",
        [
            sa.Column("use_kind", sa.String(20)),
        ],
        keys=[["source_org", "source_ref"]],
    )
    _layer(
        "layout_fault",
        "Geometry",
        "internal",
        [
            sa.Column("layout", sa.String(60)),
            sa.Column("version", sa.BigInteger()),
            sa.Column("level", sa.String(20)),
            sa.Column("fault_kind", sa.String(60), nullable=False),
            sa.Column("severity", sa.String(20)),
            sa.Column("unit_code", sa.String(40)),
            sa.Column("unit_id", postgresql.UUID()),
            sa.Column("other_code", sa.String(60)),
            sa.Column("other_id", postgresql.UUID()),
            sa.Column("measure", sa.Double()),
            sa.Column("measure_unit", sa.String(20)),
            sa.Column("tolerance", sa.Double()),
            sa.Column("note_zh", sa.String(2000)),
            sa.Column("note_en", sa.String(2000)),
            sa.Column("run_id", postgresql.UUID(), nullable=False),
        ],
        indexed=["fault_kind", "unit_id", "run_id"],
        result=True,
    )
    _layer(
        "layout_unit",
        "Geometry",
        "internal",
        [
            sa.Column("level", sa.String(20), nullable=False),
            sa.Column(
                "parent_id",
                postgresql.UUID(),
                sa.ForeignKey(
                    "baige.layout_unit.id", name="layout_unit_parent_id_fkey", deferrable=True, initially="DEFERRED"
                ),
            ),
            sa.Column("code", sa.String(40), nullable=False),
            sa.Column("layout", sa.String(60), nullable=False),
            sa.Column("version", sa.BigInteger()),
            sa.Column("weight", sa.Double()),
            sa.Column("quota", sa.BigInteger()),
            sa.Column("pinned", sa.Boolean()),
            sa.Column("site_layer", sa.String(48)),
            sa.Column("site_id", postgresql.UUID()),
        ],
        keys=[["layout", "version", "code"]],
        indexed=["level", "parent_id", "layout"],
    )
    _layer(
        "medical_site",
        "Point",
        "public",
        [
            sa.Column("site_no", sa.String(60)),
            sa.Column("kind", sa.String(20)),
            sa.Column("bed_count", sa.BigInteger()),
            sa.Column("camera_count", sa.BigInteger()),
            sa.Column("waste_store_count", sa.BigInteger()),
        ],
        keys=[["site_no"]],
    )
    _layer(
        "nature_reserve",
        "MultiPolygon",
        "public",
        [
            sa.Column("area_no", sa.String(60)),
            sa.Column("kind", sa.String(20)),
            sa.Column("grade", sa.String(20)),
        ],
        keys=[["area_no"]],
    )
    _layer(
        "outfall",
        "Point",
        "internal",
        [
            sa.Column("code_national", sa.String(40)),
            sa.Column("code_local", sa.String(40)),
            sa.Column("cat1", sa.String(20)),
            sa.Column("cat2", sa.String(20)),
            sa.Column("cat3", sa.String(20)),
            sa.Column("receiving_water", sa.String(100)),
            sa.Column("chainage_m", sa.Double()),
            sa.Column("bank_side", sa.String(20)),
            sa.Column("entry_mode", sa.String(20)),
            sa.Column("discharge_mode", sa.String(20)),
            sa.Column("wfz1", sa.String(100)),
            sa.Column("wfz2", sa.String(100)),
            sa.Column("wq_target", sa.String(20)),
            sa.Column("approval_kind", sa.String(20)),
            sa.Column("workflow_stage", sa.String(20)),
            sa.Column("remediation", sa.String(20)),
            sa.Column("discharge_state", sa.SmallInteger()),
            sa.Column("inspect_due", sa.Date()),
            sa.Column("built_date", sa.Date()),
            sa.Column("responsible_org", sa.String(200)),
            sa.Column("permit_no", sa.String(60)),
        ],
        keys=[["code_national"], ["code_local"]],
        indexed=["cat1", "workflow_stage"],
    )
    _layer(
        "outfall_watch",
        "Point",
        "internal",
        [
            sa.Column("outfall_id", postgresql.UUID(), nullable=False),
            sa.Column("outfall_code", sa.String(40)),
            sa.Column("watch_state", sa.String(20), nullable=False),
            sa.Column("cameras_confirmed", sa.BigInteger()),
            sa.Column("cameras_possible", sa.BigInteger()),
            sa.Column("cameras_online", sa.BigInteger()),
            sa.Column("best_density_px_m", sa.Double()),
            sa.Column("camera_ids", postgresql.ARRAY(sa.Text())),
            sa.Column("nearest_camera_m", sa.Double()),
            sa.Column("cause", sa.String(20)),
            sa.Column("run_id", postgresql.UUID(), nullable=False),
        ],
        indexed=["outfall_id", "watch_state", "cause", "run_id"],
        result=True,
    )
    _layer(
        "patrol",
        "Geometry",
        "internal",
        [
            sa.Column("route", sa.String(120)),
            sa.Column("grid_code", sa.String(15)),
            sa.Column("mode", sa.String(20)),
            sa.Column("done_at", sa.DateTime(timezone=True)),
        ],
        indexed=["grid_code", "done_at"],
    )
    _layer(
        "permanent_farmland",
        "MultiPolygon",
        "public",
        [
            sa.Column("area_no", sa.String(60)),
        ],
        keys=[["area_no"]],
    )
    _layer(
        "place",
        "Point",
        "public",
        [
            sa.Column("place_kind", sa.String(20)),
        ],
    )
    _layer(
        "pole",
        "Point",
        "internal",
        [
            sa.Column("pole_no", sa.String(60)),
            sa.Column("kind", sa.String(20)),
            sa.Column("height_m", sa.Double()),
            sa.Column("has_power", sa.Boolean()),
        ],
        keys=[["pole_no"]],
    )
    _layer(
        "pollution_source",
        "Point",
        "internal",
        [
            sa.Column("source_no", sa.String(60)),
            sa.Column("kind", sa.String(20), nullable=False),
            sa.Column("company", sa.String(200)),
            sa.Column("is_key_unit", sa.Boolean()),
            sa.Column("heavy_polluter", sa.Boolean()),
            sa.Column("water_related", sa.Boolean()),
            sa.Column("project_stage", sa.String(20)),
            sa.Column("built_date", sa.Date()),
            sa.Column("source_count", sa.BigInteger()),
            sa.Column("camera_count", sa.BigInteger()),
            sa.Column("permit_no", sa.String(60)),
            sa.Column("online", sa.String(20)),
        ],
        keys=[["source_no"]],
    )
    _layer(
        "railway",
        "LineString",
        "public",
        [
            sa.Column("rail_class", sa.String(20)),
            sa.Column("bridge", sa.Boolean()),
            sa.Column("tunnel", sa.Boolean()),
            sa.Column("osm_layer", sa.BigInteger()),
            sa.Column("locality", sa.String(20)),
            sa.Column("half_width_m", sa.Double()),
            sa.Column("fenced", sa.Boolean()),
        ],
        keys=[["source_org", "source_ref"]],
    )
    _layer(
        "river_axis",
        "LineStringM",
        "public",
        [
            sa.Column("reach_code", sa.String(40), nullable=False),
            sa.Column("chief_level", sa.String(20)),
            sa.Column("is_main_stem", sa.Boolean()),
            sa.Column("is_major_trib", sa.Boolean()),
            sa.Column("axis_version", sa.BigInteger(), nullable=False),
        ],
        keys=[["reach_code", "axis_version"]],
    )
    _layer(
        "river_mgmt_area",
        "MultiPolygon",
        "public",
        [
            sa.Column("basis", sa.String(20)),
        ],
    )
    _layer(
        "river_works",
        "Geometry",
        "public",
        [
            sa.Column("kind", sa.String(20)),
            sa.Column("project_stage", sa.String(20)),
            sa.Column("permitted", sa.Boolean()),
            sa.Column("permit_no", sa.String(80)),
            sa.Column("water_related", sa.Boolean()),
            sa.Column("pollutes", sa.Boolean()),
            sa.Column("owner_org", sa.String(200)),
            sa.Column("started_on", sa.Date()),
        ],
    )
    _layer(
        "riverbank",
        "LineString",
        "public",
        [
            sa.Column("reach_code", sa.String(40)),
            sa.Column("bank_side", sa.String(20), nullable=False),
            sa.Column("start_m", sa.Double()),
            sa.Column("end_m", sa.Double()),
        ],
        keys=[["reach_code", "bank_side", "start_m"]],
        indexed=["reach_code"],
    )
    _layer(
        "road",
        "LineString",
        "public",
        [
            sa.Column("road_no", sa.String(60)),
            sa.Column("road_class", sa.String(20), nullable=False),
            sa.Column("admin_grade", sa.String(20)),
            sa.Column("bridge", sa.Boolean()),
            sa.Column("tunnel", sa.Boolean()),
            sa.Column("osm_layer", sa.BigInteger()),
            sa.Column("oneway", sa.Boolean()),
            sa.Column("lane_count", sa.BigInteger()),
            sa.Column("width_m", sa.Double()),
            sa.Column("speed_limit_kmh", sa.BigInteger()),
        ],
        keys=[["source_org", "source_ref"]],
        indexed=["road_class"],
    )
    _layer(
        "rule_finding",
        "Geometry",
        "internal",
        [
            sa.Column("rule_id", sa.String(40), nullable=False),
            sa.Column("rule_version", sa.String(40), nullable=False),
            sa.Column("verdict", sa.String(20), nullable=False),
            sa.Column("object_layer", sa.String(48)),
            sa.Column("object_id", postgresql.UUID()),
            sa.Column("object_name", sa.String(200)),
            sa.Column("other_layer", sa.String(48)),
            sa.Column("other_id", postgresql.UUID()),
            sa.Column("other_name", sa.String(200)),
            sa.Column("distance_m", sa.Double()),
            sa.Column("accuracy_m", sa.Double()),
            sa.Column("threshold_m", sa.Double()),
            sa.Column("source", sa.String(200)),
            sa.Column("article", sa.String(200)),
            sa.Column("note_zh", sa.String(2000)),
            sa.Column("note_en", sa.String(2000)),
            sa.Column("found_at", sa.DateTime(timezone=True)),
            sa.Column("checked_for", sa.Date()),
            sa.Column("change", sa.String(20)),
            sa.Column("waived", sa.Boolean()),
            sa.Column("waiver_reason", sa.String(2000)),
            sa.Column("waiver_until", sa.Date()),
            sa.Column("run_id", postgresql.UUID(), nullable=False),
        ],
        indexed=["rule_id", "verdict", "object_id", "other_id", "found_at", "run_id"],
        result=True,
    )
    _layer(
        "rule_waiver",
        "none",
        "internal",
        [
            sa.Column("rule_id", sa.String(40), nullable=False),
            sa.Column("object_layer", sa.String(48), nullable=False),
            sa.Column("object_id", postgresql.UUID(), nullable=False),
            sa.Column("other_layer", sa.String(48)),
            sa.Column("other_id", postgresql.UUID()),
            sa.Column("reason", sa.String(2000), nullable=False),
            sa.Column("granted_role", sa.String(20), nullable=False),
            sa.Column("expires_on", sa.Date(), nullable=False),
        ],
        keys=[["rule_id", "object_id", "other_id"]],
        indexed=["rule_id", "object_id"],
    )
    _layer(
        "school_coverage",
        "Point",
        "internal",
        [
            sa.Column("school_id", postgresql.UUID(), nullable=False),
            sa.Column("state", sa.String(20)),
            sa.Column("entrances", sa.BigInteger()),
            sa.Column("entrances_confirmed", sa.BigInteger()),
            sa.Column("entrances_possible", sa.BigInteger()),
            sa.Column("road_m", sa.Double()),
            sa.Column("road_confirmed_m", sa.Double()),
            sa.Column("road_possible_m", sa.Double()),
            sa.Column("zone_m2", sa.Double()),
            sa.Column("zone_confirmed", sa.Double()),
            sa.Column("zone_possible", sa.Double()),
            sa.Column("run_id", postgresql.UUID(), nullable=False),
        ],
        indexed=["school_id", "run_id"],
        result=True,
    )
    _layer(
        "sensitive_place",
        "Geometry",
        "restricted",
        [
            sa.Column("place_no", sa.String(60)),
            sa.Column("place_kind", sa.String(20), nullable=False),
            sa.Column("consent", sa.Boolean()),
        ],
        keys=[["place_no"]],
    )
    _layer(
        "shop",
        "Point",
        "public",
        [
            sa.Column("shop_no", sa.String(60)),
            sa.Column("kind", sa.String(20), nullable=False),
            sa.Column("opened_on", sa.Date()),
        ],
        keys=[["shop_no"]],
    )
    _layer(
        "shoreline_zone",
        "LineString",
        "public",
        [
            sa.Column("zone_type", sa.SmallInteger(), nullable=False),
            sa.Column("side", sa.String(20)),
            sa.Column("start_m", sa.Double()),
            sa.Column("end_m", sa.Double()),
            sa.Column("restraints", sa.String(2000)),
        ],
        keys=[["side", "start_m", "zone_type"]],
    )
    _layer(
        "site_proposal",
        "Point",
        "internal",
        [
            sa.Column("rank", sa.BigInteger()),
            sa.Column("ptz_type", sa.SmallInteger()),
            sa.Column("azimuth_deg", sa.Double()),
            sa.Column("hfov_deg", sa.Double()),
            sa.Column("view_dist_m", sa.Double()),
            sa.Column("res_w_px", sa.BigInteger()),
            sa.Column("mount_height_m", sa.Double()),
            sa.Column("mount_kind", sa.String(20)),
            sa.Column("mount_layer", sa.String(48)),
            sa.Column("mount_id", postgresql.UUID()),
            sa.Column("cost", sa.Double()),
            sa.Column("gain", sa.Double()),
            sa.Column("gain_total", sa.Double()),
            sa.Column("gain_m2", sa.Double()),
            sa.Column("targets", postgresql.ARRAY(sa.Text())),
            sa.Column("view", _geometry("MultiPolygon", SRID)),
            sa.Column("share_residential", sa.Double()),
            sa.Column("run_id", postgresql.UUID(), nullable=False),
        ],
        indexed=["rank", "run_id"],
        spatial=["view"],
        result=True,
    )
    _layer(
        "smart_community",
        "Geometry",
        "public",
        [
            sa.Column("community_no", sa.String(60)),
            sa.Column("kind", sa.String(20)),
            sa.Column("household_count", sa.BigInteger()),
            sa.Column("building_count", sa.BigInteger()),
            sa.Column("gate_count", sa.BigInteger()),
            sa.Column("camera_count", sa.BigInteger()),
            sa.Column("built_year", sa.BigInteger()),
        ],
        keys=[["community_no"]],
    )
    _layer(
        "water",
        "MultiPolygon",
        "public",
        [
            sa.Column("water_kind", sa.String(20)),
        ],
        keys=[["source_org", "source_ref"]],
    )
    _layer(
        "water_function_zone",
        "MultiPolygon",
        "public",
        [
            sa.Column("zone_code", sa.String(40)),
            sa.Column("zone_level", sa.SmallInteger()),
            sa.Column("wq_target", sa.String(20)),
            sa.Column("wq_current", sa.String(20)),
            sa.Column("target_met", sa.Boolean()),
        ],
        keys=[["zone_code"]],
    )
    _layer(
        "water_intake",
        "Point",
        "restricted",
        [
            sa.Column("intake_code", sa.String(40)),
            sa.Column("receiving_water", sa.String(100)),
            sa.Column("chainage_m", sa.Double()),
            sa.Column("bank_side", sa.String(20)),
            sa.Column("owner_org", sa.String(200)),
        ],
        keys=[["intake_code"]],
    )
    _layer(
        "water_source_zone",
        "MultiPolygon",
        "internal",
        [
            sa.Column("level", sa.String(20), nullable=False),
            sa.Column("source_name", sa.String(200)),
        ],
    )
    _layer(
        "waterway",
        "LineString",
        "public",
        [
            sa.Column("waterway_kind", sa.String(20)),
            sa.Column("underground", sa.Boolean()),
        ],
        keys=[["source_org", "source_ref"]],
    )
    _layer(
        "kitchen",
        "Point",
        "public",
        [
            sa.Column("licence_no", sa.String(60)),
            sa.Column("kind", sa.String(20), nullable=False),
            sa.Column(
                "school_id",
                postgresql.UUID(),
                sa.ForeignKey("baige.school.id", name="kitchen_school_id_fkey", deferrable=True, initially="DEFERRED"),
            ),
            sa.Column("camera_count", sa.BigInteger()),
            sa.Column("seat_count", sa.BigInteger()),
            sa.Column("online", sa.String(20)),
        ],
        keys=[["licence_no"]],
        indexed=["school_id"],
    )
    _layer(
        "school_zone",
        "MultiPolygon",
        "public",
        [
            sa.Column(
                "school_id",
                postgresql.UUID(),
                sa.ForeignKey(
                    "baige.school.id", name="school_zone_school_id_fkey", deferrable=True, initially="DEFERRED"
                ),
                nullable=False,
            ),
            sa.Column("zone_kind", sa.String(20), nullable=False),
            sa.Column("distance_m", sa.Double()),
        ],
        keys=[["school_id", "zone_kind"]],
        indexed=["school_id"],
    )
    _layer(
        "outfall_inspection",
        "none",
        "internal",
        [
            sa.Column(
                "outfall_id",
                postgresql.UUID(),
                sa.ForeignKey(
                    "baige.outfall.id", name="outfall_inspection_outfall_id_fkey", deferrable=True, initially="DEFERRED"
                ),
                nullable=False,
            ),
            sa.Column("inspected_at", sa.DateTime(timezone=True), nullable=False),
            sa.Column("discharging", sa.SmallInteger(), nullable=False),
            sa.Column("colour", sa.String(40)),
            sa.Column("turbidity", sa.String(20)),
            sa.Column("odour", sa.String(20)),
            sa.Column("note", sa.String(2000)),
            sa.Column("photos", postgresql.ARRAY(sa.Text())),
            sa.Column("client_ref", sa.String(60)),
        ],
        keys=[["client_ref"], ["outfall_id", "inspected_at"]],
        indexed=["outfall_id", "inspected_at"],
    )
    _layer(
        "outfall_sample",
        "none",
        "internal",
        [
            sa.Column(
                "outfall_id",
                postgresql.UUID(),
                sa.ForeignKey(
                    "baige.outfall.id", name="outfall_sample_outfall_id_fkey", deferrable=True, initially="DEFERRED"
                ),
                nullable=False,
            ),
            sa.Column("pollutant", sa.String(20), nullable=False),
            sa.Column("value", sa.Double(), nullable=False),
            sa.Column("unit", sa.String(20)),
            sa.Column("limit_value", sa.Double()),
            sa.Column("sampled_at", sa.DateTime(timezone=True), nullable=False),
        ],
        keys=[["outfall_id", "pollutant", "sampled_at"]],
        indexed=["outfall_id", "sampled_at"],
    )


def downgrade() -> None:
    """Drop them."""
    for name in [
        "outfall_sample",
        "outfall_inspection",
        "school_zone",
        "kitchen",
        "waterway",
        "water_source_zone",
        "water_intake",
        "water_function_zone",
        "water",
        "smart_community",
        "site_proposal",
        "shoreline_zone",
        "shop",
        "sensitive_place",
        "school_coverage",
        "rule_waiver",
        "rule_finding",
        "road",
        "riverbank",
        "river_works",
        "river_mgmt_area",
        "river_axis",
        "railway",
        "pollution_source",
        "pole",
        "place",
        "permanent_farmland",
        "patrol",
        "outfall_watch",
        "outfall",
        "nature_reserve",
        "medical_site",
        "layout_unit",
        "layout_fault",
        "land_use",
        "school",
        "key_area",
        "grid_statistic",
        "grid_event",
        "grid_cell",
        "exhaust_station",
        "ecological_red_line",
        "crossing",
        "coverage_gap",
        "coverage_by_grid",
        "community",
        "camera_view",
        "camera_site",
        "building",
        "bank_coverage",
        "admin_area",
    ]:
        op.drop_table(name, schema="baige")
        op.drop_table(name, schema="baige_history")
