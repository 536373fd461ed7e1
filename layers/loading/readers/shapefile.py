"""Shapefiles: parts that are missing or cut off, and the encoding of their attributes."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyogrio

from gis.errors import UnreadableFile
from layers.loading.options import LoadOptions
from layers.loading.readers.text import known_encoding, tell_encoding
from layers.loading.readers.vector import VectorSource

__all__ = ["dbf_encoding", "open_shapefile"]

#: Bytes of attributes looked at to tell the encoding.
_SAMPLE = 4 * 1024 * 1024


def _parts(path: Path) -> dict[str, Path]:
    """Files of the same name by suffix, in lower case."""
    stem = path.stem.casefold()
    return {
        other.suffix.lower(): other
        for other in path.parent.iterdir()
        if other.is_file() and other.stem.casefold() == stem
    }


def _check_length(path: Path) -> None:
    """A .shp must be as long as its header says (in words of two bytes)."""
    with path.open("rb") as file:
        head = file.read(100)
    if len(head) < 100 or int.from_bytes(head[24:28], "big") * 2 > path.stat().st_size:
        raise UnreadableFile(
            f"{path.name} is cut off: it is shorter than it says.", zh=f"{path.name} 不完整：文件比其头部记录的短。"
        )


def _dbf_shape(path: Path) -> tuple[int, int, int]:
    """Records, bytes of the header and bytes of a record."""
    with path.open("rb") as file:
        head = file.read(32)
    if len(head) < 32:
        raise UnreadableFile(f"{path.name} is cut off.", zh=f"{path.name} 不完整。")
    return (
        int.from_bytes(head[4:8], "little"),
        int.from_bytes(head[8:10], "little"),
        int.from_bytes(head[10:12], "little"),
    )


def dbf_encoding(path: Path) -> str | None:
    """The encoding of a .dbf told from its bytes; None where all is ASCII."""
    with path.open("rb") as file:
        data = file.read(_SAMPLE)
    if data.isascii():
        return None
    _count, header, width = _dbf_shape(path)
    # The header's own binary fields are no text: names of fields, then records.
    names = b" ".join(data[at : at + 11].split(b"\x00")[0] for at in range(32, max(32, header - 1), 32))
    records = data[header:]
    cut = records[: len(records) - len(records) % width] if width else records
    return tell_encoding(names + b"\n" + cut.replace(b"\x00", b" "))


@contextmanager
def open_shapefile(path: Path, *, options: LoadOptions) -> Iterator[VectorSource]:
    """Open a shapefile; a missing index is rebuilt beside a copy, never beside the original.

    Raises
    ------
    UnreadableFile
        The .shp, .dbf or .shx is cut off.
    """
    parts = _parts(path)
    _check_length(path)
    notes: list[tuple[str, str]] = []
    encoding = known_encoding(options.encoding) if options.encoding else None
    if ".dbf" in parts:
        count, header, width = _dbf_shape(parts[".dbf"])
        if header + count * width > parts[".dbf"].stat().st_size + 1:
            raise UnreadableFile(
                f"{parts['.dbf'].name} is cut off: it is shorter than it says.",
                zh=f"{parts['.dbf'].name} 不完整：文件比其头部记录的短。",
            )
        if encoding is None:
            encoding = _encoding(parts, notes)
    else:
        count = None
        notes.append(("缺少 .dbf，只有几何没有属性", "the .dbf is missing: geometries without attributes"))
    with tempfile.TemporaryDirectory(prefix="baige-shp-") as folder:
        cut = encoding == "utf-8" and ".dbf" in parts and _mended_header(parts[".dbf"]) is not None
        if ".shx" not in parts or cut:
            path = _copied(path, parts, Path(folder))
        if ".shx" not in parts:
            _restore_index(path)
            notes.append(("缺少 .shx，已由 .shp 重建索引", "the .shx was missing and was rebuilt from the .shp"))
        source = VectorSource(path, kind="shapefile", layer=None, encoding=encoding, count=count)
        source.notes += notes
        yield source


def _encoding(parts: dict[str, Path], notes: list[tuple[str, str]]) -> str | None:
    told = dbf_encoding(parts[".dbf"])
    if ".cpg" in parts:
        words = parts[".cpg"].read_bytes()[:40].decode("ascii", errors="ignore").strip()
        named = known_encoding(words, strict=False)
        if named is not None and (told is None or _decodes(parts[".dbf"], named)):
            return named
        notes.append(
            (
                f".cpg 写的编码 {words!r} 不符，按 {told} 读取",
                f"the .cpg says {words!r}, which does not fit; read as {told}",
            )
        )
    elif told is not None:
        notes.append((f"没有 .cpg，属性按 {told} 读取", f"there is no .cpg; attributes read as {told}"))
    return told


def _decodes(path: Path, encoding: str) -> bool:
    """Whether the records read without error, a character cut by the width of its field aside."""
    with path.open("rb") as file:
        data = file.read(_SAMPLE)
    _count, header, _width = _dbf_shape(path)
    text = data[header:].decode(encoding, errors="replace")
    return text.count("\ufffd") <= len(text) // 1000


def _mended_header(path: Path) -> bytes | None:
    """The header of a .dbf with names of fields that end within a character shortened to the one before; None where none does."""
    _count, size, _width = _dbf_shape(path)
    with path.open("rb") as file:
        header = bytearray(file.read(size))
    changed = False
    for at in range(32, max(32, size - 1), 32):
        name = bytes(header[at : at + 11]).split(b"\x00")[0]
        whole = name.decode("utf-8", errors="ignore").encode()
        if whole != name:
            header[at : at + 11] = whole.ljust(11, b"\x00")
            changed = True
    return bytes(header) if changed else None


def _copied(path: Path, parts: dict[str, Path], folder: Path) -> Path:
    """Links to the parts (copies, where the system has none) under another name, the header of the .dbf mended."""
    for suffix, part in parts.items():
        target = folder / f"layer{suffix}"
        header = _mended_header(part) if suffix == ".dbf" else None
        if header is not None:
            shutil.copyfile(part, target)
            with target.open("r+b") as file:
                file.write(header)
            continue
        try:
            target.symlink_to(part.resolve())
        except OSError:
            shutil.copyfile(part, target)
    return folder / f"layer{path.suffix.lower()}"


def _restore_index(path: Path) -> None:
    """Let GDAL write the .shx that is missing beside ``path``."""
    before = pyogrio.get_gdal_config_option("SHAPE_RESTORE_SHX")
    pyogrio.set_gdal_config_options({"SHAPE_RESTORE_SHX": True})
    try:
        pyogrio.read_info(str(path))
    except pyogrio.errors.DataSourceError as error:
        raise UnreadableFile(
            "The .shx of the shapefile is missing and cannot be rebuilt from the .shp.",
            zh="缺少 .shx，且无法由 .shp 重建。",
        ) from error
    finally:
        pyogrio.set_gdal_config_options({"SHAPE_RESTORE_SHX": before})
