"""Readers: files of many formats as sources of Arrow columns in bounded memory."""

import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from gis.errors import InputError, UnreadableFile
from layers.declaration import LayerDeclaration
from layers.loading.chunks import Source
from layers.loading.options import LoadOptions

__all__ = ["FORMATS", "open_source"]

#: Format by suffix.
FORMATS = {
    ".gpkg": "gpkg", ".shp": "shapefile", ".geojson": "geojson", ".json": "geojson", ".geojsonl": "geojsonl", ".geojsons": "geojsonl",
    ".ndjson": "geojsonl", ".jsonl": "geojsonl", ".fgb": "fgb", ".parquet": "parquet", ".geoparquet": "parquet", ".csv": "csv", ".tsv": "csv",
    ".txt": "csv", ".xlsx": "xlsx", ".xlsm": "xlsx", ".xls": "xls", ".zip": "zip", ".shz": "zip",
}  # fmt: skip


def _is_workbook(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return "xl/workbook.xml" in archive.namelist()
    except zipfile.BadZipFile:
        return False


def _sniff(path: Path) -> str:
    """Format by the first bytes, then by the suffix."""
    with path.open("rb") as file:
        head = file.read(4096)
    if not head:
        raise UnreadableFile(f"{path.name} is empty.", zh=f"{path.name} 是空文件。")
    if head.startswith(b"SQLite format 3\x00"):
        return "gpkg"
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return "xlsx" if path.suffix.lower() in (".xlsx", ".xlsm") or _is_workbook(path) else "zip"
    if head.startswith(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"):
        return "xls"
    if head.startswith(b"PAR1"):
        return "parquet"
    if head.startswith(b"fgb\x03fgb"):
        return "fgb"
    if head.startswith(b"\x00\x00\x27\x0a"):
        return "shapefile"
    # Nothing but white space; a hole at the start of a large file is for the format to judge.
    if not head.strip(b" \t\r\n\xef\xbb\xbf\x00") and path.stat().st_size <= len(head):
        raise UnreadableFile(f"{path.name} is empty.", zh=f"{path.name} 是空文件。")
    suffix = FORMATS.get(path.suffix.lower())
    if suffix in ("csv", None) and head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(
        (b'{"type"', b'{ "type"', b'{\n"type"')
    ):
        return "geojson"
    if suffix is None:
        raise InputError(
            f"{path.name}: the format is not known; {', '.join(sorted(FORMATS))} are read.",
            zh=f"{path.name}：无法识别的格式；支持 {'、'.join(sorted(FORMATS))}。",
        )
    if suffix in ("gpkg", "shapefile", "fgb", "parquet", "xlsx", "xls", "zip"):
        raise UnreadableFile(
            f"{path.name} is not what its name says, or its beginning is damaged.",
            zh=f"{path.name} 的内容与扩展名不符，或文件开头已损坏。",
        )
    return suffix


@contextmanager
def open_source(path: Path, *, options: LoadOptions, declaration: LayerDeclaration) -> Iterator[Source]:
    """Open a file for loading.

    Parameters
    ----------
    path : Path
        GeoPackage, shapefile, GeoJSON (also a feature a line), FlatGeobuf, (Geo)Parquet, CSV, XLSX, XLS, or one of these in a zip.
    declaration : LayerDeclaration
        To find the header row of a table.

    Raises
    ------
    UnreadableFile
        Missing, empty, truncated, of another format than it says, or unsafe.
    LimitExceeded
        Larger than is allowed.
    InputError
        The format is not known, or there is a choice to make (layer, sheet) that the options do not make.
    """
    path = Path(path)
    if not path.is_file():
        raise UnreadableFile(f"{path.name}: there is no such file.", zh=f"{path.name}：文件不存在。")
    try:
        kind = _sniff(path)
    except OSError as error:
        raise UnreadableFile(f"{path.name} cannot be read.", zh=f"无法读取 {path.name}。") from error
    with ExitStack() as stack:
        if kind == "zip":
            from layers.loading.readers.archive import unpacked

            path = stack.enter_context(unpacked(path, member=options.layer_in_file))
            kind = _sniff(path)
            if kind == "zip":
                raise UnreadableFile("A zip within a zip is not opened.", zh="不支持压缩包中的压缩包。")
        yield stack.enter_context(_open(path, kind, options, declaration))


@contextmanager
def _open(path: Path, kind: str, options: LoadOptions, declaration: LayerDeclaration) -> Iterator[Source]:
    if kind == "csv":
        from layers.loading.readers.text import TextSource

        yield TextSource(path, options=options, declaration=declaration)
    elif kind in ("xlsx", "xls"):
        from layers.loading.readers.sheet import SheetSource

        yield SheetSource(path, options=options, declaration=declaration)
    elif kind == "parquet":
        from layers.loading.readers.parquet import ParquetSource

        yield ParquetSource(path)
    elif kind == "shapefile":
        from layers.loading.readers.shapefile import open_shapefile

        with open_shapefile(path, options=options) as source:
            yield source
    else:
        from layers.loading.readers.vector import VectorSource

        yield VectorSource(path, kind=kind, layer=options.layer_in_file, encoding=options.encoding)
