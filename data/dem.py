"""Elevation models: HGT and GeoTIFF files into a mosaic that the database knows."""

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gis.crs import transformer
from gis.errors import InputError
from gis.heightfile import HeightFile, inspect_heights, vertical_reference
from gis.mosaic import Mosaic, mosaic_heights
from gis.settings import CityConfig
from layers.access import SYSTEM, Principal
from layers.database import Database
from layers.rasters import Raster, publish, staging

__all__ = ["DemReport", "load_dem"]

log = logging.getLogger(__name__)

Bounds = tuple[float, float, float, float]


@dataclass(frozen=True)
class DemReport:
    """What a load of elevation models did or, as a dry run, would do; ``raster`` is None then, ``mosaic`` too."""

    files: tuple[HeightFile, ...]
    mosaic: Mosaic | None
    raster: Raster | None
    vertical_crs: str | None

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        out: dict[str, Any] = {
            "files": [
                {
                    "file": file.path.name, "format": file.driver, "srid": file.srid, "bounds": list(file.bounds),
                    "cell_m": round(file.cell_m, 3), "width": file.width, "height": file.height, "nodata": file.nodata,
                }
                for file in self.files
            ],
            "vertical_crs": self.vertical_crs,
        }  # fmt: skip
        if self.mosaic is not None:
            out["mosaic"] = {
                "srid": self.mosaic.srid, "bounds": list(self.mosaic.bounds), "width": self.mosaic.width, "height": self.mosaic.height,
                "cell_m": round(self.mosaic.cell_m, 3), "void_count": self.mosaic.void_count, "filled_count": self.mosaic.filled_count,
                "height_min_m": self.mosaic.height_min_m, "height_max_m": self.mosaic.height_max_m,
            }  # fmt: skip
        if self.raster is not None:
            out["raster"] = {"id": str(self.raster.id), "name": self.raster.name, "path": self.raster.path}
        return out


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _check_city(files: Sequence[HeightFile], city: CityConfig) -> None:
    west, south, east, north = city.bounds
    for file in files:
        own = file.bounds
        if file.srid not in (4326, city.storage_srid):
            own = transformer(file.srid, 4326).transform_bounds(*own, densify_pts=21)
        if own[0] < east and own[2] > west and own[1] < north and own[3] > south:
            return
    names = ", ".join(file.path.name for file in files[:3])
    raise InputError(
        f"{names}: nothing of it lies in {city.name_en} ({west:g}, {south:g} to {east:g}, {north:g}). Name another city file in"
        " BAIGE_CITY, or load it all the same with --anywhere.",
        zh=f"{names}：不在{city.name_zh}范围内（{west:g}, {south:g} – {east:g}, {north:g}）。请用 BAIGE_CITY 指定城市文件，或加 --anywhere。",
    )


def load_dem(
    database: Database | None,
    home: Path,
    paths: Sequence[Path],
    city: CityConfig,
    *,
    name: str | None = None,
    crs: str | None = None,
    vertical: str | None = None,
    fill_cells: int = 100,
    anywhere: bool = False,
    principal: Principal = SYSTEM,
    on_progress: Callable[[int, int], None] | None = None,
) -> DemReport:
    """Check height files, lay them into one mosaic on the grid of the finest, fill voids, and make it known to the database.

    Parameters
    ----------
    database : Database or None
        None only checks the files (a dry run).
    home : Path
        ``BAIGE_HOME``; the raster goes below it.
    paths : sequence of Path
        HGT tiles or GeoTIFF; later ones count before earlier ones of the same resolution.
    name : str, optional
        Name of the raster; that of the first file if not given. A raster of that name is replaced.
    crs : str, optional
        Reference system of files that have none or lie.
    vertical : str, optional
        Height reference, as ``EPSG:5737``.
    fill_cells : int
        How far voids are filled, in cells; 0 leaves them.

    Raises
    ------
    UnreadableFile, CRSMismatch, InputError, LimitExceeded
    """
    if not paths:
        raise InputError("Give at least one file.", zh="请至少给出一个文件。")
    vertical_crs = vertical_reference(vertical)
    files = tuple(inspect_heights(path, crs=crs) for path in paths)
    if not anywhere:
        _check_city(files, city)
    if database is None:
        return DemReport(files, None, None, vertical_crs)
    sources = [
        {"file": file.path.name, "sha256": _sha256(file.path), "srid": file.srid, "cell_m": round(file.cell_m, 3)}
        for file in files
    ]
    with staging(home) as folder:
        heights, flags = folder / "heights.tif", folder / "flags.tif"
        mosaic = mosaic_heights(files, heights, flags, fill_cells=fill_cells, on_progress=on_progress)
        raster = publish(
            database, home, heights, flags, mosaic, name=name or paths[0].stem, kind="dem", vertical_crs=vertical_crs, sources=sources,
            principal=principal,
        )  # fmt: skip
    log.info("elevation model %s: %s cells of %.1f m", raster.name, f"{mosaic.width * mosaic.height:,}", mosaic.cell_m)
    return DemReport(files, mosaic, raster, vertical_crs)
