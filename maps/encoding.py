"""Features packed for a page that carries its own data: quantised, simplified, thinned to a budget with honest counts.

Coordinates are written as Google's encoded polylines (differences of quantised values, five bits a character), about a fifth of
the same GeoJSON. Columns are written once per layer, repeated values by index.
"""

import datetime as dt
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely

from gis.errors import CRSMismatch
from layers.access import visible_fields
from layers.declaration import FieldDeclaration, LayerDeclaration, Role
from maps.style import class_of, families, leaflet_path, style_classes

__all__ = ["Packed", "encode_parts", "pack_layer"]

#: Quantum of coordinates in degrees: about 0.1 m for places, 1 m for background.
FINE_DEG, COARSE_DEG = 1e-6, 1e-5
_METRE_DEG = 1 / 111_320.0
#: Layers whose polygons share their edges: simplified together, so that no gaps open between neighbours.
_COVERAGES = {"admin_area": "level", "community": None, "grid_cell": "grid_kind", "coverage_by_grid": "unit_kind"}
#: Roads of these classes are drawn from these zooms.
_ROAD_ZOOM = {
    "motorway": 0, "trunk": 0, "primary": 10, "secondary": 12, "tertiary": 13, "residential": 14, "pedestrian": 14, "track": 14,
    "other": 15, "service": 15, "path": 16,
}  # fmt: skip
_UNSHOWN = {"src_crs", "geom_repaired", "run_id", "synthetic", "classification"}
_MAX_TEXT = 200


@dataclass(frozen=True, slots=True)
class Packed:
    """A layer ready for a page.

    Attributes
    ----------
    data : dict
        What the page's script reads.
    total, shown : int
        Features of the layer, and features that the page carries.
    size_bytes : int
        Length of ``data`` as JSON.
    """

    name: str
    data: dict[str, Any] = field(repr=False)
    total: int = 0
    shown: int = 0
    size_bytes: int = 0
    tolerance_m: float = 0.0


def encode_parts(parts: Sequence[np.ndarray[Any, Any]], quantum: float) -> list[str]:
    """Encode coordinate arrays of shape (n, 2), each on its own from the origin (0, 0).

    Parameters
    ----------
    parts : sequence of ndarray
        x, y columns in units of ``quantum`` times an integer after rounding.

    Examples
    --------
    >>> encode_parts([np.array([[-120.2, 38.5]])], 1e-5)
    ['~ps|U_p~iF']
    """
    if not parts:
        return []
    lengths = np.array([len(part) for part in parts])
    whole = np.rint(np.concatenate(parts)[:, :2] / quantum).astype(np.int64)
    step = np.diff(whole, axis=0, prepend=np.zeros((1, 2), dtype=np.int64))
    first = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    step[first] = whole[first]
    flat = step.reshape(-1)
    zigzag = np.where(flat < 0, ~(flat << 1), flat << 1)
    shifts = 5 * np.arange(8)
    chunks = (zigzag[:, None] >> shifts) & 0x1F
    count = np.maximum(1, (chunks != 0).astype(np.int8).cumsum(axis=1).argmax(axis=1) + 1)
    present = np.arange(8)[None, :] < count[:, None]
    more = np.arange(8)[None, :] < (count - 1)[:, None]
    text = (chunks + np.where(more, 0x20, 0) + 63).astype(np.uint8)[present].tobytes().decode("ascii")
    ends = np.cumsum(count)[2 * np.cumsum(lengths) - 1]
    starts = np.concatenate([[0], ends[:-1]])
    return [text[a:b] for a, b in zip(starts, ends, strict=True)]


def _simplified(layer: LayerDeclaration, frame: gpd.GeoDataFrame, tolerance_m: float) -> np.ndarray[Any, Any]:
    shapes: np.ndarray[Any, Any] = frame.geometry.to_numpy()
    if tolerance_m <= 0 or families(layer) == ("point",):
        return shapes
    tolerance = tolerance_m * _METRE_DEG
    if layer.name not in _COVERAGES:
        return np.asarray(shapely.simplify(shapes, tolerance, preserve_topology=True))
    by = _COVERAGES[layer.name]
    groups = frame[by].astype(str).to_numpy() if by in frame else np.full(len(frame), "")
    out = shapes.copy()
    for group in np.unique(groups):
        rows = np.flatnonzero(groups == group)
        out[rows] = shapely.coverage_simplify(shapes[rows], tolerance)
    return out


def _rings(polygon: Any) -> list[np.ndarray[Any, Any]]:
    return [shapely.get_coordinates(ring)[:-1] for ring in shapely.get_rings(polygon)]


def _geometry(shapes: np.ndarray[Any, Any], quantum: float) -> tuple[list[int], list[Any]]:
    """Kind (0 point, 1 line, 2 polygon) and encoded parts of each shape; polygons as lists of rings."""
    kinds: list[int] = []
    plan: list[list[int]] = []
    parts: list[np.ndarray[Any, Any]] = []
    for shape in shapes:
        singles = shapely.get_parts(shape) if shapely.get_type_id(shape) >= 4 else [shape]
        kind = {0: 0, 1: 1, 2: 1, 3: 2}.get(int(shapely.get_type_id(singles[0])), 0) if len(singles) else 0
        counts = []
        for single in singles:
            found = _rings(single) if kind == 2 else [shapely.get_coordinates(single)]
            found = [part for part in found if len(part)]
            counts.append(len(found))
            parts.extend(found)
        kinds.append(kind)
        plan.append(counts)
    texts = iter(encode_parts(parts, quantum))
    coded: list[Any] = []
    for kind, counts in zip(kinds, plan, strict=True):
        pieces = [[next(texts) for _ in range(count)] for count in counts]
        coded.append(pieces if kind == 2 else [text for piece in pieces for text in piece])
    return kinds, coded


def _cell(value: Any, given: FieldDeclaration) -> Any:
    if value is None or value is pd.NaT or (isinstance(value, float) and math.isnan(value)) or value is pd.NA:
        return None
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, (dt.datetime, dt.date)):
        return value.isoformat()[:16].replace("T", " ")
    if isinstance(value, bool):
        return "true" if value else "false"
    if given.type == "num":
        return float(f"{float(value):.6g}")
    if given.type == "int":
        return int(value)
    if isinstance(value, (list, tuple, np.ndarray)):
        return ", ".join(str(part) for part in value)[:_MAX_TEXT] or None
    return str(int(value) if isinstance(value, float) and value.is_integer() else value)[:_MAX_TEXT]


def _column(values: Sequence[Any]) -> dict[str, Any]:
    """A column as plain values, or as a dictionary and indices where values repeat."""
    known: dict[Any, int] = {}
    index = [-1 if value is None else known.setdefault(value, len(known)) for value in values]
    if len(known) * 2 > len(values) + 4:
        return {"v": list(values)}
    return {"d": list(known), "i": index}


def _shown_fields(layer: LayerDeclaration, frame: gpd.GeoDataFrame, role: Role, names: Sequence[str] | None) -> list[FieldDeclaration]:
    wanted = [f for f in layer.all_fields if f.name in frame and f.type not in ("geometry", "uuid", "ref")]
    if names is not None:
        wanted = [f for f in wanted if f.name in names]
    seen = set(visible_fields(layer, role))
    return [f for f in wanted if f.name not in _UNSHOWN and f.name in seen and frame[f.name].notna().any()]


def _detail_zoom(layer: LayerDeclaration, frame: gpd.GeoDataFrame) -> list[int]:
    lowest = layer.style.min_zoom
    if layer.name == "road" and "road_class" in frame:
        return [max(lowest, _ROAD_ZOOM.get(str(c), 15)) for c in frame["road_class"]]
    return [lowest] * len(frame)


def _importance(layer: LayerDeclaration, frame: gpd.GeoDataFrame) -> np.ndarray[Any, Any]:
    """Larger is kept first when a layer does not fit: ranked results by rank, the rest by extent (points evenly)."""
    if "rank" in frame and frame["rank"].notna().any():
        return np.asarray(-frame["rank"].fillna(np.inf).to_numpy(dtype=float))
    if families(layer) == ("point",):
        # A fixed shuffle thins evenly over the city and does not depend on the order of the rows.
        return np.random.default_rng(0).random(len(frame))
    if layer.name == "road" and "road_class" in frame:
        return -np.array(_detail_zoom(layer, frame), dtype=float)
    shapes = frame.geometry.to_numpy()
    return np.asarray(shapely.area(shapes)) + np.asarray(shapely.length(shapes)) * 1e-3


def _packed(layer: LayerDeclaration, frame: gpd.GeoDataFrame, tolerance_m: float, role: Role, names: Sequence[str] | None,
            total: int) -> Packed:  # fmt: skip
    quantum = COARSE_DEG if layer.kind == "base" else FINE_DEG
    shapes = _simplified(layer, frame, tolerance_m)
    kept = ~(shapely.is_missing(shapes) | shapely.is_empty(shapes))
    frame, shapes = frame.loc[kept], shapes[kept]
    kinds, coded = _geometry(shapes, quantum)
    classes, style = style_classes(layer), layer.style
    by = frame[style.by].tolist() if style.by and style.by in frame else [None] * len(frame)
    fields = _shown_fields(layer, frame, role, names)
    point_only = set(kinds) <= {0} and all(len(parts) == 1 for parts in coded)
    anchors = None
    if style.label and style.label in frame and 2 in kinds:
        # Where the name of an area stands; inside it, which the middle of its box need not be.
        at = shapely.get_coordinates(shapely.point_on_surface(shapes))
        anchors = encode_parts(list(at[:, None, :]), quantum)
    data: dict[str, Any] = {
        "name": layer.name,
        "zh": layer.title_zh,
        "en": layer.title_en,
        "about": [layer.description_zh, layer.description_en],
        "theme": layer.theme,
        "kind": layer.kind,
        "internal": layer.classification != "public",
        "visible": style.visible,
        "label": style.label if style.label and style.label in frame else None,
        "anchors": anchors,
        "title": layer.label,
        "size": style.size,
        "quantum": quantum,
        "total": total,
        "classes": [
            {
                "key": c.key, "zh": c.title_zh, "en": c.title_en, "color": c.color,
                "paths": [leaflet_path(layer, c, kind) for kind in ("Point", "LineString", "Polygon")],
            }
            for c in classes
        ],
        "cls": [class_of(classes, value) for value in by],
        "zoom": _column(_detail_zoom(layer, frame)),
        "geometry": {"p": [parts[0] for parts in coded]} if point_only else {"k": kinds, "g": coded},
        "fields": [
            {
                "name": f.name, "zh": f.title_zh, "en": f.title_en, "unit": f.unit,
                "terms": _terms(f),
                "chainage": f.unit == "m" and (f.name.startswith("chainage") or f.name in ("start_m", "end_m")),
                "share": f.type == "num" and not f.unit and f.minimum == 0 and f.maximum == 1,
            }
            for f in fields
        ],
        "columns": [_column([_cell(value, f) for value in frame[f.name].tolist()]) for f in fields],
    }
    size = len(json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode())
    return Packed(layer.name, data, total, len(frame), size, tolerance_m)


def _terms(given: FieldDeclaration) -> Mapping[str, list[str]] | None:
    if given.type == "bool":
        return {"true": ["是", "Yes"], "false": ["否", "No"]}
    return {str(term.value): [term.zh, term.en] for term in given.domain} or None


def pack_layer(
    layer: LayerDeclaration,
    frame: gpd.GeoDataFrame,
    *,
    budget_bytes: int = 2_000_000,
    tolerance_m: float = 0.0,
    role: Role = "planner",
    names: Sequence[str] | None = None,
) -> Packed:
    """Pack a layer's features into at most about ``budget_bytes``.

    Where they do not fit, lines and areas are simplified (tolerance doubled up to 20 m), then features are left out: the lowest rank,
    the minor road, the smallest area first; points evenly. The page says how many of how many it shows.

    Parameters
    ----------
    frame : GeoDataFrame
        Columns named like the layer's fields; any CRS known to pyproj (transformed to longitude and latitude).
    tolerance_m : float
        Tolerance of simplification to begin with, in metres.
    role : Role
        Columns hidden from this role are left out.
    names : sequence of str, optional
        Only these fields in the popups.

    Raises
    ------
    CRSMismatch
        The frame has no reference system.
    """
    if frame.crs is None:
        raise CRSMismatch(f"Layer {layer.name!r} came without a reference system.", zh=f"图层 {layer.name!r} 没有坐标系。")
    if not frame.crs.is_geographic:
        frame = frame.to_crs(4490)
    total = len(frame)
    packed = _packed(layer, frame, tolerance_m, role, names, total)
    has_shape = families(layer) != ("point",)
    while packed.size_bytes > budget_bytes and has_shape and packed.tolerance_m < 20:
        packed = _packed(layer, frame, max(2.0, packed.tolerance_m * 2), role, names, total)
    if packed.size_bytes <= budget_bytes:
        return packed
    order = np.argsort(-_importance(layer, frame), kind="stable")
    keep = len(frame)
    while packed.size_bytes > budget_bytes and keep > 1:
        keep = max(1, int(keep * min(0.95, budget_bytes / packed.size_bytes * 0.98)))
        packed = _packed(layer, frame.iloc[np.sort(order[:keep])], packed.tolerance_m, role, names, total)
    return packed
