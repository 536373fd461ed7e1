"""Parquet and GeoParquet."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyproj

from gis.errors import CRSMismatch, UnreadableFile
from layers.loading.chunks import Chunk
from layers.loading.readers.limits import ROWS_PER_CHUNK

__all__ = ["ParquetSource"]


class ParquetSource:
    """A Parquet file, with geometry where its metadata say so (GeoParquet 1.x, WKB); rows count from 1.

    Source: OGC GeoParquet 1.1, "File metadata": without ``crs`` the coordinates are OGC:CRS84, with ``null`` they are unknown.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.notes: list[tuple[str, str]] = []
        try:
            with pq.ParquetFile(path) as file:
                schema, self.count = file.schema_arrow, int(file.metadata.num_rows)
        except (pa.ArrowInvalid, OSError) as error:
            raise UnreadableFile(f"{path.name} is damaged or cut off.", zh=f"{path.name} 已损坏或不完整。") from error
        self._geometry: str | None = None
        self.crs: str | None = None
        self.format = "Parquet"
        described = (schema.metadata or {}).get(b"geo")
        if described is not None:
            self._describe(described)
        self.has_geometry = self._geometry is not None
        self.headers = [name for name in schema.names if name != self._geometry]

    def _describe(self, described: bytes) -> None:
        try:
            about = json.loads(described)
            self._geometry = str(about["primary_column"])
            column = about["columns"][self._geometry]
            encoding = str(column["encoding"])
        except (ValueError, KeyError, TypeError) as error:
            raise UnreadableFile(
                f"{self._path.name}: the description of its geometry cannot be read.",
                zh=f"{self._path.name}：几何元数据无法读取。",
            ) from error
        self.format = "GeoParquet"
        if encoding != "WKB":
            raise UnreadableFile(
                f"{self._path.name}: geometry is encoded as {encoding}; write it as WKB.",
                zh=f"{self._path.name}：几何编码为 {encoding}，请改用 WKB。",
            )
        if "crs" not in column:
            self.crs = "EPSG:4326"
        elif column["crs"] is not None:
            try:
                self.crs = pyproj.CRS.from_json_dict(column["crs"]).to_wkt()
            except pyproj.exceptions.CRSError as error:
                raise CRSMismatch(
                    f"{self._path.name}: its reference system is not known.", zh=f"{self._path.name}：坐标系无法识别。"
                ) from error

    def chunks(self) -> Iterator[Chunk]:
        """All rows, 65,536 at a time."""
        first = 1
        try:
            with pq.ParquetFile(self._path) as file:
                for batch in file.iter_batches(batch_size=ROWS_PER_CHUNK):
                    columns = dict(zip(batch.schema.names, batch.columns, strict=True))
                    wkb = columns.pop(self._geometry) if self._geometry else None
                    yield Chunk(np.arange(first, first + len(batch), dtype=np.int64), columns, wkb)
                    first += len(batch)
        except (pa.ArrowInvalid, OSError) as error:
            raise UnreadableFile(
                f"{self._path.name} is damaged or cut off.", zh=f"{self._path.name} 已损坏或不完整。"
            ) from error
