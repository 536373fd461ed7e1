"""Tables that Baige itself needs, in schema ``baige_sys``: registry of layers, change sets, loads, quarantine, runs and rasters."""

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

__all__ = ["SYSTEM_SCHEMA", "system_tables"]

SYSTEM_SCHEMA = "baige_sys"


def _uuid_key() -> sa.Column[object]:
    return sa.Column("id", pg.UUID(as_uuid=True), primary_key=True, server_default=sa.text("gen_random_uuid()"))


def _now(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=False, server_default=sa.text("now()"))


def system_tables(metadata: sa.MetaData) -> dict[str, sa.Table]:
    """Define the system tables in ``metadata`` and return them by name."""
    schema = SYSTEM_SCHEMA
    tables = [
        sa.Table(
            "layer",
            metadata,
            sa.Column("name", sa.Text(), primary_key=True),
            sa.Column("built_in", sa.Boolean(), nullable=False),
            sa.Column("declaration", pg.JSONB(), nullable=False),
            sa.Column("change_counter", sa.BigInteger(), nullable=False, server_default=sa.text("0")),
            _now("changed_at"),
            schema=schema,
            comment="Registry of layers; change_counter rises with every change of the layer's features",
        ),
        sa.Table(
            "change_set",
            metadata,
            sa.Column("id", sa.BigInteger(), sa.Identity(), primary_key=True),
            _now("at"),
            sa.Column(
                "actor", sa.Text(), nullable=False, comment="key id, or the operating role; never a person's name"
            ),
            sa.Column("role", sa.Text(), nullable=False),
            sa.Column("layer", sa.Text(), nullable=False),
            sa.Column("action", sa.Text(), nullable=False),
            sa.Column("note", sa.Text()),
            sa.Column("request_id", sa.Text()),
            sa.Column("inserted", sa.BigInteger(), nullable=False, server_default=sa.text("0")),
            sa.Column("updated", sa.BigInteger(), nullable=False, server_default=sa.text("0")),
            sa.Column("deleted", sa.BigInteger(), nullable=False, server_default=sa.text("0")),
            sa.Index("change_set_layer_idx", "layer", "id"),
            schema=schema,
            comment="Who changed which layer, when and how",
        ),
        sa.Table(
            "session",
            metadata,
            sa.Column("token_sha256", sa.String(64), primary_key=True),
            sa.Column("key_id", sa.Text(), nullable=False),
            sa.Column("role", sa.Text(), nullable=False),
            sa.Column("district", sa.Text(), nullable=False, server_default=sa.text("''")),
            sa.Column("issuer", sa.Text(), nullable=False, server_default=sa.text("''")),
            _now("created_at"),
            sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
            schema=schema,
            comment="Sessions of browsers, hashed; each of a key, or of a token of the provider named",
        ),
        sa.Table(
            "credential_epoch",
            metadata,
            sa.Column("epoch", sa.BigInteger(), primary_key=True, autoincrement=False),
            schema=schema,
            comment="One row: raised by every change of a key or session",
        ),
        sa.Table(
            "reclassified",
            metadata,
            sa.Column("layer", sa.Text(), primary_key=True),
            sa.Column("feature_id", pg.UUID(as_uuid=True), primary_key=True),
            sa.Column("classification", sa.String(20), nullable=False),
            schema=schema,
            comment="Features whose classification has changed, and what it is now; their old versions show no more",
        ),
        sa.Table(
            "load_run",
            metadata,
            _uuid_key(),
            sa.Column("layer", sa.Text(), nullable=False),
            sa.Column("file_name", sa.Text(), nullable=False),
            sa.Column("file_sha256", sa.String(64)),
            sa.Column("file_format", sa.Text()),
            sa.Column("src_crs", sa.Text()),
            sa.Column("actor", sa.Text(), nullable=False),
            sa.Column("change_id", sa.BigInteger()),
            _now("started_at"),
            sa.Column("finished_at", sa.DateTime(timezone=True)),
            sa.Column("report", pg.JSONB(), nullable=False, server_default=sa.text("'{}'::jsonb")),
            schema=schema,
            comment="One row for each file loaded",
        ),
        sa.Table(
            "quarantine",
            metadata,
            sa.Column("id", sa.BigInteger(), sa.Identity(), primary_key=True),
            sa.Column(
                "load_id",
                pg.UUID(as_uuid=True),
                sa.ForeignKey(f"{schema}.load_run.id", ondelete="CASCADE", name="quarantine_load_id_fkey"),
                nullable=False,
            ),
            sa.Column("layer", sa.Text(), nullable=False),
            sa.Column("row_number", sa.BigInteger(), nullable=False),
            sa.Column(
                "faults", pg.JSONB(), nullable=False, comment="list of column, value, expected, reason (code, zh, en)"
            ),
            sa.Column("row", pg.JSONB(), nullable=False, comment="the row as it came, personal columns left out"),
            sa.Column("wkb", sa.LargeBinary()),
            _now("at"),
            sa.Column("resolved_at", sa.DateTime(timezone=True)),
            sa.Index("quarantine_load_idx", "load_id", "row_number"),
            schema=schema,
            comment="Rows that a load could not take, each with its reasons",
        ),
        sa.Table(
            "run",
            metadata,
            _uuid_key(),
            sa.Column("kind", sa.Text(), nullable=False),
            sa.Column("title", sa.Text()),
            sa.Column("scenario", sa.Text(), nullable=False, server_default=sa.text("'current'")),
            sa.Column("parameters", pg.JSONB(), nullable=False),
            sa.Column("inputs", pg.JSONB(), nullable=False, comment="layer → change counter, features; raster ids"),
            sa.Column("software", sa.Text(), nullable=False),
            sa.Column("actor", sa.Text(), nullable=False),
            sa.Column("synthetic", sa.Boolean(), nullable=False, server_default=sa.text("false")),
            sa.Column("state", sa.Text(), nullable=False, server_default=sa.text("'running'")),
            _now("started_at"),
            sa.Column("finished_at", sa.DateTime(timezone=True)),
            sa.Column("summary", pg.JSONB(), nullable=False, server_default=sa.text("'{}'::jsonb")),
            sa.Index("run_kind_idx", "kind", "started_at"),
            schema=schema,
            comment="Analysis runs: parameters, versions of the input, software",
        ),
        sa.Table(
            "raster",
            metadata,
            _uuid_key(),
            sa.Column("name", sa.Text(), nullable=False, unique=True),
            sa.Column("kind", sa.Text(), nullable=False),
            sa.Column("path", sa.Text(), nullable=False, comment="relative to BAIGE_HOME/rasters"),
            sa.Column("srid", sa.Integer(), nullable=False),
            sa.Column("west", sa.Double(), nullable=False),
            sa.Column("south", sa.Double(), nullable=False),
            sa.Column("east", sa.Double(), nullable=False),
            sa.Column("north", sa.Double(), nullable=False),
            sa.Column("cell_m", sa.Double(), nullable=False),
            sa.Column("nodata", sa.Double()),
            sa.Column("void_count", sa.BigInteger(), nullable=False, server_default=sa.text("0")),
            sa.Column("filled_count", sa.BigInteger(), nullable=False, server_default=sa.text("0")),
            sa.Column("vertical_crs", sa.Text()),
            sa.Column("run_id", pg.UUID(as_uuid=True)),
            sa.Column("sources", pg.JSONB(), nullable=False, server_default=sa.text("'[]'::jsonb")),
            sa.Column("synthetic", sa.Boolean(), nullable=False, server_default=sa.text("false")),
            sa.Column("classification", sa.String(20), nullable=False, server_default=sa.text("'internal'")),
            _now("created_at"),
            schema=schema,
            comment="Raster files known to the database",
        ),
        sa.Table(
            "inspection_photo",
            metadata,
            sa.Column("id", pg.UUID(as_uuid=True), primary_key=True),
            sa.Column(
                "inspection_id",
                pg.UUID(as_uuid=True),
                sa.ForeignKey("baige.outfall_inspection.id", ondelete="CASCADE", name="inspection_photo_inspection_id_fkey"),
                nullable=False,
            ),
            sa.Column("sent_sha256", sa.String(64), nullable=False, comment="of the file as it was sent, to know it again"),
            sa.Column("width_px", sa.Integer(), nullable=False),
            sa.Column("height_px", sa.Integer(), nullable=False),
            sa.Column("jpeg", sa.LargeBinary(), nullable=False),
            _now("created_at"),
            sa.Index("inspection_photo_inspection_idx", "inspection_id"),
            schema=schema,
            comment="Photos of inspections, drawn anew without any metadata; seen by who may see the outfall",
        ),
        sa.Table(
            "api_key",
            metadata,
            sa.Column("id", sa.Text(), primary_key=True),
            sa.Column("secret_sha256", sa.String(64), nullable=False),
            sa.Column("role", sa.Text(), nullable=False),
            sa.Column("district", sa.Text(), nullable=False, server_default=sa.text("''")),
            sa.Column("note", sa.Text()),
            _now("created_at"),
            sa.Column("expires_at", sa.DateTime(timezone=True)),
            sa.Column("revoked_at", sa.DateTime(timezone=True)),
            schema=schema,
            comment="Access keys, hashed; a key is given to an office, not to a named person",
        ),
    ]
    return {table.name: table for table in tables}
