"""Loading of GeoDataFrames by other parts of Baige: the same way as a file, without the file."""

from collections.abc import Iterator
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow as pa
import shapely

from gis.settings import CityConfig, load_city
from layers.access import SYSTEM, Principal
from layers.database import Database
from layers.loading.chunks import Chunk
from layers.loading.engine import load_source
from layers.loading.options import LoadOptions
from layers.loading.report import LoadReport

__all__ = ["FrameSource", "load_frame"]

_CHUNK_ROWS = 50_000


class FrameSource:
    """A GeoDataFrame or DataFrame as a source; row numbers count from 1."""

    def __init__(self, frame: pd.DataFrame, *, crs: str | None) -> None:
        self.format = "frame"
        geometry = (
            frame.geometry if isinstance(frame, gpd.GeoDataFrame) and frame.active_geometry_name is not None else None
        )
        self.has_geometry = geometry is not None
        self.crs = crs
        self.count: int | None = len(frame)
        self.notes: list[tuple[str, str]] = []
        attributes = (
            frame.drop(columns=[frame.active_geometry_name])
            if geometry is not None and isinstance(frame, gpd.GeoDataFrame)
            else frame
        )
        self._columns: dict[str, pa.Array] = {str(name): _column(attributes[name]) for name in attributes.columns}
        self._shapes = np.asarray(geometry.values, dtype=object) if geometry is not None else None
        self.headers = list(self._columns)

    def chunks(self) -> Iterator[Chunk]:
        """All rows, in runs of 50,000."""
        for start in range(0, self.count or 0, _CHUNK_ROWS):
            columns = {name: column[start : start + _CHUNK_ROWS] for name, column in self._columns.items()}
            wkb = None
            size = min(_CHUNK_ROWS, (self.count or 0) - start)
            if self._shapes is not None:
                wkb = pa.array(
                    shapely.to_wkb(self._shapes[start : start + size], output_dimension=4, byte_order=1, flavor="iso"),
                    pa.large_binary(),
                )
            yield Chunk(np.arange(start + 1, start + size + 1, dtype=np.int64), columns, wkb)


def _column(series: "pd.Series[Any]") -> pa.Array:
    """A column as Arrow; shapely geometries as WKB, identifiers and lists as they are."""
    if series.dtype == object:
        known = next((value for value in series if value is not None), None)
        if isinstance(known, shapely.Geometry):
            return pa.array(shapely.to_wkb(np.asarray(series, dtype=object), byte_order=1), pa.large_binary())
        try:
            array = pa.array(series, from_pandas=True)
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            array = pa.array([None if value is None or value is pd.NA else str(value) for value in series], pa.string())
    elif isinstance(series, gpd.GeoSeries):
        return pa.array(shapely.to_wkb(np.asarray(series.values, dtype=object), byte_order=1), pa.large_binary())
    else:
        array = pa.array(series, from_pandas=True)
    array = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
    return array.storage if isinstance(array, pa.ExtensionArray) else array


def load_frame(
    database: Database,
    layer: str,
    frame: pd.DataFrame,
    *,
    crs: str | int | None = None,
    principal: Principal = SYSTEM,
    note: str | None = None,
    source_org: str | None = None,
    synthetic: bool = False,
    trusted: bool = False,
    allow_outside: bool = False,
    on_error: str = "quarantine",
    city: CityConfig | None = None,
) -> LoadReport:
    """Load a frame into a layer; columns are matched by field name (or title), ``id`` is kept where it holds UUIDs.

    Parameters
    ----------
    frame : GeoDataFrame or DataFrame
        Second geometries may stand in further columns, in the same system. Columns that a frame lacks stay as they are in the layer.
    crs : str or int, optional
        What the coordinates are in; the frame's own by default. Goes before it.
    synthetic : bool
        Mark all rows as synthetic, unless the frame has a column ``synthetic``.
    trusted : bool
        Leave out the checks of length, pattern, limits and personal values of columns that already have their type. Domains, references,
        keys and geometries are always checked.

    Returns
    -------
    LoadReport
        Look at ``quarantined``: rows with faults do not raise unless ``on_error`` is ``"abort"``.

    Raises
    ------
    CRSMismatch
        Neither ``crs`` nor the frame says what the coordinates are in.
    """
    own = frame.crs if isinstance(frame, gpd.GeoDataFrame) and frame.active_geometry_name is not None else None
    claimed = str(crs) if crs is not None else (own.to_wkt() if own is not None else None)
    options = LoadOptions(
        on_error="abort" if on_error == "abort" else "quarantine",
        source_org=source_org,
        synthetic=synthetic,
        allow_outside=allow_outside,
        note=note,
    )
    source = FrameSource(frame, crs=claimed)
    return load_source(
        database,
        layer,
        source,
        file_name=note or "frame",
        options=options,
        city=city or load_city(),
        principal=principal,
        trusted=trusted,
    )
