"""Zip archives: unpacked into a folder of our own, never where a member says, never more than is allowed."""

import shutil
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath

from gis.errors import InputError, LimitExceeded, UnreadableFile
from layers.loading.readers.limits import ARCHIVE_MAX_BYTES, ARCHIVE_MAX_MEMBERS, ARCHIVE_MAX_RATIO

__all__ = ["check_archive", "unpacked"]

#: Members that are files to load; and those that belong to a shapefile.
_LOADABLE = (
    ".shp",
    ".gpkg",
    ".geojson",
    ".json",
    ".geojsonl",
    ".ndjson",
    ".fgb",
    ".parquet",
    ".geoparquet",
    ".csv",
    ".tsv",
    ".txt",
    ".xlsx",
    ".xls",
)
_SHAPEFILE_PARTS = (".dbf", ".shx", ".prj", ".cpg")
#: Below this an archive may be as dense as it likes.
_RATIO_FREE_BYTES = 100 * 1024 * 1024


def _is_outside(name: str) -> bool:
    """Whether a member's path leaves the archive."""
    windows, posix = PureWindowsPath(name), PurePosixPath(name.replace("\\", "/"))
    return posix.is_absolute() or bool(windows.drive) or windows.is_absolute() or ".." in posix.parts or "\x00" in name


def check_archive(archive: zipfile.ZipFile, name: str) -> None:
    """Refuse what is unsafe to unpack, by what the archive says of itself.

    Raises
    ------
    UnreadableFile
        A member lies outside the archive, is a link or is encrypted.
    LimitExceeded
        Too many members, too large, or packed too densely to be honest.
    """
    members = archive.infolist()
    if len(members) > ARCHIVE_MAX_MEMBERS:
        raise LimitExceeded(
            f"{name} holds more than {ARCHIVE_MAX_MEMBERS} files.", zh=f"{name} 中的文件超过 {ARCHIVE_MAX_MEMBERS} 个。"
        )
    total, packed = 0, 0
    for member in members:
        if _is_outside(member.filename):
            raise UnreadableFile(
                f"{name} holds a file whose path leads out of the archive; it is not opened.",
                zh=f"{name} 中有文件的路径指向压缩包之外，拒绝打开。",
            )
        if stat.S_ISLNK(member.external_attr >> 16):
            raise UnreadableFile(f"{name} holds a link; it is not opened.", zh=f"{name} 中有链接，拒绝打开。")
        if member.flag_bits & 1:
            raise UnreadableFile(f"{name} is encrypted.", zh=f"{name} 已加密。")
        total += member.file_size
        packed += member.compress_size
    if total > ARCHIVE_MAX_BYTES or (total > _RATIO_FREE_BYTES and total > ARCHIVE_MAX_RATIO * max(packed, 1)):
        raise LimitExceeded(
            f"{name} would unpack to {total >> 20} MB; that is refused.",
            zh=f"{name} 解压后为 {total >> 20} MB，拒绝解压。",
        )


def _chosen(archive: zipfile.ZipFile, name: str, asked: str | None) -> zipfile.ZipInfo:
    found = [
        member
        for member in archive.infolist()
        if not member.is_dir()
        and member.filename.lower().endswith(_LOADABLE)
        and not member.filename.startswith("__MACOSX/")
    ]
    if asked is not None:
        named = [
            m for m in found if asked in (m.filename, PurePosixPath(m.filename).name, PurePosixPath(m.filename).stem)
        ]
        found = named or (found if len(found) == 1 else named)
    shapes = [member for member in found if member.filename.lower().endswith(".shp")]
    if len(shapes) == 1 and asked is None:
        return shapes[0]
    if not found:
        raise UnreadableFile(f"{name} holds no file that can be loaded.", zh=f"{name} 中没有可导入的文件。")
    if len(found) > 1:
        listed = ", ".join(member.filename for member in found[:20])
        raise InputError(
            f"{name} holds several files: say which with --layer-in-file: {listed}.",
            zh=f"{name} 中有多个文件，请用 --layer-in-file 指定：{listed}。",
        )
    return found[0]


@contextmanager
def unpacked(path: Path, *, member: str | None) -> Iterator[Path]:
    """The file to load out of a zip, with the parts that belong to it, in a temporary folder.

    Raises
    ------
    UnreadableFile, LimitExceeded
        As `check_archive`; or the archive is damaged, or larger than it says.
    """
    with tempfile.TemporaryDirectory(prefix="baige-zip-") as folder:
        try:
            with zipfile.ZipFile(path) as archive:
                check_archive(archive, path.name)
                wanted = _chosen(archive, path.name, member)
                stem = wanted.filename[: -len(PurePosixPath(wanted.filename).suffix)].casefold()
                target = Path(folder) / f"layer{PurePosixPath(wanted.filename).suffix.lower()}"
                _unpack(archive, wanted, target)
                for other in archive.infolist():
                    suffix = PurePosixPath(other.filename).suffix.lower()
                    if (
                        target.suffix == ".shp"
                        and suffix in _SHAPEFILE_PARTS
                        and other.filename[: -len(suffix)].casefold() == stem
                    ):
                        _unpack(archive, other, Path(folder) / f"layer{suffix}")
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
            raise UnreadableFile(
                f"{path.name} is a damaged or cut-off zip.", zh=f"{path.name} 压缩包已损坏或不完整。"
            ) from error
        yield target


def _unpack(archive: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path) -> None:
    """Write one member, at most as many bytes as it declares."""
    with archive.open(member) as packed, target.open("wb") as out:
        shutil.copyfileobj(packed, out, 1024 * 1024)
        if out.tell() > member.file_size:
            raise LimitExceeded("The zip holds more than it says.", zh="压缩包内容超过其声明的大小。")
