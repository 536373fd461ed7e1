"""Vector tiles (MVT) as one SQL statement each.

Three ways, by how much would stand in a tile:

- *features*: each as it is, simplified to a quarter of a pixel, at most a cap of them;
- *merged* (points and polygons at low zoom, when the layer has many): what is smaller than two pixels is counted by cells; a cell says how
  many there are and how many of each value of the field that the layer is coloured by; larger polygons stay. Cells of polygons are squares
  of 1/64 of the tile and show a texture; those of points, and of layers that mix geometries, are points of 1/16 of the tile, far enough from
  each other for a circle with a number, and count everything below the zoom from which the layer is drawn by itself;
- *thinned* (lines at low zoom): those shorter than a pixel are left out.

A literal is transformed, never a column: the index on the stored geometries serves every tile.
"""

from dataclasses import dataclass

from layers.query.fragment import Fragment
from layers.query.items import geometry_sql
from layers.query.paging import conditions
from layers.query.source import Column, Source
from layers.query.tilegrid import Tile

__all__ = ["SEVERITY", "TileRules", "tile_sql"]

#: How bad a state is, for the worst one of a merged cell; what is not listed is good.
SEVERITY = {
    "V": 4, "violation": 4, "off": 3, "none": 3, "removed": 3, "repair": 2, "R": 2, "review": 2, "unknown": 1, "indeterminate": 1,
}  # fmt: skip
_EXTENT = 4096
_BUFFER = 64
_SQUARES = 64
_CLUSTERS = 16
#: Columns that a tile does without: they say nothing on a map.
_LEFT_OUT = {"changed_at", "src_crs", "source_ref", "source_org", "valid_from", "valid_to", "geom_repaired", "positional_acc_m"}
_MAX_PROPERTIES = 24


@dataclass(frozen=True, slots=True)
class TileRules:
    """Limits of tiles.

    Attributes
    ----------
    cap : int
        Most features in a tile.
    merge_below : int
        Zoom (of Web Mercator) below which a layer with more than ``merge_above`` features is merged or thinned.
    """

    cap: int = 10_000
    merge_below: int = 13
    merge_above: int = 3_000


def _box(bounds: tuple[float, float, float, float], srid: int) -> Fragment:
    return Fragment(f"ST_MakeEnvelope(%s, %s, %s, %s, {srid})", bounds)


def _properties(source: Source) -> list[Column]:
    own = [c for c in source.properties if c.name not in _LEFT_OUT and c.kind not in ("uuid", "text[]")]
    return own[:_MAX_PROPERTIES]


def _value(column: Column) -> str:
    sql = f"{column.sql}::text" if column.kind in ("date", "datetime", "uuid") else column.sql
    return f'{sql} AS "{column.name}"'


def tile_sql(source: Source, tile: Tile, *, total: int | None, filters: tuple[Fragment, ...] = (), rules: TileRules | None = None) -> Fragment:
    """SQL of a tile of a layer; its one row has the tile's bytes.

    Parameters
    ----------
    total : int or None
        How many features the layer has for the asker, where that is known.
    filters : tuple of Fragment
        Further conditions.
    """
    rules = rules or TileRules()
    zoom = tile.z if tile.matrix_set.srid == 3857 else tile.z + 1
    crowded = zoom < rules.merge_below and (total is None or total > rules.merge_above)
    kind = source.declaration.geometry
    where = conditions([Fragment("t.geom && ") + _box(tile.bounds_in(source.srid, margin=_BUFFER / _EXTENT), source.srid), *filters])
    if crowded and "Line" in kind:
        return _features(source, tile, where, rules, thinned=True)
    if crowded:
        return _merged(source, tile, where, rules)
    return _features(source, tile, where, rules, thinned=False)


def _pixel_in_storage(source: Source, tile: Tile) -> float:
    """Width of 1/512 of the tile in units of the storage."""
    west, _, east, _ = tile.bounds_in(source.srid)
    return (east - west) / 512


def _shape(source: Source, tile: Tile) -> Fragment:
    """The geometry in tile units: simplified in storage, where that costs least, then transformed and clipped."""
    geometry = "t.geom"
    if source.declaration.geometry not in ("Point", "MultiPoint"):
        geometry = f"ST_Simplify(t.geom, {_pixel_in_storage(source, tile) / 4!r}, true)"
    moved = geometry_sql(source, tile.matrix_set.srid, column=geometry)
    if moved == geometry and source.srid != tile.matrix_set.srid:
        moved = f"ST_SetSRID({geometry}, {tile.matrix_set.srid})"
    return Fragment(f"ST_AsMVTGeom({moved}, ") + _box(tile.bounds, tile.matrix_set.srid) + f", {_EXTENT}, {_BUFFER}, true)"


def _features(source: Source, tile: Tile, where: Fragment, rules: TileRules, *, thinned: bool) -> Fragment:
    columns = ", ".join(["t.id::text AS id", *(_value(c) for c in _properties(source))])
    if thinned:
        pixel = _pixel_in_storage(source, tile)
        long_enough = f"(ST_XMax(t.geom) - ST_XMin(t.geom) > {pixel!r} OR ST_YMax(t.geom) - ST_YMin(t.geom) > {pixel!r})"
        where = where + f" AND {long_enough}"
    inner = Fragment(f"SELECT {columns}, ") + _shape(source, tile) + f" AS geom FROM {source.table} AS t" + where
    inner = inner + Fragment(" LIMIT %s::bigint", (rules.cap,))
    return Fragment(f"SELECT ST_AsMVT(m, '{source.name}', {_EXTENT}, 'geom') FROM (") + inner + ") AS m WHERE m.geom IS NOT NULL"


def _tally(source: Source) -> dict[str, str]:
    """Aggregates of a cell, by name: how many of each value of the field that the layer is coloured by, the worst, or a number's range."""
    by = source.declaration.style.by
    column = source.columns.get(by) if by else None
    if column is None:
        return {}
    name = column.name
    domain = source.declaration.field(name).domain
    if domain:
        texts = [str(term.value) for term in domain]
        hits = {text: f"count(*) FILTER (WHERE {column.sql}::text = '{text.replace(chr(39), chr(39) * 2)}')" for text in texts}
        found = {f"{name}:{text}": f"nullif({hit}, 0)" for text, hit in list(hits.items())[:12]}
        worst = sorted(texts, key=lambda text: -SEVERITY.get(text, 0))
        if SEVERITY.get(worst[0]):
            cases = " ".join(f"WHEN {hits[text]} > 0 THEN '{text.replace(chr(39), chr(39) * 2)}'" for text in worst)
            found[f"{name}:worst"] = f"CASE {cases} END"
        return {**found, name: f"mode() WITHIN GROUP (ORDER BY {column.sql})"}
    if column.kind in ("int", "num"):
        return {name: f"avg({column.sql})::float8", f"{name}:min": f"min({column.sql})::float8", f"{name}:max": f"max({column.sql})::float8"}
    return {}


def _merged(source: Source, tile: Tile, where: Fragment, rules: TileRules) -> Fragment:
    west, south, east, north = tile.bounds_in(source.srid)
    points = source.declaration.geometry in ("Point", "MultiPoint")
    clusters = points or source.declaration.geometry == "Geometry"
    cells_across = _CLUSTERS if clusters else _SQUARES
    step_x, step_y = (east - west) / cells_across, (north - south) / cells_across
    x, y = ("ST_X(t.geom)", "ST_Y(t.geom)") if source.declaration.geometry == "Point" else ("ST_XMin(t.geom)", "ST_YMin(t.geom)")
    if clusters and not points:
        x, y = "(ST_XMin(t.geom) + ST_XMax(t.geom)) / 2", "(ST_YMin(t.geom) + ST_YMax(t.geom)) / 2"
    # a layer that is not drawn by itself yet would be counted in part only
    whole = clusters and tile.z < source.declaration.style.min_zoom
    tally = _tally(source)
    names = {name: f"a{position}" for position, name in enumerate(tally)}
    pixels = f"{2 * _pixel_in_storage(source, tile)!r}"
    is_large = f"(ST_XMax(t.geom) - ST_XMin(t.geom) > {pixels} OR ST_YMax(t.geom) - ST_YMin(t.geom) > {pixels})"
    spot = f", avg({x}) AS px, avg({y}) AS py"
    middle = f"ST_SetSRID(ST_MakePoint(m.px, m.py), {source.srid})"
    if clusters:
        centre, place = spot, middle
    else:
        left, low = f"{west!r} + m.i * {step_x!r}", f"{south!r} + m.j * {step_y!r}"
        centre, place = "", f"ST_MakeEnvelope({left}, {low}, {left} + {step_x!r}, {low} + {step_y!r}, {source.srid})"
    moved = geometry_sql(source, tile.matrix_set.srid, column=place)
    if moved == place and source.srid != tile.matrix_set.srid:
        moved = f"ST_SetSRID({place}, {tile.matrix_set.srid})"
    sums = "".join(f", {sql} AS {names[name]}" for name, sql in tally.items())
    cells = Fragment(
        f"SELECT floor(({x} - {west!r}) / {step_x!r})::int AS i, floor(({y} - {south!r}) / {step_y!r})::int AS j,"
        f" count(*) AS n{centre}{sums} FROM {source.table} AS t"
    ) + where + ("" if points or whole else f" AND NOT {is_large}") + " GROUP BY 1, 2"
    if clusters:  # those beyond the edge belong to the tile beside: each feature counts in one tile
        cells = Fragment("SELECT * FROM (") + cells + f") AS every WHERE i BETWEEN 0 AND {_CLUSTERS - 1} AND j BETWEEN 0 AND {_CLUSTERS - 1}"
    shape = Fragment(f"ST_AsMVTGeom({moved}, ") + _box(tile.bounds, tile.matrix_set.srid) + f", {_EXTENT}, {_BUFFER}, true) AS geom"
    shown = "".join(f', m.{names[name]} AS "{name}"' for name in tally)
    head = f"SELECT ST_AsMVT(c, '{source.name}', {_EXTENT}, 'geom') FROM ("
    if points or whole:
        return Fragment(f"{head}SELECT m.n, true AS merged{shown}, ") + shape + " FROM (" + cells + ") AS m) AS c WHERE c.geom IS NOT NULL"
    # one layer of one name in a tile (MVT 2.1, 4.1): both kinds of rows in one statement, each with the other's columns empty
    own = [c for c in _properties(source) if c.name not in tally]
    empty = "".join(f', NULL AS "{c.name}"' for c in own)
    both = Fragment(f"{head}SELECT NULL AS id, m.n, true AS merged{empty}{shown}, ") + shape + " FROM (" + cells + ") AS m"
    filled = "".join(f", {_value(c)}" for c in own)
    by = source.declaration.style.by
    same = "".join(f', {source.columns[name].sql if name == by else "NULL"} AS "{name}"' for name in tally)
    large = Fragment(f" UNION ALL (SELECT t.id::text, 1, false{filled}{same}, ") + _shape(source, tile) + f" FROM {source.table} AS t"
    large = large + where + f" AND {is_large}" + Fragment(" LIMIT %s::bigint)", (rules.cap,))
    return both + large + ") AS c WHERE c.geom IS NOT NULL"
