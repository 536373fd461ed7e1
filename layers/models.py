"""SQLAlchemy tables and GeoAlchemy2 models, made from the declarations of the layers.

Each layer is a table in schema ``baige``; its earlier versions stand in the table of the same name in ``baige_history``.
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from layers.declaration import FieldDeclaration, LayerDeclaration

# The models and their types take half a second to import; what only reads or writes rows does without them.
if TYPE_CHECKING:
    from geoalchemy2 import Geometry

__all__ = [
    "HISTORY_SCHEMA",
    "LAYER_SCHEMA",
    "column_type",
    "geometry_type",
    "history_table",
    "layer_models",
    "layer_srid",
    "layer_table",
    "layer_tables",
]

LAYER_SCHEMA = "baige"
HISTORY_SCHEMA = "baige_history"

#: The change set of the running transaction.
_CHANGE_ID = "(nullif(current_setting('baige.change_id'::text, true), ''::text))::bigint"


def geometry_type(kind: str, srid: int) -> "Geometry":
    """The column type of a geometry of ``kind`` (an OGC name, ``M`` suffix for measured) in EPSG ``srid``."""
    from geoalchemy2 import Geometry

    measured = kind.endswith("M")
    return Geometry(kind.upper(), srid=srid, dimension=3 if measured else 2, spatial_index=False)


def column_type(field: FieldDeclaration, srid: int) -> sa.types.TypeEngine[Any]:
    """The SQL type that stores ``field``."""
    if field.type in ("text", "code"):
        return sa.String(field.length) if field.length else sa.Text()
    if field.type == "enum":
        return (
            sa.SmallInteger()
            if field.is_integer_domain
            else sa.String(max(20, *(len(str(t.value)) for t in field.domain)))
        )
    if field.type == "geometry":
        return geometry_type(str(field.geometry), srid)
    simple: dict[str, sa.types.TypeEngine[Any]] = {
        "int": sa.BigInteger(),
        "num": sa.Double(),
        "bool": sa.Boolean(),
        "date": sa.Date(),
        "datetime": sa.DateTime(timezone=True),
        "ref": pg.UUID(as_uuid=True),
        "uuid": pg.UUID(as_uuid=True),
        "text[]": pg.ARRAY(sa.Text()),
    }
    return simple[field.type]


def _default(field: FieldDeclaration, declaration: LayerDeclaration) -> sa.TextClause | None:
    if field.name == "classification":
        return sa.text(f"'{declaration.classification}'")
    if field.name in ("synthetic", "geom_repaired"):
        return sa.text("false")
    return None


def layer_srid(declaration: LayerDeclaration, storage_srid: int) -> int:
    """EPSG code in which the layer's geometries are stored."""
    return declaration.srid or storage_srid


def layer_table(declaration: LayerDeclaration, storage_srid: int, metadata: sa.MetaData) -> sa.Table:
    """The table of a layer, with its indexes.

    Parameters
    ----------
    declaration : LayerDeclaration
    storage_srid : int
        EPSG code of the city's storage system, used where the declaration names none.
    metadata : sqlalchemy.MetaData
        Receives the table; tables that references point to are looked up in it by name.
    """
    srid = layer_srid(declaration, storage_srid)
    columns: list[sa.Column[Any]] = [
        sa.Column("id", pg.UUID(as_uuid=True), primary_key=True, server_default=sa.text("gen_random_uuid()"))
    ]
    for field in declaration.all_fields:
        arguments: list[Any] = [column_type(field, srid)]
        if field.type == "ref":
            target = f"{LAYER_SCHEMA}.{field.references}.id"
            arguments.append(
                sa.ForeignKey(
                    target, name=f"{declaration.name}_{field.name}_fkey", deferrable=True, initially="DEFERRED"
                )
            )
        columns.append(
            sa.Column(
                field.name,
                *arguments,
                nullable=not field.required,
                server_default=_default(field, declaration),
            )
        )
    if declaration.has_geometry:
        columns.append(sa.Column("geom", geometry_type(declaration.geometry, srid), nullable=False))
    columns.append(sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.text("now()")))
    columns.append(sa.Column("change_id", sa.BigInteger(), server_default=sa.text(_CHANGE_ID)))
    table = sa.Table(declaration.name, metadata, *columns, schema=LAYER_SCHEMA)
    _add_indexes(table, declaration)
    return table


def _add_indexes(table: sa.Table, declaration: LayerDeclaration) -> None:
    name = declaration.name
    sa.Index(f"{name}_change_brin", table.c.change_id, postgresql_using="brin")
    if declaration.has_geometry:
        sa.Index(f"{name}_geom_gist", table.c.geom, postgresql_using="gist")
    for field in declaration.all_fields:
        column = table.c[field.name]
        if field.type == "geometry":
            sa.Index(f"{name}_{field.name}_gist", column, postgresql_using="gist")
        elif field.index or field.type == "ref":
            sa.Index(f"{name}_{field.name}_idx", column)
    sa.Index(f"{name}_admin_code_idx", table.c.admin_code, postgresql_ops={"admin_code": "varchar_pattern_ops"})
    for key in declaration.update_keys:
        present = sa.and_(*(table.c[part].is_not(None) for part in key))
        sa.Index(f"{name}_{'_'.join(key)}_key", *(table.c[part] for part in key), unique=True, postgresql_where=present)


def history_table(declaration: LayerDeclaration, storage_srid: int, metadata: sa.MetaData) -> sa.Table:
    """The table of a layer's earlier versions: when and by which change each was replaced, then the layer's columns."""
    srid = layer_srid(declaration, storage_srid)
    columns: list[sa.Column[Any]] = [
        sa.Column("replaced_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("replaced_by", sa.BigInteger(), nullable=True),
        sa.Column("replaced_op", sa.String(1), nullable=False),
        sa.Column("id", pg.UUID(as_uuid=True), nullable=False),
    ]
    columns += [
        sa.Column(field.name, column_type(field, srid), nullable=not field.required) for field in declaration.all_fields
    ]
    if declaration.has_geometry:
        columns.append(sa.Column("geom", geometry_type(declaration.geometry, srid), nullable=False))
    columns.append(sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False))
    columns.append(sa.Column("change_id", sa.BigInteger()))
    table = sa.Table(declaration.name, metadata, *columns, schema=HISTORY_SCHEMA)
    sa.Index(f"{declaration.name}_history_id_idx", table.c.id, table.c.replaced_at)
    sa.Index(f"{declaration.name}_history_by_idx", table.c.replaced_by)
    return table


def layer_tables(
    declarations: Iterable[LayerDeclaration], storage_srid: int, metadata: sa.MetaData
) -> dict[str, sa.Table]:
    """Tables of all ``declarations`` and of their history, added to ``metadata``; returns the layers' own by name."""
    tables = {}
    for declaration in declarations:
        tables[declaration.name] = layer_table(declaration, storage_srid, metadata)
        history_table(declaration, storage_srid, metadata)
    return tables


def layer_models(tables: Mapping[str, sa.Table]) -> dict[str, type]:
    """Mapped classes (GeoAlchemy2 models) over the tables of layers, by layer name; for use with an ORM session."""
    from sqlalchemy.orm import registry

    mapper = registry()
    models: dict[str, type] = {}
    for name, table in tables.items():
        title = "".join(part.capitalize() for part in name.split("_"))
        model = type(title, (), {"__doc__": f"A feature of layer {name}.", "__module__": __name__})
        mapper.map_imperatively(model, table)
        models[name] = model
    return models
