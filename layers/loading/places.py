"""Positions of rows: from what a file holds to what a layer stores, in its system and of its type, or the reason why not."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import shapely
from numpy.typing import NDArray

from gis.crs import SourceCRS, transform_coordinates, transform_geometries, transformer
from layers.loading.arrays import Mask, mask_array

__all__ = ["Frame", "Placed", "Points", "Shapes", "place", "read_wkb"]

Floats = NDArray[np.float64]
Objects = NDArray[np.object_]

#: Single type, multi type (shapely's type ids) of each family.
_FAMILIES = {"Point": (0, 4), "LineString": (1, 5), "Polygon": (3, 6)}
_COLLECTION = 7
_NAMES = dict(
    enumerate(
        (
            "Point",
            "LineString",
            "LinearRing",
            "Polygon",
            "MultiPoint",
            "MultiLineString",
            "MultiPolygon",
            "GeometryCollection",
        )
    )
)


@dataclass
class Points:
    """Positions as coordinates: NaN in both where there is none. ``bad`` marks rows whose position could not be read, by reason."""

    x: Floats
    y: Floats
    bad: dict[str, Mask] = field(default_factory=dict)
    dropped_z: int = 0

    def __len__(self) -> int:
        return len(self.x)

    def take(self, keep: Mask) -> "Points":
        """The rows of a mask."""
        return Points(self.x[keep], self.y[keep])


@dataclass
class Shapes:
    """Positions as shapely geometries; None where there is none."""

    shapes: Objects
    bad: dict[str, Mask] = field(default_factory=dict)
    dropped_z: int = 0

    def __len__(self) -> int:
        return len(self.shapes)

    def take(self, keep: Mask) -> "Shapes":
        """The rows of a mask."""
        return Shapes(self.shapes[keep])


@dataclass(frozen=True)
class Frame:
    """Where places come from and where they go.

    Attributes
    ----------
    source : SourceCRS
        System of the file.
    srid : int
        EPSG code of the layer.
    kind : str
        Geometry type of the layer's column.
    bounds : tuple of float, optional
        West, south, east, north of the city in the layer's system; None for no check.
    swap_xy : bool
        The file has its axes the other way round.
    measure_srid : int
        System in which a missing measure along a line is computed, in metres.
    """

    source: SourceCRS
    srid: int
    kind: str
    bounds: tuple[float, float, float, float] | None
    swap_xy: bool = False
    allow_outside: bool = False
    measure_srid: int = 4546


@dataclass
class Placed:
    """Stored forms of places.

    Attributes
    ----------
    ewkb : pyarrow.Array
        EWKB with SRID, null where the row has no usable place.
    bad : dict
        Mask of rows for each reason code.
    detail : dict
        Further words for some rows, by index.
    """

    ewkb: pa.Array
    bad: dict[str, Mask]
    detail: dict[int, str] = field(default_factory=dict)
    repaired: Mask = field(default_factory=lambda: np.zeros(0, dtype=bool))
    dropped_z: int = 0
    promoted: int = 0
    measured: int = 0
    suspect_swapped: int = 0

    @property
    def any_bad(self) -> Mask:
        """Rows without a usable place."""
        out = np.zeros(len(self.ewkb), dtype=bool)
        for mask in self.bad.values():
            out |= mask
        return out


def read_wkb(array: pa.Array) -> Points | Shapes:
    """Positions from a column of WKB; plain points are read straight from the bytes.

    Parameters
    ----------
    array : pyarrow.Array
        Binary or large binary.
    """
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    if pa.types.is_null(array.type):
        nothing = np.full(len(array), np.nan)
        return Points(nothing, nothing.copy())
    if array.null_count == 0 and len(array):
        quick = _plain_points(array)
        if quick is not None:
            return quick
    raw = np.array(array.to_pylist(), dtype=object)
    shapes = _shapes(raw)
    unread = np.array([value is not None for value in raw], dtype=bool) & shapely.is_missing(shapes)
    out = Shapes(shapes)
    if unread.any():
        out.bad["bad_geometry"] = unread
    return out


def _shapes(raw: Objects) -> Objects:
    """What WKB says; None where it is none, or a curve, which GEOS does not know."""
    with np.errstate(invalid="ignore"):  # of NaN
        try:
            return np.asarray(shapely.from_wkb(raw, on_invalid="ignore"), dtype=object)
        except NotImplementedError:  # one curve ends the reading of all: once more, one by one
            out = np.full(len(raw), None, dtype=object)
            for number, value in enumerate(raw):
                with suppress(NotImplementedError):
                    out[number] = shapely.from_wkb(value, on_invalid="ignore")
            return out


def _plain_points(array: pa.Array) -> Points | None:
    """Coordinates of a column that holds little-endian points of one kind only; None otherwise."""
    wide = pa.types.is_large_binary(array.type)
    offsets = np.frombuffer(array.buffers()[1], dtype=np.int64 if wide else np.int32)[
        array.offset : array.offset + len(array) + 1
    ]
    sizes = np.diff(offsets)
    if sizes.min() != sizes.max() or sizes[0] not in (21, 29):
        return None
    size = int(sizes[0])
    data = np.frombuffer(array.buffers()[2], dtype=np.uint8)[int(offsets[0]) : int(offsets[-1])].reshape(-1, size)
    kinds = np.ascontiguousarray(data[:, 1:5]).view("<u4")[:, 0]
    wanted = (1,) if size == 21 else (1001, 0x80000001)
    if not (data[:, 0] == 1).all() or not np.isin(kinds, wanted).all():
        return None
    xy = np.ascontiguousarray(data[:, 5:21]).view("<f8").astype(np.float64)
    x, y = np.ascontiguousarray(xy[:, 0]), np.ascontiguousarray(xy[:, 1])
    return Points(x, y, dropped_z=len(x) if size == 29 else 0)


def _points_ewkb(x: Floats, y: Floats, srid: int, missing: Mask) -> pa.Array:
    block = np.empty((len(x), 25), dtype=np.uint8)
    block[:, 0] = 1
    block[:, 1:5] = np.frombuffer(np.uint32(0x20000001).astype("<u4").tobytes(), dtype=np.uint8)
    block[:, 5:9] = np.frombuffer(np.uint32(srid).astype("<u4").tobytes(), dtype=np.uint8)
    block[:, 9:17] = x.astype("<f8").view(np.uint8).reshape(-1, 8)
    block[:, 17:25] = y.astype("<f8").view(np.uint8).reshape(-1, 8)
    valid = mask_array(~missing).buffers()[1] if missing.any() else None
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(25), len(x), [valid, pa.py_buffer(block)])


def place(places: Points | Shapes, frame: Frame) -> Placed:
    """Bring places into a layer's system and type, repair what can be repaired, and name what is wrong with the others."""
    with np.errstate(all="ignore"):  # wild coordinates overflow on their way to being refused
        return _place(places, frame)


def _place(places: Points | Shapes, frame: Frame) -> Placed:
    if isinstance(places, Points):
        if frame.kind in ("Point", "Geometry"):
            return _place_points(places, frame)
        present = np.isfinite(places.x) & np.isfinite(places.y)
        shapes = np.full(len(places), None, dtype=object)
        shapes[present] = shapely.points(places.x[present], places.y[present])
        bad = dict(places.bad)
        half = ~present & ~(np.isnan(places.x) & np.isnan(places.y))
        if half.any():
            bad["not_finite_position"] = half
        places = Shapes(shapes, bad, places.dropped_z)
    return _place_shapes(places, frame)


def _in_bounds(
    bounds: tuple[float, float, float, float], west: Floats, south: Floats, east: Floats, north: Floats
) -> Mask:
    return (east >= bounds[0]) & (west <= bounds[2]) & (north >= bounds[1]) & (south <= bounds[3])


def _judge(boxes: Floats, moved: Floats, frame: Frame, bad: dict[str, Mask], checked: Mask) -> int:
    """Mark rows whose box (n, 4) is swapped, projected, untransformable or outside; returns how many look swapped but may be outside."""
    suspects = 0
    transformable = np.isfinite(moved).all(axis=1)
    inside = transformable.copy()
    if frame.bounds is not None:
        inside &= _in_bounds(frame.bounds, *(moved[:, i] for i in range(4)))
    wrong = checked & ~inside
    if not wrong.any():
        return 0
    swapped = np.zeros(len(boxes), dtype=bool)
    if frame.bounds is not None:
        some = boxes[wrong]
        west, south = transform_coordinates(some[:, 1], some[:, 0], frame.source, frame.srid)
        east, north = transform_coordinates(some[:, 3], some[:, 2], frame.source, frame.srid)
        swapped[wrong] = _in_bounds(frame.bounds, west, south, east, north)
    degrees = np.abs(boxes)
    metres = (
        wrong
        & ~swapped
        & frame.source.is_geographic
        & ((degrees[:, [0, 2]] > 180).any(axis=1) | (degrees[:, [1, 3]] > 90).any(axis=1))
    )
    lost = wrong & ~swapped & ~metres & ~transformable
    outside = wrong & ~swapped & ~metres & ~lost
    if frame.allow_outside:
        impossible = swapped & ~(transformable & ~((degrees[:, [1, 3]] > 90).any(axis=1) & frame.source.is_geographic))
        suspects = int((swapped & ~impossible).sum())
        swapped, outside = impossible, np.zeros_like(outside)
    for code, mask in (("swapped", swapped), ("projected", metres), ("not_transformable", lost), ("outside", outside)):
        if mask.any():
            bad[code] = mask
    return suspects


def _place_points(places: Points, frame: Frame) -> Placed:
    x, y = (places.y, places.x) if frame.swap_xy else (places.x, places.y)
    bad = dict(places.bad)
    unread = np.zeros(len(x), dtype=bool)
    for mask in bad.values():
        unread |= mask
    missing = np.isnan(x) & np.isnan(y) & ~unread
    broken = ~(np.isfinite(x) & np.isfinite(y)) & ~missing & ~unread
    if missing.any():
        bad["no_geometry"] = missing
    if broken.any():
        bad["not_finite_position"] = broken
    checked = ~(missing | broken | unread)
    if not checked.all():
        x, y = np.where(checked, x, 0.0), np.where(checked, y, 0.0)
    tx, ty = transform_coordinates(x, y, frame.source, frame.srid)
    suspects = _judge(np.column_stack([x, y, x, y]), np.column_stack([tx, ty, tx, ty]), frame, bad, checked)
    gone = np.zeros(len(x), dtype=bool)
    for mask in bad.values():
        gone |= mask
    return Placed(
        _points_ewkb(tx, ty, frame.srid, gone),
        bad,
        repaired=np.zeros(len(x), dtype=bool),
        dropped_z=places.dropped_z,
        suspect_swapped=suspects,
    )


def _exchange(coordinates: Floats) -> Floats:
    out = coordinates.copy()
    out[:, [0, 1]] = coordinates[:, [1, 0]]
    return out


def _place_shapes(places: Shapes, frame: Frame) -> Placed:
    shapes = places.shapes.copy()
    count = len(shapes)
    bad = dict(places.bad)
    out = Placed(
        pa.nulls(count, pa.large_binary()), bad, repaired=np.zeros(count, dtype=bool), dropped_z=places.dropped_z
    )
    live = np.ones(count, dtype=bool)

    def drop(code: str, mask: Mask) -> None:
        nonlocal live
        if mask.any():
            bad[code] = bad.get(code, np.zeros(count, dtype=bool)) | mask
            live &= ~mask
            shapes[mask] = None

    for mask in places.bad.values():
        live &= ~mask
    drop("no_geometry", live & (shapely.is_missing(shapes) | shapely.is_empty(shapes)))
    flat = shapely.has_z(shapes)
    out.dropped_z += int(flat.sum())
    keeps_m = frame.kind == "LineStringM"
    if keeps_m:
        if flat.any():
            shapes[flat] = [_without_z(shape) for shape in shapes[flat]]
    else:
        high = flat | shapely.has_m(shapes)
        if high.any():
            shapes[high] = shapely.force_2d(shapes[high])
    coordinates, index = shapely.get_coordinates(shapes, return_index=True)
    infinite = np.zeros(count, dtype=bool)
    infinite[index[~np.isfinite(coordinates).all(axis=1)]] = True
    drop("not_finite_position", live & infinite)
    if frame.swap_xy:
        shapes = shapely.transform(shapes, _exchange)
    boxes = shapely.bounds(shapes)
    if frame.source.is_offset or not {frame.source.srid, frame.srid} <= {4326, 4490}:
        _mend_at_source(shapes, out, live)
    shapes = _moved(shapes, frame, keeps_m)
    out.suspect_swapped = _judge(boxes, shapely.bounds(shapes), frame, bad, live)
    for code in ("swapped", "projected", "not_transformable", "outside"):
        drop(code, bad.get(code, np.zeros(count, dtype=bool)) & live)
    shapes, wrong = _conform(shapes, frame.kind, out)
    for position in np.flatnonzero(wrong & live):
        out.detail[int(position)] = _NAMES.get(int(shapely.get_type_id(shapes[position])), "curve")
    drop("wrong_geometry_type", live & wrong)
    _repair(shapes, frame.kind, out, live, drop)
    if keeps_m:
        out.measured = _measure(shapes, frame)
    shapely.set_srid(shapes, frame.srid)
    present = ~shapely.is_missing(shapes)
    binary = np.full(count, None, dtype=object)
    binary[present] = shapely.to_wkb(
        shapely.set_srid(shapes[present], frame.srid),
        include_srid=True,
        byte_order=1,
        output_dimension=3 if keeps_m else 2,
        flavor="extended",
    )
    out.ewkb = pa.array(binary, pa.large_binary())
    return out


def _mend_at_source(shapes: Objects, out: Placed, live: Mask) -> None:
    """Mend polygons in the coordinates they came in: a ring that touches itself there may cross itself, or look sound, once it is moved."""
    areal = live & (shapely.get_dimensions(shapes) == 2) & (shapely.get_type_id(shapes) != _COLLECTION)
    positions = np.flatnonzero(areal)
    positions = positions[~shapely.is_valid(shapes[positions])]
    for position, mended in zip(
        positions, shapely.make_valid(shapes[positions], method="structure", keep_collapsed=False), strict=True
    ):
        kept = _only(mended, 3)
        if kept is not None and not shapely.is_empty(kept) and shapely.get_dimensions(kept) == 2:
            shapes[position] = kept
            out.repaired[position] = True


def _moved(shapes: Objects, frame: Frame, keeps_m: bool) -> Objects:
    if not keeps_m:
        return transform_geometries(shapes, frame.source, frame.srid)
    return np.array([None if shape is None else _moved_with_measure(shape, frame) for shape in shapes], dtype=object)


def _moved_with_measure(shape: shapely.Geometry, frame: Frame) -> shapely.Geometry:
    """A line in the layer's system with its own M; without M where it has none that is finite."""
    if shapely.get_type_id(shape) == 5 and shapely.get_num_geometries(shape) == 1:
        shape = shapely.get_parts(shape)[0]
    if shapely.get_type_id(shape) == 1 and shapely.has_m(shape):
        xym = shapely.get_coordinates(shape, include_m=True)
        if np.isfinite(xym[:, -1]).all():
            return _line_m(
                np.column_stack(transform_coordinates(xym[:, 0], xym[:, 1], frame.source, frame.srid)), xym[:, -1]
            )
    flat: Objects = np.array([shapely.force_2d(shape)], dtype=object)
    moved: shapely.Geometry = transform_geometries(flat, frame.source, frame.srid)[0]
    return moved


def _line_m(xy: Floats, m: Floats) -> shapely.Geometry:
    """A measured line, made from its WKB (type 2002)."""
    head = np.array([2002, len(xy)], dtype="<u4").tobytes()
    return shapely.from_wkb(b"\x01" + head + np.column_stack([xy, m]).astype("<f8").tobytes())


def _without_z(shape: shapely.Geometry) -> shapely.Geometry:
    """2D, or measured if it was measured."""
    if shapely.get_type_id(shape) != 1 or not shapely.has_m(shape):
        return shapely.force_2d(shape)
    xym = shapely.get_coordinates(shape, include_m=True)
    return _line_m(xym[:, :2], xym[:, -1])


def _measure(shapes: Objects, frame: Frame) -> int:
    """Give lines without M the distance along them in metres; returns how many."""
    done = 0
    for position, shape in enumerate(shapes):
        if shape is None or shapely.has_m(shape):
            continue
        xy = shapely.get_coordinates(shape)
        east, north = transformer(frame.srid, frame.measure_srid).transform(xy[:, 0], xy[:, 1])
        steps = np.hypot(np.diff(east), np.diff(north))
        shapes[position] = _line_m(xy, np.concatenate([[0.0], np.cumsum(steps)]))
        done += 1
    return done


def _conform(shapes: Objects, kind: str, out: Placed) -> tuple[Objects, Mask]:
    """Promote to multi, unwrap single parts; the mask tells which are still of another type."""
    count = len(shapes)
    if kind == "Geometry":
        return shapes, shapely.get_type_id(shapes) > _COLLECTION
    base = kind.removesuffix("M").removeprefix("Multi")
    single, multi = _FAMILIES[base]
    wants_multi = kind.startswith("Multi")
    ids = shapely.get_type_id(shapes)
    collections = ids == _COLLECTION
    if collections.any():
        shapes[collections] = [_flattened(shape, single) for shape in shapes[collections]]
        ids = shapely.get_type_id(shapes)
    rings = ids == 2
    if rings.any() and base == "LineString":
        shapes[rings] = shapely.linestrings([shapely.get_coordinates(s) for s in shapes[rings]])
        ids = shapely.get_type_id(shapes)
    if wants_multi:
        promote = ids == single
        if promote.any():
            shapes[promote] = _each_multi(shapes[promote], single)
            out.promoted += int(promote.sum())
            ids[promote] = multi
        return shapes, (ids != multi) & (ids != -1)
    lone = (ids == multi) & (shapely.get_num_geometries(shapes) == 1)
    if lone.any():
        shapes[lone] = shapely.get_geometry(shapes[lone], 0)
        ids[lone] = single
    joined = (ids == 5) & (single == 1) & ~lone
    if joined.any():
        merged = shapely.line_merge(shapes[joined])
        whole = shapely.get_type_id(merged) == 1
        target = np.flatnonzero(joined)[whole]
        shapes[target] = merged[whole]
        ids[target] = 1
    wrong = (ids != single) & (ids != -1)
    return shapes, wrong if count else np.zeros(0, dtype=bool)


def _each_multi(parts: Objects, single: int) -> Objects:
    """Each of ``parts`` as a multi geometry of one part."""
    index = np.arange(len(parts))
    if single == 0:
        return np.asarray(shapely.multipoints(parts, indices=index), dtype=object)
    if single == 1:
        return np.asarray(shapely.multilinestrings(parts, indices=index), dtype=object)
    return np.asarray(shapely.multipolygons(parts, indices=index), dtype=object)


def _multi(parts: Objects, single: int) -> shapely.Geometry:
    """All of ``parts`` as one multi geometry."""
    if single == 0:
        return shapely.MultiPoint(list(parts))
    if single == 1:
        return shapely.MultiLineString(list(parts))
    return shapely.MultiPolygon(list(parts))


def _flattened(shape: shapely.Geometry, single: int) -> shapely.Geometry:
    """A collection whose parts are all of one family, as that family's multi; itself otherwise."""
    parts = shapely.get_parts(shapely.get_parts(np.array([shape], dtype=object)))
    ids = set(shapely.get_type_id(parts).tolist())
    if ids != {single}:
        return shape
    return _multi(parts, single)


def _repair(shapes: Objects, kind: str, out: Placed, live: Mask, drop: Callable[[str, Mask], None]) -> None:
    """Make invalid geometries valid, keeping their type; what cannot be mended is marked with PostGIS-like words of why."""
    invalid = live & ~shapely.is_valid(shapes)
    if not invalid.any():
        return
    positions = np.flatnonzero(invalid)
    reasons = shapely.is_valid_reason(shapes[positions])
    mended = shapely.make_valid(shapes[positions], method="structure", keep_collapsed=False)
    if kind != "Geometry":
        family = _FAMILIES[kind.removesuffix("M").removeprefix("Multi")][0]
        mended = np.array([_only(shape, family) for shape in mended], dtype=object)
        mended, wrong = _conform(mended, kind, Placed(pa.nulls(0), {}))
    else:
        before = shapely.get_dimensions(shapes[positions])
        wrong = shapely.get_dimensions(mended) != before
    lost = wrong | shapely.is_missing(mended) | shapely.is_empty(mended) | ~shapely.is_valid(mended)
    good = positions[~lost]
    shapes[good] = mended[~lost]
    out.repaired[good] = True
    for position, reason in zip(positions[lost], reasons[lost], strict=True):
        out.detail[int(position)] = str(reason)
    mask = np.zeros(len(shapes), dtype=bool)
    mask[positions[lost]] = True
    drop("invalid_geometry", mask)


def _only(shape: shapely.Geometry | None, single: int) -> shapely.Geometry | None:
    """The parts of one family in a mended geometry, as a single or multi geometry."""
    if shape is None or shapely.get_type_id(shape) != _COLLECTION:
        return shape
    parts = shapely.get_parts(shapely.get_parts(np.array([shape], dtype=object)))
    kept = parts[shapely.get_type_id(parts) == single]
    if not len(kept):
        return None
    return _multi(kept, single)
