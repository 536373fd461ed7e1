"""The reference city into PostGIS: through the loader, with history, and its terrain into the registry of rasters."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import sqlalchemy as sa

from data.city.build import ReferenceCity
from data.city.frame import SOURCE_ORG
from gis.crs import wgs84_to_gcj02
from gis.errors import DataError
from gis.settings import CityConfig
from layers.access import SYSTEM
from layers.changes import change_set
from layers.database import Database
from layers.loading.bulk import load_frame
from layers.loading.report import LoadReport
from layers.rasters import add_heights
from layers.registry import declaration_of

__all__ = ["DEM_NAME", "DEM_WIDE_NAME", "StoredLayer", "store_city"]

DEM_NAME, DEM_WIDE_NAME = "reference-city", "reference-city-wide"

#: Called with a layer's name, rows done so far, rows in all.
OnLayer = Callable[[str, int, int], None]


@dataclass(frozen=True)
class StoredLayer:
    """What storing one layer did."""

    layer: str
    rows: int
    inserted: int
    updated: int
    unchanged: int
    removed: int
    elapsed_s: float


def store_city(
    database: Database, home: Path, city: ReferenceCity, config: CityConfig, *, on_layer: OnLayer | None = None
) -> list[StoredLayer]:
    """Load all layers and both height grids; rows of an earlier reference city that this one does not have are removed.

    Parameters
    ----------
    home : Path
        ``BAIGE_HOME``, below which rasters lie.
    on_layer : callable, optional
        Told of progress before each layer and at the end.

    Raises
    ------
    DataError
        A row was refused: the generator and a layer's declaration contradict each other.
    """
    total = sum(len(frame) for frame in city.layers.values())
    tell = on_layer or (lambda *_: None)
    note = f"reference city, {city.scale}, seed {city.seed}"
    # Compressing the terrain takes as long as a large layer and leaves the interpreter free: it runs beside the layers.
    with ThreadPoolExecutor(1, thread_name_prefix="terrain") as pool:
        terrain = pool.submit(_store_terrain, database, home, city)
        removed = {name: _remove_other(database, name, city.layers[name], note) for name in reversed(city.layers)}
        done, out = 0, []
        for name, frame in city.layers.items():
            tell(name, done, total)
            begun = time.monotonic()
            reports = [_load(database, name, part, crs, note, config) for part, crs in _deliveries(name, frame)]
            done += len(frame)
            inserted, updated = sum(r.inserted for r in reports), sum(r.updated for r in reports)
            unchanged, elapsed_s = sum(r.unchanged for r in reports), time.monotonic() - begun
            out.append(StoredLayer(name, len(frame), inserted, updated, unchanged, removed[name], elapsed_s))
        tell("dem", done, total)
        terrain.result()
    return out


def _store_terrain(database: Database, home: Path, city: ReferenceCity) -> None:
    for raster, dem in ((DEM_NAME, city.dem), (DEM_WIDE_NAME, city.dem_wide)):
        add_heights(
            database, home, dem.heights_m, dem.transform, dem.srid, name=raster, synthetic=True, vertical_crs="EPSG:5737",
            classification="public",
        )  # fmt: skip


def _deliveries(name: str, frame: gpd.GeoDataFrame) -> list[tuple[gpd.GeoDataFrame, str]]:
    """Split a layer into the parts it is delivered in.

    What a vendor's cameras have in GCJ-02 comes as such and is declared so; units of the layout come from the ring down,
    so that each finds its parent.
    """
    if name == "layout_unit":
        return [(frame[frame["level"] == level], "4490") for level in ("ring", "zone", "grid", "point")]
    if name != "camera_site":
        return [(frame, "4490")]
    shifted = frame["src_crs"] == "gcj02"
    vendor = frame[shifted].copy()
    lon, lat = wgs84_to_gcj02(vendor.geometry.x, vendor.geometry.y)
    vendor.geometry = gpd.points_from_xy(lon, lat, crs=frame.crs)
    return [(frame[~shifted], "4490"), (vendor, "gcj02")]


def _load(
    database: Database, name: str, frame: gpd.GeoDataFrame, crs: str, note: str, config: CityConfig
) -> LoadReport:
    plain: Any = frame.drop(columns=["src_crs"])
    if frame.geometry.isna().all():
        plain = plain.drop(columns=["geom"])
    report = load_frame(
        database,
        name,
        plain,
        crs=crs,
        note=note,
        source_org=SOURCE_ORG,
        synthetic=True,
        trusted=True,
        allow_outside=True,
        city=config,
    )
    if report.quarantined:
        reasons = ", ".join(f"{code} ({count})" for code, count in report.reasons.most_common(3))
        raise DataError(
            f"{report.quarantined} rows of the reference city were refused by layer {name}: {reasons}",
            zh=f"参考城市有 {report.quarantined} 行被图层 {name} 拒绝：{reasons}",
        )
    return report


#: SQL type in which a value of a natural key is compared, by type of its field; text where none stands here.
_KEY_TYPES = {"num": "float8", "int": "int8", "date": "date", "datetime": "timestamptz", "uuid": "uuid", "ref": "uuid"}


def _remove_other(database: Database, name: str, frame: gpd.GeoDataFrame, note: str) -> int:
    """Delete rows of an earlier reference city that this one does not have under the same identifier and natural keys.

    They stay in the history. Of another scale, or of another version of the generator, a row may have the same identifier and mean
    another thing: updating it could take a key that a third row still holds.
    """
    with database.begin(SYSTEM) as connection:
        table = sa.table(name, sa.column("source_ref"), schema="baige")
        known = sa.select(sa.literal(1)).select_from(table).where(table.c.source_ref.like("synthetic:%")).limit(1)
        if connection.execute(known).first() is None:
            return 0
        declaration = declaration_of(connection, name)
        parts = sorted({part for key in declaration.natural_keys for part in key})
        kept = {"id": frame["id"].tolist()} | {part: [_text(v) for v in frame[part]] for part in parts}
        types = {"id": "uuid"} | {part: _KEY_TYPES.get(declaration.field(part).type, "text") for part in parts}
        arrays = ", ".join(f"cast(:v{k} AS {types[part]}[])" for k, part in enumerate(kept))
        names = ", ".join(f'"{part}"' for part in kept)
        # The column of a code or an enumeration is compared as text: its own type may be shorter or an integer.
        same = " AND ".join(
            f't."{p}"{"::text" if types[p] == "text" else ""} IS NOT DISTINCT FROM kept."{p}"' for p in parts
        )
        with change_set(connection, layer=name, action="delete", note=note):
            result = connection.execute(
                sa.text(
                    f"DELETE FROM baige.\"{name}\" t WHERE t.synthetic AND t.source_ref LIKE 'synthetic:%'"
                    f" AND NOT EXISTS (SELECT FROM unnest({arrays}) AS kept({names}) WHERE kept.id = t.id{' AND ' + same if same else ''})"
                ),
                {f"v{k}": values for k, values in enumerate(kept.values())},
            )
            return int(result.rowcount)


def _text(value: Any) -> str | None:
    """A value of a key as PostgreSQL reads it."""
    if value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and np.isnan(value)):
        return None
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
