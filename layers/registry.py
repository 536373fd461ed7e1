"""The registry of layers in a database: the built-in ones and those that users added."""

import json
import logging
from importlib import resources

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from gis.errors import Conflict, InputError, NotFound
from layers.access import access_sql
from layers.catalogue import built_in
from layers.changes import change_set
from layers.database import Database
from layers.declaration import LayerDeclaration
from layers.models import layer_tables

__all__ = ["add_layer", "catalogue", "declaration_of", "extent_of", "install_layer", "is_built_in", "remove_layer", "storage_srid"]

log = logging.getLogger(__name__)


def catalogue(connection: Connection) -> dict[str, LayerDeclaration]:
    """All layers of this database by name; a user's layers after the built-in ones."""
    rows = connection.execute(sa.text("SELECT name, declaration FROM baige_sys.layer WHERE NOT built_in ORDER BY name"))
    return {**built_in(), **{name: LayerDeclaration.model_validate(text) for name, text in rows}}


def declaration_of(connection: Connection, layer: str) -> LayerDeclaration:
    """The declaration of one layer.

    Raises
    ------
    NotFound
        There is no such layer.
    """
    found = built_in().get(layer)
    if found is not None:
        return found
    text = connection.execute(
        sa.text("SELECT declaration FROM baige_sys.layer WHERE name = :name AND NOT built_in"), {"name": layer}
    ).scalar_one_or_none()
    if text is None:
        raise NotFound(
            f"There is no layer {layer!r}; 'baige layer list' shows them.",
            zh=f"没有图层 {layer!r}；用 baige layer list 查看。",
        )
    return LayerDeclaration.model_validate(text)


def storage_srid(connection: Connection) -> int:
    """EPSG code in which this database stores the city's geometries; fixed when its schema was made."""
    return int(connection.execute(sa.text("SELECT srid FROM baige_sys.storage")).scalar_one())


def install_layer(connection: Connection, declaration: LayerDeclaration, *, own: bool) -> None:
    """Register a layer whose tables exist, and set its triggers, policies and grants. Safe to repeat."""
    template = resources.files("layers").joinpath("sql", "layer.sql").read_text(encoding="utf-8")
    Database.script(connection, template.replace("{layer}", f'"{declaration.name}"').replace("{name}", declaration.name))
    Database.script(connection, ";\n".join(access_sql(declaration)))
    for target, titled in _titles(declaration):
        quoted = titled.replace("'", "''")
        Database.script(connection, f"COMMENT ON {target} IS '{quoted}'")
    connection.execute(
        sa.text(
            # the counter of a layer that was removed goes on: what somebody kept of the old one is never taken for the new one
            "INSERT INTO baige_sys.layer (name, built_in, declaration, change_counter) SELECT :name, :own, cast(:declaration AS jsonb),"
            " coalesce(max((note::jsonb ->> 'counter')::bigint), 0) + coalesce(max(id), 0)"
            " FROM baige_sys.change_set WHERE layer = :name AND action = 'remove layer'"
            " ON CONFLICT (name) DO UPDATE SET declaration = excluded.declaration"
            " WHERE baige_sys.layer.declaration IS DISTINCT FROM excluded.declaration"
        ),
        {"name": declaration.name, "own": own, "declaration": declaration.model_dump_json(exclude_defaults=True)},
    )


def is_built_in(layer: str) -> bool:
    """Whether a layer comes with Baige."""
    return layer in built_in()


def _titles(declaration: LayerDeclaration) -> list[tuple[str, str]]:
    table = f'baige."{declaration.name}"'
    columns = [(f'COLUMN {table}."{f.name}"', f"{f.title_zh} / {f.title_en}") for f in declaration.all_fields]
    return [(f"TABLE {table}", f"{declaration.title_zh} / {declaration.title_en}"), *columns]


def _srid_exists(connection: Connection, srid: int) -> bool:
    return bool(
        connection.execute(sa.text("SELECT 1 FROM spatial_ref_sys WHERE srid = :srid"), {"srid": srid}).scalar()
    )


def add_layer(database: Database, declaration: LayerDeclaration) -> None:
    """Make a user's layer: tables, history, indexes, triggers, access rules and registry entry, in one transaction.

    Raises
    ------
    Conflict
        A layer of that name exists.
    InputError
        It refers to an unknown layer or an unknown reference system.
    """
    with database.begin() as connection:
        connection.execute(sa.text("LOCK TABLE baige_sys.layer IN SHARE ROW EXCLUSIVE MODE"))
        known = catalogue(connection)
        if declaration.name in known:
            raise Conflict(f"Layer {declaration.name!r} exists already.", zh=f"图层 {declaration.name!r} 已存在。")
        for field in declaration.fields:
            if field.references and field.references not in {*known, declaration.name}:
                raise InputError(
                    f"Field {field.name!r} refers to layer {field.references!r}, which does not exist.",
                    zh=f"字段 {field.name!r} 引用的图层 {field.references!r} 不存在。",
                )
            kind = sa.text("SELECT relkind FROM pg_class WHERE oid = to_regclass(:t)")
            if field.references and connection.execute(kind, {"t": f'baige."{field.references}"'}).scalar() == "p":
                raise Conflict(
                    f"Layer {field.references!r} is in partitions; nothing can refer to it ('baige layer merge {field.references}' first).",
                    zh=f"图层 {field.references!r} 已分区，不能被引用（请先执行 baige layer merge {field.references}）。",
                )
        if declaration.srid is not None and not _srid_exists(connection, declaration.srid):
            raise InputError(
                f"EPSG:{declaration.srid} is not known to PostGIS.", zh=f"PostGIS 中没有 EPSG:{declaration.srid}。"
            )
        srid = storage_srid(connection)
        metadata = sa.MetaData()
        layer_tables(known.values(), srid, metadata)
        new = [
            layer_tables([declaration], srid, metadata)[declaration.name],
            metadata.tables[f"baige_history.{declaration.name}"],
        ]
        metadata.create_all(connection, tables=new)
        install_layer(connection, declaration, own=False)
    log.info("layer %s added", declaration.name)


def remove_layer(database: Database, layer: str, *, force: bool = False) -> int:
    """Take a user's layer back, with its history; returns how many features it had.

    Raises
    ------
    Forbidden-like InputError
        It is a built-in layer.
    Conflict
        It has features and ``force`` is not set, or another layer refers to it.
    """
    if layer in built_in():
        raise InputError(f"{layer!r} is a built-in layer and stays.", zh=f"{layer!r} 是内置图层，不能删除。")
    with database.begin() as connection:
        connection.execute(sa.text("LOCK TABLE baige_sys.layer IN SHARE ROW EXCLUSIVE MODE"))
        declaration_of(connection, layer)
        for other in catalogue(connection).values():
            if other.name != layer and any(field.references == layer for field in other.fields):
                raise Conflict(
                    f"Layer {other.name!r} refers to {layer!r}.", zh=f"图层 {other.name!r} 引用了 {layer!r}。"
                )
        count = int(connection.exec_driver_sql(f'SELECT count(*) FROM baige."{layer}"').scalar_one())
        if count and not force:
            raise Conflict(
                f"Layer {layer!r} has {count} features; export them, then remove it with --force.",
                zh=f"图层 {layer!r} 有 {count} 个要素；请先导出，再用 --force 删除。",
            )
        counter = connection.execute(sa.text("SELECT change_counter FROM baige_sys.layer WHERE name = :layer"), {"layer": layer}).scalar_one()
        with change_set(connection, layer=layer, action="remove layer", note=json.dumps({"features": count, "counter": counter})):
            connection.exec_driver_sql(f'DROP TABLE baige."{layer}"')
            connection.exec_driver_sql(f'DROP TABLE IF EXISTS baige_parts."{layer}"')
            connection.exec_driver_sql(f'DROP TABLE baige_history."{layer}"')
            connection.execute(sa.text("DELETE FROM baige_sys.quarantine WHERE layer = :layer"), {"layer": layer})
            connection.execute(sa.text("DELETE FROM baige_sys.reclassified WHERE layer = :layer"), {"layer": layer})
            connection.execute(sa.text("DELETE FROM baige_sys.layer WHERE name = :layer"), {"layer": layer})
    log.info("layer %s removed", layer)
    return count


def extent_of(connection: Connection, layer: str) -> tuple[float, float, float, float] | None:
    """West, south, east, north of a layer's features in degrees (WGS 84); None where it has none."""
    declaration_of(connection, layer)
    found = connection.exec_driver_sql(
        "SELECT ST_XMin(e), ST_YMin(e), ST_XMax(e), ST_YMax(e)"
        f" FROM (SELECT ST_Extent(ST_Transform(geom, 4326)) AS e FROM baige.{layer}) AS t WHERE e IS NOT NULL"
    ).first()
    return None if found is None else (float(found[0]), float(found[1]), float(found[2]), float(found[3]))
