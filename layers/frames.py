"""Layers as GeoDataFrames: reading them for analysis and maps, and writing results."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.engine import Connection

from gis.crs import SourceCRS, transform_geometries
from gis.errors import CRSMismatch, UnknownField
from layers.changes import change_set
from layers.database import Database
from layers.declaration import LayerDeclaration
from layers.models import layer_srid
from layers.registry import declaration_of, storage_srid
from layers.runs import Run

__all__ = ["change_results", "read_frame", "replace_results"]


def read_frame(
    connection: Connection,
    layer: str,
    *,
    columns: Sequence[str] | None = None,
    srid: int | None = None,
    bounds: tuple[float, float, float, float] | None = None,
    where: sa.ColumnElement[bool] | sa.TextClause | None = None,
) -> gpd.GeoDataFrame:
    """Read a layer.

    Parameters
    ----------
    layer : str
        Name of a layer of this database.
    columns : sequence of str, optional
        Fields wanted beside ``id`` and the geometry; all declared ones without it.
    srid : int, optional
        EPSG code of the result's coordinates (x, y); the layer's own without it.
    bounds : tuple, optional
        West, south, east, north in the layer's own system: only features whose box meets it.
    where : sqlalchemy clause, optional
        A further condition, values bound.

    Returns
    -------
    GeoDataFrame
        With a column ``id`` (text) and, where the layer has places, the active geometry ``geom``.

    Raises
    ------
    NotFound, UnknownField
    """
    declaration = declaration_of(connection, layer)
    own = layer_srid(declaration, storage_srid(connection))
    known = {field.name: field for field in declaration.all_fields}
    wanted = list(known) if columns is None else list(columns)
    for name in wanted:
        if name not in known:
            raise UnknownField(f"Layer {layer!r} has no field {name!r}.", zh=f"图层 {layer!r} 没有字段 {name!r}。")
    geometries = [name for name in wanted if known[name].type == "geometry"] + (
        ["geom"] if declaration.has_geometry else []
    )
    listed = ['"id"::text'] + [
        f'"{name}"::text AS "{name}"' if name in known and known[name].type in ("uuid", "ref")
        else f'ST_AsBinary("{name}") AS "{name}"' if name in geometries
        else f'"{name}"'
        for name in [*wanted, *(["geom"] if declaration.has_geometry else [])]
    ]  # fmt: skip
    conditions: list[Any] = []
    if where is not None:
        conditions.append(where)
    if bounds is not None and declaration.has_geometry:
        conditions.append(
            sa.text("geom && ST_MakeEnvelope(:bx0, :by0, :bx1, :by1, :bsrid)").bindparams(
                bx0=bounds[0], by0=bounds[1], bx1=bounds[2], by1=bounds[3], bsrid=own
            )
        )
    query = sa.select(sa.text(", ".join(listed))).select_from(sa.text(f'baige."{declaration.name}"'))
    if conditions:
        query = query.where(sa.and_(*conditions))
    result = connection.execute(query.order_by(sa.text("id")))
    frame = pd.DataFrame(result.fetchall(), columns=list(result.keys()))
    target = srid or own
    for name in geometries:
        frame[name] = transform_geometries(
            shapely.from_wkb(frame[name].to_numpy(dtype=object)), SourceCRS(str(own)), target
        )
    for name in wanted:
        if known[name].type in ("num", "int") and name in frame:
            frame[name] = pd.to_numeric(frame[name])
    if not declaration.has_geometry:
        return gpd.GeoDataFrame(frame)
    return gpd.GeoDataFrame(frame, geometry="geom", crs=target)


def _plain(value: Any) -> Any:
    """A cell of a frame as the driver takes it; missing values as None."""
    if value is None or value is pd.NaT or (isinstance(value, float) and np.isnan(value)):
        return None
    if isinstance(value, np.generic):
        return value.item()
    return value


def replace_results(
    connection: Connection,
    layer: str,
    frame: gpd.GeoDataFrame,
    *,
    run: Run,
    scope: tuple[str, Sequence[str]] | None = None,
) -> int:
    """Put the results of a run in the place of an earlier run's; these go to the layer's history, found there by ``run_id``.

    Parameters
    ----------
    layer : str
        A layer of kind ``result``.
    frame : GeoDataFrame
        Columns named like the layer's fields; geometries with a CRS. What the declaration does not have is refused.
    scope : (str, sequence of str), optional
        A field and its values to which the replacement is limited, for layers that several analyses or parts of one share.

    Returns
    -------
    int
        Rows written.

    Raises
    ------
    UnknownField, CRSMismatch
    """
    declaration = declaration_of(connection, layer)
    ready = _ready(connection, declaration, frame, run)
    table = f'baige."{declaration.name}"'
    with change_set(connection, layer=layer, action="run", note=str(run.id)) as change:
        if scope is not None:
            field = declaration.field(scope[0]).name
            connection.execute(
                sa.text(f'DELETE FROM {table} WHERE "{field}" = ANY(:values)'), {"values": list(scope[1])}
            )
        else:
            connection.exec_driver_sql(f"DELETE FROM {table}")
        _copy(connection, table, ready)
        change.count_inserted(len(ready))
    return len(ready)


def _ready(connection: Connection, declaration: LayerDeclaration, frame: gpd.GeoDataFrame, run: Run) -> pd.DataFrame:
    """Rows as they are copied: with the run, geometries as text in the layer's system."""
    own = layer_srid(declaration, storage_srid(connection))
    names = [str(name) for name in frame.columns]
    known = {"id", "geom", *(field.name for field in declaration.all_fields)}
    if set(names) - known:
        raise UnknownField(f"Layer {declaration.name!r} has no field {sorted(set(names) - known)}.")
    ready = pd.DataFrame(frame.copy())
    ready["run_id"] = str(run.id)
    ready["synthetic"] = run.synthetic
    for column in _geometry_columns(declaration):
        if column in ready:
            crs = frame.set_geometry(column).crs
            if crs is None:
                raise CRSMismatch(f"The results for {declaration.name!r} carry no reference system.")
            places = transform_geometries(ready[column].to_numpy(dtype=object), SourceCRS(str(crs.to_epsg())), own)
            kind = declaration.geometry if column == "geom" else str(declaration.field(column).geometry)
            ready[column] = shapely.to_wkb(shapely.set_srid(_promoted(places, kind), own), include_srid=True, hex=True)
    return ready


def _copy(connection: Connection, table: str, ready: pd.DataFrame) -> None:
    columns = [str(name) for name in ready.columns]
    listed = ", ".join(f'"{name}"' for name in columns)
    driver = Database.driver_connection(connection)
    with driver.cursor() as cursor, cursor.copy(f"COPY {table} ({listed}) FROM STDIN".encode()) as copy:
        for row in ready.itertuples(index=False, name=None):
            copy.write_row([_plain(value) for value in row])


def change_results(
    connection: Connection,
    layer: str,
    *,
    gone: Sequence[str],
    new: gpd.GeoDataFrame,
    changed: Sequence[str],
    values: Mapping[str, Sequence[Any]],
    run: Run,
) -> int:
    """Change some rows of a result layer: for analyses that follow their input instead of replacing all.

    Parameters
    ----------
    gone : sequence of str
        ``id`` of rows to be taken away.
    new : GeoDataFrame
        Rows to be added, with their ``id``.
    changed : sequence of str
        ``id`` of rows that stay and change.
    values : mapping
        By field the values of these rows from now on, also where they stay as they are: all are written by one statement, so that a row has
        one more version in history.
    run : Run
        The run that the rows belong to.

    Returns
    -------
    int
        Rows written.

    Raises
    ------
    UnknownField, CRSMismatch
    """
    declaration = declaration_of(connection, layer)
    table = f'baige."{declaration.name}"'
    with change_set(connection, layer=layer, action="run", note=str(run.id)) as change:
        if gone:
            connection.execute(
                sa.text(f"DELETE FROM {table} WHERE id = ANY(cast(:ids AS uuid[]))"), {"ids": list(gone)}
            )
        if changed and values:
            _update(connection, declaration, changed, values)
        if len(new):
            _copy(connection, table, _ready(connection, declaration, new, run))
            change.count_inserted(len(new))
    return len(gone) + len(new) + len(changed)


def _update(
    connection: Connection, declaration: LayerDeclaration, ids: Sequence[str], values: Mapping[str, Sequence[Any]]
) -> None:
    kinds = {"num": "double precision", "int": "bigint"}
    told: dict[str, list[Any]] = {"ids": list(ids)}
    sets, columns, arrays = [], ["id"], ["cast(:ids AS uuid[])"]
    for number, (name, column) in enumerate(values.items()):
        field, cells = declaration.field(name), list(column)
        value = f"n.v{number}"
        if field.type == "text[]":  # an array of arrays would have to be rectangular
            cells = [None if items is None else "\x1f".join(items) for items in cells]
            value = f"string_to_array({value}, chr(31))"
        told[f"v{number}"] = cells
        columns.append(f"v{number}")
        arrays.append(f"cast(:v{number} AS {kinds.get(field.type, 'text')}[])")
        sets.append(f'"{field.name}" = {value}')
    connection.execute(
        sa.text(
            f'UPDATE baige."{declaration.name}" AS t SET {", ".join(sets)}'
            f" FROM unnest({', '.join(arrays)}) AS n ({', '.join(columns)}) WHERE t.id = n.id"
        ),
        told,
    )


def _geometry_columns(declaration: LayerDeclaration) -> list[str]:
    own = ["geom"] if declaration.has_geometry else []
    return own + [field.name for field in declaration.all_fields if field.type == "geometry"]


def _promoted(geometries: NDArray[Any], kind: str) -> NDArray[Any]:
    """Single geometries as multi ones where the column wants multi."""
    makers: dict[str, tuple[int, Callable[[Any], Any]]] = {
        "MultiPolygon": (3, shapely.multipolygons),
        "MultiLineString": (1, shapely.multilinestrings),
        "MultiPoint": (0, shapely.multipoints),
    }
    if kind not in makers:
        return geometries
    single, make = makers[kind]
    out = geometries.copy()
    for index in np.flatnonzero(shapely.get_type_id(geometries) == single):
        out[index] = make([geometries[index]])
    return out
