"""An extract as one table a layer, ready for the loader."""

from collections import defaultdict
from typing import Any

import geopandas as gpd
import numpy as np
import shapely

from data.osm.cameras import camera_row
from data.osm.notes import Notes
from data.osm.places import AREA_ROWS, LINE_ROWS, POINT_ROWS, RowMaker
from data.osm.reader import Extract, OsmObject
from data.osm.rivers import bank_lines, river_axes, water_of
from data.osm.schools import school_row
from gis.crs import SourceCRS, transform_geometries
from gis.settings import CityConfig

__all__ = ["LAYERS", "SOURCE_ORG", "layer_frames"]

#: Attribution that the Open Database Licence asks for; kept with every row.
SOURCE_ORG = "OpenStreetMap contributors"
#: Layers that an extract can fill, in the order in which they are loaded.
LAYERS = (
    "admin_area", "community", "water", "waterway", "river_axis", "riverbank", "land_use", "building", "road", "railway", "crossing",
    "school", "medical_site", "key_area", "pollution_source", "place", "pole", "camera_site",
)  # fmt: skip
#: Layers of points that areas fill with a point inside them.
_POINT_LAYERS = frozenset({"pollution_source", "medical_site"})
_WGS84 = SourceCRS("4326")

Row = dict[str, Any]


def _names(tags: dict[str, str]) -> Row:
    if tags.get("amenity") == "doctors":  # often a person's name
        return {"name_zh": None, "name_en": None}
    chinese = tags.get("name:zh-Hans") or tags.get("name:zh") or tags.get("name")
    return {"name_zh": (chinese or "")[:200] or None, "name_en": (tags.get("name:en") or "")[:200] or None}


def _row(thing: OsmObject, fields: Row) -> Row:
    return {
        **_names(thing.tags),
        "source_org": SOURCE_ORG,
        "source_ref": thing.ref,
        "geometry": thing.geometry,
        **fields,
    }


def _collect(things: list[OsmObject], makers: dict[str, RowMaker], rows: dict[str, list[Row]], notes: Notes) -> None:
    for thing in things:
        for layer, make in makers.items():
            fields = make(thing.tags, notes)
            if fields is not None:
                rows[layer].append(_row(thing, fields))


def _piers(extract: Extract, notes: Notes) -> list[Row]:
    """Piers and quays drawn as open lines."""
    rows = []
    for thing in extract.lines:
        if thing.tags.get("man_made") in ("pier", "quay") and not thing.geometry.is_closed:
            fields = POINT_ROWS["key_area"](thing.tags, notes)
            if fields is not None:
                rows.append(_row(thing, fields))
    return rows


def _rivers(extract: Extract, city: CityConfig) -> tuple[list[Row], list[Row]]:
    axes = river_axes(extract)
    if not axes:
        return [], []
    surfaces = [
        thing
        for thing in extract.areas
        if thing.tags.get("water") in ("river", "canal") or thing.tags.get("waterway") == "riverbank"
    ]
    metric = SourceCRS(str(city.analysis_srid))
    axis_rows, bank_rows = [], []
    for axis in axes:
        reach = axis.ref.replace("osm:", "osm-").replace("/", "-")
        names = _names(axis.tags)
        axis_rows.append({
            **names, "source_org": SOURCE_ORG, "source_ref": axis.ref, "geometry": axis.line, "reach_code": reach, "axis_version": 1,
            "is_main_stem": bool({axis.tags.get("name"), axis.tags.get("name:zh"), names["name_en"]} & ({city.river_zh, city.river_en} - {""})),
        })  # fmt: skip
        water = [thing.geometry for thing in water_of(axis, surfaces)]
        if not water:
            continue
        line_m = transform_geometries(np.array([axis.line], dtype=object), _WGS84, city.analysis_srid)[0]
        water_m = shapely.union_all(transform_geometries(np.array(water, dtype=object), _WGS84, city.analysis_srid))
        banks = bank_lines(line_m, water_m)
        lines = transform_geometries(np.array([bank.line for bank in banks], dtype=object), metric, 4326)
        for number, (bank, line) in enumerate(zip(banks, lines, strict=True), start=1):
            bank_rows.append({
                **names, "source_org": SOURCE_ORG, "source_ref": f"{axis.ref}#bank-{bank.side}-{number}", "geometry": line,
                "reach_code": reach, "bank_side": bank.side, "start_m": bank.start_m, "end_m": bank.end_m,
            })  # fmt: skip
    return axis_rows, bank_rows


def layer_frames(extract: Extract, city: CityConfig, notes: Notes) -> dict[str, gpd.GeoDataFrame]:
    """One GeoDataFrame a layer (EPSG:4326), columns named as the layer's fields; layers without a row are left out.

    Parameters
    ----------
    extract : Extract
        From `data.osm.reader.read_extract`.
    city : CityConfig
        Gives the system in which banks are measured, and the names of the main river.
    notes : Notes
        Receives what was not understood.
    """
    rows: dict[str, list[Row]] = defaultdict(list)
    _collect(extract.points, POINT_ROWS, rows, notes)
    _collect(extract.lines, LINE_ROWS, rows, notes)
    areas: dict[str, list[Row]] = defaultdict(list)
    _collect(extract.areas, AREA_ROWS, areas, notes)
    for layer, found in areas.items():
        if layer in _POINT_LAYERS:
            for row in found:
                row["geometry"] = shapely.point_on_surface(row["geometry"])
        rows[layer] += found
    rows["key_area"] += _piers(extract, notes)
    rows["river_axis"], rows["riverbank"] = _rivers(extract, city)
    for thing in (*extract.points, *extract.areas):
        school = school_row(thing, extract.gates, notes)
        if school is not None:
            rows["school"].append(_row(thing, school))
    for thing in extract.points:
        camera = camera_row(thing.tags, notes)
        if camera is not None:
            rows["camera_site"].append(_row(thing, camera))
    frames = {}
    for layer in LAYERS:
        if rows[layer]:
            frame = gpd.GeoDataFrame(rows[layer], geometry="geometry", crs="EPSG:4326")
            frames[layer] = frame
    if extract.relations_incomplete:
        notes.skipped["*", "multipolygon or boundary cut by the edge of the extract"] += extract.relations_incomplete
    if extract.areas_cut:
        notes.skipped["*", "area with missing nodes"] += extract.areas_cut
    if extract.lines_cut:
        notes.remarks["*", "line kept in part: nodes are missing"] += extract.lines_cut
    parts = sum("building:part" in thing.tags for thing in extract.areas)
    if parts:
        notes.skipped["building", "building:part (the outline counts)"] += parts
    return frames
