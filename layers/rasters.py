"""Height rasters that the database knows: put there as cloud-optimised GeoTIFF under ``BAIGE_HOME/rasters``, read as windows.

A raster is two files, ``NAME.tif`` (heights) and ``NAME.flags.tif`` (measured, filled, void; see `gis.mosaic.Flag`), and a row of
``baige_sys.raster``. Files are made aside and renamed before the row is written; without its row a file does not count.
"""

import json
import logging
import math
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa
from affine import Affine
from numpy.typing import NDArray
from sqlalchemy.engine import Connection, RowMapping

from gis.crs import transformer
from gis.errors import DatabaseUnavailable, InputError, NotFound
from gis.mosaic import Mosaic, read_heights, write_heights
from layers.access import SYSTEM, Principal
from layers.database import Database

__all__ = [
    "Raster",
    "add_heights",
    "dem_parts",
    "dem_rasters",
    "dem_window",
    "drop_coverage",
    "find_raster",
    "move_coverage",
    "publish",
    "register_coverage",
    "remove_raster",
    "staging",
]

log = logging.getLogger(__name__)

Bounds = tuple[float, float, float, float]
_STALE_S = 86_400.0
_NAME = re.compile(r"^[^\x00-\x1f/\\]{1,100}$")
_COLUMNS = "id, name, kind, path, srid, west, south, east, north, cell_m, void_count, filled_count, vertical_crs, synthetic, classification"


@dataclass(frozen=True)
class Raster:
    """A row of the registry; ``bounds`` in ``srid``, ``path`` relative to ``BAIGE_HOME/rasters``."""

    id: uuid.UUID
    name: str
    kind: str
    path: str
    srid: int
    bounds: Bounds
    cell_m: float
    void_count: int
    filled_count: int
    vertical_crs: str | None
    synthetic: bool
    classification: str

    @classmethod
    def from_row(cls, row: RowMapping) -> "Raster":
        """From a row with the columns of the registry."""
        bounds = (row["west"], row["south"], row["east"], row["north"])
        plain = {name: row[name] for name in cls.__dataclass_fields__ if name != "bounds"}
        return cls(bounds=bounds, **plain)

    def files(self, home: Path) -> tuple[Path, Path]:
        """Where heights and flags lie."""
        heights = home / "rasters" / self.path
        return heights, _flags_of(heights)


def _flags_of(heights: Path) -> Path:
    return heights.with_name(heights.stem + ".flags.tif")


def find_raster(connection: Connection, name: str) -> Raster:
    """The raster of that name.

    Raises
    ------
    NotFound
        There is none.
    """
    row = (
        connection.execute(sa.text(f"SELECT {_COLUMNS} FROM baige_sys.raster WHERE name = :name"), {"name": name})
        .mappings()
        .first()
    )
    if row is None:
        raise NotFound(f"There is no raster {name!r}.", zh=f"没有名为 {name!r} 的栅格。")
    return Raster.from_row(row)


def _overlaps(raster: Raster, bounds: Bounds, srid: int) -> bool:
    west, south, east, north = bounds
    if raster.srid != srid:
        west, south, east, north = transformer(srid, raster.srid).transform_bounds(*bounds, densify_pts=21)
    own = raster.bounds
    return own[0] < east and own[2] > west and own[1] < north and own[3] > south


def dem_rasters(connection: Connection, bounds: Bounds | None = None, *, srid: int = 4326) -> list[Raster]:
    """Elevation models, the finest first, of equally fine ones the newest; only those that overlap ``bounds`` (in ``srid``) if given."""
    rows = connection.execute(
        sa.text(
            f"SELECT {_COLUMNS} FROM baige_sys.raster WHERE kind = 'dem' ORDER BY round(cell_m::numeric, 2), created_at DESC"
        )
    ).mappings()
    found = [Raster.from_row(row) for row in rows]
    return found if bounds is None else [raster for raster in found if _overlaps(raster, bounds, srid)]


def dem_window(
    source: Database | Connection, home: Path, bounds: Bounds, *, srid: int, cell_m: float, smooth: bool = False
) -> tuple[NDArray[np.float32], Affine, NDArray[np.bool_]]:
    """Heights of the ground in a window, from all elevation models that overlap it: the finest where it has a height, else the next.

    Parameters
    ----------
    source : Database or Connection
        Where the registry is.
    home : Path
        ``BAIGE_HOME``.
    bounds : tuple of float
        West, south, east, north in ``srid``; rounded up to whole cells from the north-west corner.
    srid : int
        EPSG code of a system in metres, usually the city's analysis system.
    cell_m : float
        Side of a cell.
    smooth : bool, default False
        For pictures: where a model is coarser than the window its cells show no facets. Never for measuring.

    Returns
    -------
    heights : ndarray of float32, shape (rows, columns)
        Metres, resampled bilinearly, or by cubic splines where ``smooth``; row 0 is the northernmost; NaN where nothing is known.
    transform : Affine
        From column, row to x, y.
    filled : ndarray of bool, shape (rows, columns)
        Cells whose height was filled into a void, not measured.

    Raises
    ------
    NotFound
        No elevation model overlaps the window.
    RasterReadFailed, LimitExceeded
    """
    if isinstance(source, Database):
        with source.begin(readonly=True) as connection:
            rasters = dem_rasters(connection, bounds, srid=srid)
    else:
        rasters = dem_rasters(source, bounds, srid=srid)
    if not rasters:
        raise NotFound(
            "No elevation model covers this place; load one with 'baige load-dem'.",
            zh="此处没有高程数据，请用 baige load-dem 加载。",
        )
    heights, transform, filled = read_heights(*rasters[0].files(home), bounds, srid=srid, cell_m=cell_m, smooth=smooth)
    for raster in rasters[1:]:
        empty = np.isnan(heights)
        if not empty.any():
            break
        more, _, more_filled = read_heights(*raster.files(home), bounds, srid=srid, cell_m=cell_m, smooth=smooth)
        heights[empty] = more[empty]
        filled[empty] = more_filled[empty]
    return heights, transform, filled


def dem_parts(
    connection: Connection, home: Path, bounds: Bounds, *, srid: int, cells_max: int
) -> list[tuple[NDArray[np.float32], Affine, NDArray[np.bool_]]]:
    """The elevation models that overlap a window, each in its own resolution, the finest first; as `dem_window` otherwise.

    Parameters
    ----------
    cells_max : int
        A model that would have more cells in the window is read coarser.
    """
    parts = []
    for raster in dem_rasters(connection, bounds, srid=srid):
        west, south, east, north = raster.bounds
        if raster.srid != srid:
            west, south, east, north = transformer(raster.srid, srid).transform_bounds(
                west, south, east, north, densify_pts=21
            )
        own = (max(west, bounds[0]), max(south, bounds[1]), min(east, bounds[2]), min(north, bounds[3]))
        area = max(own[2] - own[0], 0.0) * max(own[3] - own[1], 0.0)
        if area > 0.0:
            cell_m = max(raster.cell_m, math.sqrt(area / cells_max))
            parts.append(read_heights(*raster.files(home), own, srid=srid, cell_m=cell_m))
    return parts


@contextmanager
def staging(home: Path) -> Iterator[Path]:
    """A folder beside the rasters in which files are made before they are published; gone afterwards, whatever happened."""
    folder = home / "rasters" / ".staging" / uuid.uuid4().hex
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def publish(
    database: Database,
    home: Path,
    staged_heights: Path,
    staged_flags: Path,
    mosaic: Mosaic,
    *,
    name: str,
    kind: str = "dem",
    vertical_crs: str | None = None,
    sources: Sequence[Mapping[str, Any]] = (),
    synthetic: bool = False,
    classification: str = "internal",
    run_id: uuid.UUID | None = None,
    principal: Principal = SYSTEM,
) -> Raster:
    """Make finished files known under ``name``; a raster of that name is replaced, and its files go once the new row is committed.

    Parameters
    ----------
    staged_heights, staged_flags : Path
        Finished files in a folder of `staging`; they are renamed away.
    mosaic : Mosaic
        What they hold.
    vertical_crs : str, optional
        Height reference, as ``EPSG:5737``.
    sources : sequence of mapping
        For each source file its name, sum and reference system.

    Raises
    ------
    InputError
        ``name`` is empty, too long, or holds a slash or control character.
    """
    if not _NAME.match(name) or not name.strip():
        raise InputError(f"{name!r} cannot name a raster.", zh=f"{name!r} 不能作为栅格名称。")
    folder = home / "rasters" / kind
    folder.mkdir(parents=True, exist_ok=True)
    slug = re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-")[:40] or kind
    heights = folder / f"{slug}-{uuid.uuid4().hex[:12]}.tif"
    flags = _flags_of(heights)
    old: str | None = None
    try:
        os.replace(staged_flags, flags)
        os.replace(staged_heights, heights)
        _sync(folder)
        with database.begin(principal) as connection:
            connection.execute(
                sa.text("SELECT pg_advisory_xact_lock(hashtext('baige raster ' || :name))"), {"name": name}
            )
            old = connection.execute(
                sa.text("SELECT path FROM baige_sys.raster WHERE name = :name"), {"name": name}
            ).scalar()
            values = {
                "name": name, "kind": kind, "path": f"{kind}/{heights.name}", "srid": mosaic.srid, "west": mosaic.bounds[0],
                "south": mosaic.bounds[1], "east": mosaic.bounds[2], "north": mosaic.bounds[3], "cell_m": mosaic.cell_m,
                "nodata": -32768.0, "void_count": mosaic.void_count, "filled_count": mosaic.filled_count, "vertical_crs": vertical_crs,
                "run_id": run_id, "sources": json.dumps(list(sources), ensure_ascii=False), "synthetic": synthetic,
                "classification": classification,
            }  # fmt: skip
            columns = ", ".join(values)
            places = ", ".join("cast(:sources AS jsonb)" if column == "sources" else f":{column}" for column in values)
            updates = ", ".join(f"{column} = excluded.{column}" for column in values if column != "name")
            row = (
                connection.execute(
                    sa.text(
                        f"INSERT INTO baige_sys.raster ({columns}) VALUES ({places}) ON CONFLICT (name)"
                        f" DO UPDATE SET {updates}, id = excluded.id, created_at = now() RETURNING {_COLUMNS}"
                    ),
                    values,
                )
                .mappings()
                .one()
            )
            raster = Raster.from_row(row)
    except DatabaseUnavailable:
        # The connection may have been lost after the commit: then the row counts and needs its files.
        raise
    except BaseException:
        heights.unlink(missing_ok=True)
        flags.unlink(missing_ok=True)
        raise
    if old is not None:
        _remove_files(home, old)
    _sweep(home)
    log.info("raster %s: %s", name, raster.path)
    return raster


def add_heights(
    database: Database,
    home: Path,
    heights: NDArray[np.floating[Any]],
    transform: Affine,
    srid: int,
    *,
    name: str,
    **options: Any,
) -> Raster:
    """Store an array of heights under ``name``; ``options`` as of `publish`. Shapes and units as of `gis.mosaic.write_heights`."""
    with staging(home) as folder:
        height_file, flag_file = folder / "heights.tif", folder / "flags.tif"
        mosaic = write_heights(heights, transform, srid, height_file, flag_file)
        return publish(database, home, height_file, flag_file, mosaic, name=name, **options)


def register_coverage(
    connection: Connection,
    *,
    run_id: uuid.UUID,
    folder: str | None,
    srid: int,
    bounds: Bounds,
    cell_m: float,
    synthetic: bool,
) -> list[str]:
    """Make the rasters of a coverage run known as ``coverage``; returns the folders of runs before, to be deleted after the commit.

    Parameters
    ----------
    folder : str or None
        Relative to ``BAIGE_HOME/rasters``; what `gis.coverage_files.write_coverage` wrote. None when the run wrote no rasters: those of
        an earlier run no longer hold.
    bounds : tuple of float
        West, south, east, north in EPSG ``srid``.
    """
    old = connection.execute(sa.text("SELECT path FROM baige_sys.raster WHERE kind = 'coverage'")).scalars().all()
    connection.execute(sa.text("DELETE FROM baige_sys.raster WHERE kind = 'coverage'"))
    if folder is None:
        return [str(path) for path in old]
    connection.execute(
        sa.text(
            "INSERT INTO baige_sys.raster (name, kind, path, srid, west, south, east, north, cell_m, run_id, synthetic)"
            " VALUES ('coverage', 'coverage', :path, :srid, :west, :south, :east, :north, :cell, :run, :synthetic)"
        ),
        {
            "path": folder,
            "srid": srid,
            "west": bounds[0],
            "south": bounds[1],
            "east": bounds[2],
            "north": bounds[3],
            "cell": cell_m,
            "run": run_id,
            "synthetic": synthetic,
        },
    )
    return [str(path) for path in old]


def drop_coverage(home: Path, paths: Sequence[str], *, keep: Sequence[str] = ()) -> None:
    """Delete folders of coverage rasters that are no longer known, with what a broken-off follower of the same run left beside.

    Parameters
    ----------
    paths : sequence of str
        Relative to ``BAIGE_HOME/rasters``; ``keep`` are folders of the same run that stay.
    """
    stay = {home / "rasters" / path for path in keep}
    for path in paths:
        folder = home / "rasters" / path
        run = folder.name.split(".")[0]
        for rest in folder.parent.glob(f"{run}*"):
            if rest not in stay:
                shutil.rmtree(rest, ignore_errors=True)


def move_coverage(connection: Connection, *, run_id: uuid.UUID, folder: str, bounds: Bounds) -> str | None:
    """Make other rasters of the same coverage run known; returns the folder of those before, to be deleted after the commit.

    Parameters
    ----------
    folder : str
        Relative to ``BAIGE_HOME/rasters``.
    bounds : tuple of float
        West, south, east, north in the system that they were registered in.

    Returns
    -------
    str or None
        None when the known rasters are not of this run: nothing is changed then.
    """
    old = connection.execute(
        sa.text("SELECT path FROM baige_sys.raster WHERE kind = 'coverage' AND run_id = :run FOR UPDATE"), {"run": run_id}
    ).scalar()
    if old is None:
        return None
    west, south, east, north = bounds
    connection.execute(
        sa.text(
            "UPDATE baige_sys.raster SET path = :path, west = :west, south = :south, east = :east, north = :north,"
            " created_at = clock_timestamp() WHERE kind = 'coverage' AND run_id = :run"
        ),
        {"path": folder, "west": west, "south": south, "east": east, "north": north, "run": run_id},
    )
    return str(old)


def remove_raster(database: Database, home: Path, name: str, *, principal: Principal = SYSTEM) -> None:
    """Forget a raster and delete its files.

    Raises
    ------
    NotFound
        There is none of that name.
    """
    with database.begin(principal) as connection:
        path = connection.execute(
            sa.text("DELETE FROM baige_sys.raster WHERE name = :name RETURNING path"), {"name": name}
        ).scalar()
    if path is None:
        raise NotFound(f"There is no raster {name!r}.", zh=f"没有名为 {name!r} 的栅格。")
    _remove_files(home, path)


def _remove_files(home: Path, path: str) -> None:
    heights = home / "rasters" / path
    heights.unlink(missing_ok=True)
    _flags_of(heights).unlink(missing_ok=True)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sweep(home: Path) -> None:
    """Delete staging folders that a crash left, older than a day. Other files stay: another database may know them."""
    limit = time.time() - _STALE_S
    for folder in (home / "rasters" / ".staging").glob("*"):
        if folder.stat().st_mtime < limit:
            shutil.rmtree(folder, ignore_errors=True)
