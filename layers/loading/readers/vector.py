"""Vector files through GDAL: GeoPackage, GeoJSON, FlatGeobuf, shapefile."""

import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyogrio
from pyogrio.errors import DataLayerError, DataSourceError
from pyogrio.raw import open_arrow

from gis.errors import InputError, LimitExceeded, UnreadableFile
from layers.loading.chunks import Chunk
from layers.loading.readers.limits import LINE_MAX_BYTES, ROWS_PER_CHUNK

__all__ = ["VectorSource"]

_NAMES = {
    "gpkg": "GeoPackage",
    "geojson": "GeoJSON",
    "geojsonl": "GeoJSONSeq",
    "fgb": "FlatGeobuf",
    "shapefile": "Shapefile",
}
#: Formats of text, which begin with nothing of their own; the others were told by their first bytes.
_TEXT_DRIVERS = {"geojson": "GeoJSON", "geojsonl": "GeoJSONSeq"}
#: Three-dimensional systems, as the two-dimensional ones that they extend.
_FLAT = {"EPSG:4979": "EPSG:4326", "EPSG:4480": "EPSG:4490"}


def _broken(path: Path, error: BaseException) -> UnreadableFile:
    return UnreadableFile(
        f"{path.name} is damaged or cut off: it cannot be read to its end.",
        zh=f"{path.name} 已损坏或不完整，无法读完。",
    ).with_traceback(error.__traceback__)


class VectorSource:
    """A layer of a vector file; features count from 1."""

    def __init__(
        self, path: Path, *, kind: str, layer: str | None, encoding: str | None = None, count: int | None = None
    ) -> None:
        self._path = path
        if kind == "geojson" and _is_line_delimited(path):
            kind = "geojsonl"
        self._kind = kind
        self.format = _NAMES[kind]
        self.notes: list[tuple[str, str]] = []
        # As GDAL's own option: the argument ``encoding`` of pyogrio stays set in the thread when a reading is broken off.
        self._options: dict[str, Any] = {"ENCODING": encoding} if encoding else {}
        if kind == "geojson":
            self._options["DATE_AS_STRING"] = "YES"
        # The driver is named: by its content a file of this name could be another one that sends GDAL to other files and servers (VRT, GDALG).
        self._name = f"{_TEXT_DRIVERS[kind]}:{path}" if kind in _TEXT_DRIVERS else str(path)
        if kind == "gpkg":
            _check_sqlite(path)
        if kind == "geojsonl":
            _check_lines(path)
        self._layer = self._chosen(layer)
        info = self._quietly(
            lambda: pyogrio.read_info(
                self._name, layer=self._layer, force_feature_count=kind == "gpkg", **self._options
            )
        )
        self.headers = [str(name) for name in info["fields"]]
        self.has_geometry = info["geometry_type"] is not None
        crs = info["crs"]
        self.crs = _FLAT.get(str(crs), str(crs)) if crs else None
        features = int(info["features"])
        self.count = count if count is not None else (features if features >= 0 else None)

    def _quietly(self, act: Any) -> Any:
        """Call GDAL, its errors made ours."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)
                return act()
        except (DataSourceError, DataLayerError, OSError, pa.ArrowInvalid, UnicodeDecodeError) as error:
            raise _broken(self._path, error) from error

    def _chosen(self, asked: str | None) -> str | None:
        layers = [str(name) for name, _kind in self._quietly(lambda: pyogrio.list_layers(self._name))]
        if asked is not None and asked in layers:
            return asked
        if asked is not None and self._kind == "gpkg":
            raise InputError(
                f"{self._path.name} has no layer {asked!r}; it has {', '.join(layers)}.",
                zh=f"{self._path.name} 中没有图层 {asked!r}；现有：{'、'.join(layers)}。",
            )
        if not layers:
            raise UnreadableFile(f"{self._path.name} holds no layer.", zh=f"{self._path.name} 中没有图层。")
        if len(layers) > 1:
            raise InputError(
                f"{self._path.name} has several layers: say which with --layer-in-file: {', '.join(layers)}.",
                zh=f"{self._path.name} 有多个图层，请用 --layer-in-file 指定：{'、'.join(layers)}。",
            )
        return layers[0]

    def chunks(self) -> Iterator[Chunk]:
        """All features, 65,536 at a time."""
        number = 1
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)
                with open_arrow(
                    self._name, layer=self._layer, batch_size=ROWS_PER_CHUNK, use_pyarrow=True, **self._options
                ) as (meta, reader):
                    geometry = meta.get("geometry_name") or "wkb_geometry"
                    for batch in reader:
                        if len(batch):
                            yield _chunk(batch, geometry, number)
                            number += len(batch)
        except (DataSourceError, DataLayerError, OSError, pa.ArrowInvalid, UnicodeDecodeError) as error:
            raise _broken(self._path, error) from error
        self._check_complete(number - 1)

    def _check_complete(self, read: int) -> None:
        """GDAL passes over lines that are no features, and over features that a truncated file lacks."""
        if self._kind == "geojsonl":
            _all_lines_read(self._path, read)
        elif self.count is not None and read < self.count:
            raise UnreadableFile(
                f"{self._path.name} should hold {self.count} features, but only {read} can be read: it is damaged or cut off.",
                zh=f"{self._path.name} 应有 {self.count} 个要素，只能读出 {read} 个：文件已损坏或不完整。",
            )


def _chunk(batch: pa.RecordBatch, geometry: str, first: int) -> Chunk:
    columns: dict[str, pa.Array] = {}
    wkb = None
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        plain = column.storage if isinstance(column, pa.ExtensionArray) else column
        if name == geometry:
            wkb = plain
        else:
            columns[name] = plain
    return Chunk(np.arange(first, first + len(batch), dtype=np.int64), columns, wkb)


def _is_line_delimited(path: Path) -> bool:
    """Whether the first line is a feature by itself and more lines follow."""
    with path.open("rb") as file:
        line = file.readline(LINE_MAX_BYTES)
        more = file.read(1)
    if not more or not line.lstrip(b"\xef\xbb\xbf\x1e ").startswith(b"{"):
        return False
    try:
        first = json.loads(line.lstrip(b"\xef\xbb\xbf\x1e"))
    except ValueError:
        return False
    return isinstance(first, dict) and first.get("type") == "Feature"


def _check_lines(path: Path) -> None:
    """Refuse a file of which a line is longer than may be held in memory."""
    longest = 64 * LINE_MAX_BYTES
    with path.open("rb") as file:
        since = 0
        while block := file.read(4 * 1024 * 1024):
            at = block.rfind(b"\n")
            if at < 0:
                since += len(block)
            else:
                since = len(block) - at - 1
            if since > longest:
                raise LimitExceeded(
                    f"{path.name} has a line of more than {longest >> 20} MB.",
                    zh=f"{path.name} 有一行超过 {longest >> 20} MB。",
                )


def _all_lines_read(path: Path, read: int) -> None:
    lines = 0
    with path.open("rb") as file:
        for line in file:
            lines += bool(line.strip(b" \t\r\n\x1e"))
    if lines == read:
        return
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            text = line.strip(b" \t\r\n\x1e\xef\xbb\xbf")
            try:
                feature = json.loads(text) if text else None
            except ValueError:
                feature = {}
            if text and not (isinstance(feature, dict) and feature.get("type") == "Feature"):
                raise UnreadableFile(
                    f"Line {number} of {path.name} is not a GeoJSON feature: the file is damaged or cut off.",
                    zh=f"{path.name} 第 {number} 行不是 GeoJSON 要素：文件已损坏或不完整。",
                )
    raise UnreadableFile(
        f"{path.name}: of {lines} lines only {read} can be read.",
        zh=f"{path.name}：共 {lines} 行，只能读出 {read} 行。",
    )


def _check_sqlite(path: Path) -> None:
    """A GeoPackage must be as long as its header says."""
    with path.open("rb") as file:
        head = file.read(100)
    page = int.from_bytes(head[16:18], "big")
    page = 65536 if page == 1 else page
    pages = int.from_bytes(head[28:32], "big")
    # The size in the header counts only where it was written together with the change counter.
    if len(head) < 100 or (head[24:28] == head[92:96] and path.stat().st_size < page * pages):
        raise UnreadableFile(
            f"{path.name} is cut off: it is shorter than it says.", zh=f"{path.name} 不完整：文件比其头部记录的短。"
        )
