"""The file of a backup: a tar archive of ``manifest.json``, ``database.dump`` and the raster files, written whole, read with distrust."""

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import IO, Any

from pydantic import BaseModel, ConfigDict, ValidationError

from gis.errors import UnreadableFile
from layers.backup_checksums import TableSum

__all__ = ["DUMP", "FORMAT", "FileSum", "Manifest", "file_sum", "read_archive", "write_archive"]

#: Number of this form of archive; one with a greater number was written by a newer version.
FORMAT = 1
MANIFEST = "manifest.json"
DUMP = "database.dump"
RASTERS = "rasters"
_MANIFEST_MAX = 64 * 1024 * 1024
_CHUNK = 1024 * 1024


class FileSum(BaseModel):
    """Size in bytes and SHA-256 of a file in the archive."""

    model_config = ConfigDict(frozen=True)

    size: int
    sha256: str


class Manifest(BaseModel):
    """What an archive holds and where it came from.

    Attributes
    ----------
    software : str
        Name and version of what wrote it.
    revision : str
        Migration that the schema stood at.
    postgresql, postgis : str
        Versions of server and extension.
    pg_dump : int
        Major version of the program that wrote the dump.
    storage_srid : int
        EPSG code of the stored geometries.
    tables : tuple of TableSum
        Rows and checksum of every table, layers first, then their history, then the system's.
    files : dict
        Name in the archive → size and sum.
    missing_rasters : tuple of str
        Files that the registry of rasters names but that were not on disk.
    reference_systems : tuple of dict
        Rows of ``spatial_ref_sys`` that do not come with PostGIS.
    roles : tuple of str
        Database roles of the operator's own that hold rights on the tables.
    """

    model_config = ConfigDict(frozen=True)

    format: int
    software: str
    revision: str
    postgresql: str
    postgis: str
    pg_dump: int
    storage_srid: int
    made_at: datetime
    tables: tuple[TableSum, ...]
    files: dict[str, FileSum]
    missing_rasters: tuple[str, ...] = ()
    reference_systems: tuple[dict[str, Any], ...] = ()
    roles: tuple[str, ...] = ()

    @property
    def features(self) -> int:
        """Features in all layers together."""
        return sum(item.rows for item in self.tables if item.schema_name == "baige")


def file_sum(path: Path) -> FileSum:
    """Size and SHA-256 of a file."""
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return FileSum(size=path.stat().st_size, sha256=digest)


def write_archive(
    path: Path, manifest: Manifest, sources: Mapping[str, Path], *, on_file: Callable[[int, int], None] | None = None
) -> None:
    """Write a new file ``path``, readable by its owner only, and see it onto the disk.

    Parameters
    ----------
    sources : mapping
        Name in the archive → file; the names of ``manifest.files``.
    """
    text = manifest.model_dump_json(indent=1).encode()
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as out:
        os.fchmod(out.fileno(), 0o600)
        with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
            archive.addfile(_member(MANIFEST, len(text), manifest.made_at), io.BytesIO(text))
            for number, (name, source) in enumerate(sources.items(), 1):
                with source.open("rb") as stream:
                    archive.addfile(_member(name, manifest.files[name].size, manifest.made_at), stream)
                if on_file is not None:
                    on_file(number, len(sources))
        out.flush()
        os.fsync(out.fileno())


def _member(name: str, size: int, at: datetime) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.mtime = size, 0o600, int(at.timestamp())
    return member


def _broken(en: str, zh: str) -> UnreadableFile:
    return UnreadableFile(f"This backup cannot be used: {en}.", zh=f"该备份无法使用：{zh}。")


def _check_name(member: tarfile.TarInfo) -> None:
    """Refuse whatever would not land as a plain file inside the folder it is unpacked to."""
    path = PurePosixPath(member.name)
    inside = member.name == DUMP or (len(path.parts) > 1 and path.parts[0] == RASTERS)
    plain = member.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and not member.issparse()
    tidy = ".." not in path.parts and str(path) == member.name and not any(c in member.name for c in "\\\0")
    if not (inside and plain and tidy):
        raise _broken(
            f"it holds an entry that does not belong there ({member.name!r})", f"含有不应存在的条目（{member.name!r}）"
        )


def _read_manifest(archive: tarfile.TarFile) -> Manifest:
    first = archive.next()
    if first is None or first.name != MANIFEST or not first.isreg() or first.size > _MANIFEST_MAX:
        raise _broken("it is not a backup of Baige", "不是百格的备份文件")
    stream = archive.extractfile(first)
    text = stream.read() if stream is not None else b""
    try:
        number = json.loads(text)["format"]
        if isinstance(number, int) and number > FORMAT:
            raise UnreadableFile(
                f"This backup was written by a newer version of Baige (form {number}; this version reads up to {FORMAT}). Upgrade first.",
                zh=f"该备份由更新版本的百格写成（格式 {number}，本版本最高支持 {FORMAT}）。请先升级软件。",
            )
        return Manifest.model_validate_json(text)
    except (ValueError, KeyError, TypeError, ValidationError) as error:
        raise _broken("its list of contents cannot be read", "其目录清单无法读取") from error


def _unpack(stream: IO[bytes], target: Path, mode: int) -> FileSum:
    target.parent.mkdir(parents=True, exist_ok=True)
    digest, size = hashlib.sha256(), 0
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "wb") as out:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
            out.write(chunk)
        out.flush()
        os.fsync(out.fileno())
    return FileSum(size=size, sha256=digest.hexdigest())


def read_archive(path: Path, folder: Path, *, on_file: Callable[[int, int], None] | None = None) -> Manifest:
    """Unpack an archive into an empty folder; everything in it is checked against its manifest.

    Raises
    ------
    UnreadableFile
        It is no backup, is truncated or damaged, holds entries that do not belong there, or was written by a newer version.
    """
    try:
        with tarfile.open(path, "r:") as archive:
            manifest = _read_manifest(archive)
            seen: set[str] = set()
            while (member := archive.next()) is not None:
                _check_name(member)
                expected = manifest.files.get(member.name)
                stream = archive.extractfile(member)
                if expected is None or member.name in seen or stream is None or member.size != expected.size:
                    raise _broken(f"{member.name!r} is not in its list of contents", f"{member.name!r} 与目录清单不符")
                seen.add(member.name)
                if _unpack(stream, folder / member.name, 0o600 if member.name == DUMP else 0o644) != expected:
                    raise _broken(
                        f"{member.name!r} is damaged (wrong checksum)", f"{member.name!r} 已损坏（校验和不符）"
                    )
                if on_file is not None:
                    on_file(len(seen), len(manifest.files))
    except (tarfile.TarError, EOFError) as error:
        raise _broken("the file is damaged or truncated", "文件已损坏或不完整") from error
    if missing := sorted(manifest.files.keys() - seen):
        raise _broken(f"the file is truncated, {missing[0]!r} is missing", f"文件不完整，缺少 {missing[0]!r}")
    if DUMP not in seen:
        raise _broken("it holds no database", "其中没有数据库")
    return manifest
