"""Coverage by units of the city: grid cells, and from them communities, streets, counties, zones and urban–rural classes."""

from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from numpy.typing import NDArray

from gis.coverage import PRODUCTS, CoverageResult
from gis.coverage_sampling import along_lines, at_points
from gis.coverage_zones import by_zones

__all__ = [
    "cell_rows",
    "cover_cells",
    "merged_units",
    "owners",
    "road_cuts",
    "road_sums",
    "roll_up",
    "share_columns",
    "shares",
    "totals",
    "unit_rows",
]

Places = NDArray[Any]

#: Names of the densities, coarsest first, as the fields of the layer have them.
_LEVELS = ("overview", "outline", "discern")


def cover_cells(
    result: CoverageResult,
    cells: gpd.GeoDataFrame,
    *,
    closed: Places,
    roads: gpd.GeoDataFrame,
    crossings: Places,
    cameras: gpd.GeoDataFrame,
) -> pd.DataFrame:
    """Sums of each grid cell: square metres, metres and counts, seen and in all.

    Parameters
    ----------
    result : CoverageResult
    cells : GeoDataFrame
        Polygons that do not overlap, in the analysis system.
    closed : array of polygons
        Buildings and water: not public space.
    roads : GeoDataFrame of lines
    crossings : array of points
    cameras : GeoDataFrame of points with ``net_status``

    Returns
    -------
    DataFrame
        One row a cell, in the order of ``cells``: ``area_m2``, ``public_m2``, ``m2_<product>_<n>``, ``road_m``, ``road_<product>``,
        ``crossings``, ``crossings_confirmed``, ``cameras``, ``cameras_online``.
    """
    shapes = cells.geometry.to_numpy()
    zones = by_zones(result, shapes, without=closed)
    sums = pd.DataFrame({"area_m2": shapely.area(shapes), "public_m2": zones.open_m2})
    for p, product in enumerate(PRODUCTS):
        for d in range(len(result.densities_px_m)):
            sums[f"m2_{product}_{d}"] = zones.covered_m2[:, p, d]
    tree = shapely.STRtree(shapes)
    pieces, cell = road_cuts(shapes, tree, roads.geometry.to_numpy())
    for name, metres in road_sums(result, pieces, cell, len(shapes)).items():
        sums[name] = metres
    which, owner = owners(tree, crossings)
    places = crossings[which]
    seen = at_points(result, shapely.get_x(places), shapely.get_y(places)).counts
    _add(sums, "crossings", owner, np.ones(len(owner)))
    _add(sums, "crossings_confirmed", owner, seen[:, PRODUCTS.index("confirmed_online"), 0] > 0)
    site, owner = owners(tree, cameras.geometry.to_numpy())
    _add(sums, "cameras", owner, np.ones(len(owner)))
    _add(sums, "cameras_online", owner, (cameras["net_status"] == "on").to_numpy()[site])
    return sums


def owners(tree: shapely.STRtree, points: Places) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which points lie in a cell, and in which; a point on an edge belongs to the first of its cells."""
    which, cell = tree.query(points, predicate="intersects")
    order = np.lexsort((cell, which))
    which, first = np.unique(which[order], return_index=True)
    return which, cell[order][first]


def _add(sums: pd.DataFrame, name: str, owner: Places, values: Places) -> None:
    sums[name] = np.bincount(owner, weights=np.asarray(values, dtype=float), minlength=len(sums))


def road_cuts(shapes: Places, tree: shapely.STRtree, lines: Places) -> tuple[Places, NDArray[np.int64]]:
    """Roads cut by cells (with their tree): pieces, and the cell of each."""
    road, cell = tree.query(lines, predicate="intersects")
    pieces = shapely.intersection(lines[road], shapes[cell])
    keep = shapely.length(pieces) > 0
    pieces, cell = pieces[keep], cell[keep]
    linear = np.isin(shapely.get_type_id(pieces), (1, 5))
    return pieces[linear], cell[linear]


def road_sums(
    result: CoverageResult, pieces: Places, cell: NDArray[np.int64], cells: int
) -> dict[str, NDArray[np.float64]]:
    """Metres of pieces of road in each of a number of cells, in all and seen; pieces of a cell add up in their order."""
    seen = along_lines(result, pieces, step_m=max(2.0, result.cell_m))
    values = {
        "road_m": seen.length_m,
        "road_confirmed": seen.covered_m[:, PRODUCTS.index("confirmed_online"), 0],
        "road_possible": seen.covered_m[:, PRODUCTS.index("possible_online"), 0],
    }
    return {name: np.bincount(cell, weights=metres, minlength=cells) for name, metres in values.items()}


def shares(sums: pd.DataFrame, densities: int) -> pd.DataFrame:
    """Fields of layer ``coverage_by_grid`` from sums; a share of nothing is unknown, not zero."""
    have = {str(name): sums[name].to_numpy(dtype=float) for name in sums.columns}
    return pd.DataFrame(share_columns(have, densities), index=sums.index)


def share_columns(have: dict[str, NDArray[np.float64]], densities: int) -> dict[str, NDArray[Any]]:
    """`shares` of columns."""
    out: dict[str, NDArray[Any]] = {}
    with np.errstate(all="ignore"):
        for d, level in zip(range(densities), _LEVELS, strict=False):
            out[f"confirmed_{level}"] = have[f"m2_confirmed_installed_{d}"] / have["public_m2"]
            out[f"possible_{level}"] = have[f"m2_possible_installed_{d}"] / have["public_m2"]
            out[f"online_{level}"] = have[f"m2_confirmed_online_{d}"] / have["public_m2"]
        out["road_confirmed"] = have["road_confirmed"] / have["road_m"]
        out["road_possible"] = have["road_possible"] / have["road_m"]
    out = {name: np.where(np.isfinite(values), values, np.nan) for name, values in out.items()}
    out |= {name: have[name] for name in ("area_m2", "public_m2", "road_m")}
    out |= {
        name: have[name].astype("int64") for name in ("crossings", "crossings_confirmed", "cameras", "cameras_online")
    }
    return out


def roll_up(
    sums: pd.DataFrame,
    cells: gpd.GeoDataFrame,
    *,
    densities: int,
    units: dict[str, tuple[pd.Series, gpd.GeoDataFrame | None]],
) -> gpd.GeoDataFrame:
    """Rows of layer ``coverage_by_grid``: one for each cell, then one for each larger unit.

    Parameters
    ----------
    sums : DataFrame
        From `cover_cells`.
    cells : GeoDataFrame
        The same cells, with ``id``, ``grid_code``, ``admin_code``, ``urban_rural``, ``name_zh``.
    densities : int
        Number of densities of the result.
    units : dict
        ``unit_kind`` → the unit's key of each cell (missing where it belongs to none) and the units' own frame (columns ``key``,
        ``name_zh``, ``geom``), or None to merge the cells' outlines.
    """
    single = cell_rows(sums, cells, densities=densities)
    frames = [single]
    for kind, (key, frame) in units.items():
        part = unit_rows(sums, cells, kind, key, frame, densities=densities)
        if part is not None:
            frames.append(part)
    out = pd.concat(frames, ignore_index=True)
    return gpd.GeoDataFrame(out.dropna(axis=1, how="all"), geometry="geom", crs=cells.crs)


def cell_rows(sums: pd.DataFrame, cells: gpd.GeoDataFrame, *, densities: int) -> gpd.GeoDataFrame:
    """Rows of `roll_up` for single cells, in their order."""
    single = gpd.GeoDataFrame(
        shares(sums, densities), geometry=cells.geometry.to_numpy(), crs=cells.crs
    ).rename_geometry("geom")
    single["unit_kind"] = "grid"
    for target, source in (
        ("grid_id", "id"),
        ("grid_code", "grid_code"),
        ("admin_code", "admin_code"),
        ("urban_rural", "urban_rural"),
        ("name_zh", "name_zh"),
    ):
        single[target] = cells[source].to_numpy()
    return single


def unit_rows(
    sums: pd.DataFrame,
    cells: gpd.GeoDataFrame,
    kind: str,
    key: pd.Series,
    frame: gpd.GeoDataFrame | None,
    *,
    densities: int,
) -> gpd.GeoDataFrame | None:
    """Rows of `roll_up` for one kind of unit, None where no cell belongs to any."""
    total = totals(sums, key)
    if total.empty:
        return None
    part = shares(total, densities)
    part["unit_kind"] = kind
    if frame is None:
        frame = merged_units(cells, key)
    known = frame.drop_duplicates("key").set_index("key").reindex(part.index)
    places = known["geom"].to_numpy()
    part["name_zh"] = known["name_zh"].to_numpy()
    part["admin_code"] = part.index if kind in ("community", "street", "county") else None
    part["urban_rural"] = part.index if kind == "urban_rural" else None
    kept = ~pd.isna(places)
    return gpd.GeoDataFrame(part[kept], geometry=places[kept], crs=cells.crs).rename_geometry("geom")


def totals(sums: pd.DataFrame, key: pd.Series) -> pd.DataFrame:
    """Sums by key, added up in the order of the cells: to the bit the same whatever other keys there are."""
    codes, labels = pd.factorize(key.to_numpy(), sort=True)
    known = codes >= 0
    columns = {
        name: np.bincount(codes[known], weights=values[known], minlength=len(labels))
        for name, values in zip(sums.columns, sums.to_numpy(dtype=float).T, strict=True)
    }
    return pd.DataFrame(columns, index=pd.Index(labels))


def merged_units(cells: gpd.GeoDataFrame, key: pd.Series) -> gpd.GeoDataFrame:
    """Units without outlines of their own: those of their cells, merged; they are called by their key."""
    shapes = (
        gpd.GeoSeries(cells.geometry.to_numpy()).groupby(key.to_numpy()).agg(lambda s: shapely.union_all(s.to_numpy()))
    )
    names = {"key": shapes.index.to_numpy(), "name_zh": shapes.index.to_numpy()}
    return gpd.GeoDataFrame(names, geometry=shapes.to_numpy(), crs=cells.crs).rename_geometry("geom")
