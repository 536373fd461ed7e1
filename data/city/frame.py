"""What every register of the reference city shares: identifiers, common attributes and the step from metres to degrees."""

import zlib
from collections.abc import Mapping
from datetime import date
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from numpy.typing import NDArray

from gis.crs import transformer

__all__ = [
    "PLAN_SRID",
    "SOURCE_ORG",
    "STORE_SRID",
    "line_with_m",
    "register",
    "rng_for",
    "to_degrees",
    "to_metres",
    "uuids",
]

#: The plane the city is drawn in: CGCS2000 / 3-degree Gauss-Kruger CM 111E, metres, x east, y north.
PLAN_SRID = 4546
#: The system its layers are handed over in: CGCS2000, degrees, x longitude, y latitude.
STORE_SRID = 4490
SOURCE_ORG = "合成数据 Synthetic data"
VALID_FROM = date(2018, 12, 31)


def rng_for(seed: int, subject: str) -> np.random.Generator:
    """A stream of random numbers of its own for each subject, so that one part may change without moving the others."""
    return np.random.default_rng([seed, zlib.crc32(subject.encode())])


def uuids(seed: int, subject: str, count: int) -> NDArray[np.object_]:
    """Deterministic identifiers in the form of UUID version 4, as text."""
    raw = np.frombuffer(rng_for(seed, f"id:{subject}").bytes(16 * count), dtype=np.uint8).reshape(count, 16).copy()
    raw[:, 6] = (raw[:, 6] & 0x0F) | 0x40
    raw[:, 8] = (raw[:, 8] & 0x3F) | 0x80
    digits = raw.tobytes().hex()
    texts = [digits[i : i + 32] for i in range(0, 32 * count, 32)]
    return np.array([f"{t[:8]}-{t[8:12]}-{t[12:16]}-{t[16:20]}-{t[20:]}" for t in texts], dtype=object)


def _project(geometry: Any, from_srid: int, to_srid: int, decimals: int) -> Any:
    change = transformer(from_srid, to_srid)

    def move(coordinates: NDArray[np.float64]) -> NDArray[np.float64]:
        out = coordinates.copy()
        x, y = change.transform(coordinates[:, 0], coordinates[:, 1])
        out[:, 0], out[:, 1] = np.round(x, decimals), np.round(y, decimals)
        return out

    measured = np.atleast_1d(shapely.has_m(geometry))
    if not measured.any():
        return shapely.transform(geometry, move)
    out = np.array(geometry, dtype=object)  # lines with M: shapely's transform does not carry it
    for k in range(len(out)):
        values = shapely.get_coordinates(out[k], include_m=True)
        out[k] = line_with_m(move(values[:, :2]), values[:, 2])
    return out


def line_with_m(xy: NDArray[np.float64], m: NDArray[np.float64]) -> Any:
    """A line whose M is the chainage in metres (rounded to millimetres)."""
    text = ",".join(f"{x!r} {y!r} {k!r}" for (x, y), k in zip(xy.tolist(), np.round(m, 3).tolist(), strict=True))
    return shapely.from_wkt(f"LINESTRING M ({text})")


def to_degrees(geometry: Any) -> Any:
    """Geometries from EPSG:4546 metres to EPSG:4490 degrees, rounded to 1e-9° (0.1 mm); shared vertices stay shared."""
    return _project(geometry, PLAN_SRID, STORE_SRID, 9)


def to_metres(geometry: Any) -> Any:
    """Geometries from EPSG:4490 degrees to EPSG:4546 metres."""
    return _project(geometry, STORE_SRID, PLAN_SRID, 4)


def register(
    layer: str,
    geometry: Any,
    fields: Mapping[str, Any],
    *,
    seed: int,
    subject: str | None = None,
    classification: str = "public",
    positional_acc_m: float | None = 1.0,
    extra_geometry: Mapping[str, Any] | None = None,
    ids: NDArray[np.object_] | None = None,
) -> gpd.GeoDataFrame:
    """A layer's rows with the common attributes filled in.

    Parameters
    ----------
    layer : str
        Name of the layer as in the catalogue.
    geometry : sequence of shapely geometries, EPSG:4546, or None
        None for a layer without a place of its own.
    fields : mapping
        Columns; a scalar is repeated. ``name_zh``, ``name_en``, ``admin_code`` belong here too.
    seed : int
        Seed of the city; identifiers come from it.
    subject : str, optional
        What identifiers and ``source_ref`` are drawn for, where one layer is filled in several steps; by default ``layer``.
    extra_geometry : mapping, optional
        Further geometry columns, EPSG:4546.
    ids : array, optional
        Identifiers made before, by `uuids`.

    Returns
    -------
    GeoDataFrame
        Geometry column ``geom`` in EPSG:4490 (longitude, latitude).
    """
    subject = subject or layer
    lengths = [len(v) for v in fields.values() if isinstance(v, (list, np.ndarray, pd.Series, tuple))]
    count = len(geometry) if geometry is not None else lengths[0]
    frame = pd.DataFrame(index=pd.RangeIndex(count))
    frame["id"] = uuids(seed, subject, count) if ids is None else ids
    defaults: dict[str, Any] = {"name_zh": None, "name_en": None, "admin_code": None}
    columns: dict[str, Any] = {**defaults, **fields}
    for name, value in columns.items():
        frame[name] = list(value) if isinstance(value, tuple) else value
    frame["src_crs"] = str(PLAN_SRID)
    frame["positional_acc_m"] = positional_acc_m
    frame["valid_from"] = VALID_FROM
    frame["valid_to"] = None
    frame["source_org"] = SOURCE_ORG
    frame["source_ref"] = [f"synthetic:{seed}:{subject}/{i + 1}" for i in range(count)]
    frame["classification"] = classification
    frame["synthetic"] = True
    for name, values in (extra_geometry or {}).items():
        frame[name] = gpd.GeoSeries(to_degrees(np.asarray(values, dtype=object)), crs=STORE_SRID)
    geoms = np.full(count, None, dtype=object) if geometry is None else to_degrees(np.asarray(geometry, dtype=object))
    return gpd.GeoDataFrame(
        frame, geometry=gpd.GeoSeries(geoms, crs=STORE_SRID, name="geom"), crs=STORE_SRID
    ).rename_geometry("geom")
