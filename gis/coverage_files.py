"""A coverage result as files: cloud-optimised GeoTIFFs by product and piece of land, and a description beside them."""

import json
import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from gis.cameras import Assumed, Rejected
from gis.coverage_chunks import CHUNK, PRODUCTS, CoverageResult, pack
from gis.errors import CRSMismatch, InputError, UnreadableFile
from gis.raster import raster_size, read_mosaic, write_cog
from gis.settings import CameraDefaults

__all__ = ["read_coverage", "write_coverage"]

PIECE_CELLS = 4096
DESCRIPTION = "coverage.json"


def write_coverage(
    result: CoverageResult, folder: Path, *, crs: Any = None, piece_cells: int = PIECE_CELLS, workers: int = 2
) -> list[Path]:
    """Write a result.

    For every product and piece of ``piece_cells`` cells in which there is anything: ``<product>_<row>_<col>.tif`` with
    one band for each density (how many cameras see a cell at that density or finer) and, last, the best class of
    density (0 not seen). Nothing is lost: `read_coverage` gives the same result.

    Parameters
    ----------
    result : CoverageResult
    folder : Path
        Is made; files of an earlier result in it are removed.
    crs : CRS-like, optional
        The analysis system, where the result does not know it.

    Returns
    -------
    list of Path
        The rasters written.

    Raises
    ------
    CRSMismatch
        No reference system is known.
    InputError
        The piece is not a multiple of 256 cells.
    """
    system = crs if crs is not None else result.crs
    if system is None:
        raise CRSMismatch("Coverage is not written without a reference system.", zh="没有坐标系，不能写出覆盖结果。")
    if piece_cells < CHUNK or piece_cells % CHUNK:
        raise InputError("A piece must be a multiple of 256 cells.", zh="分块大小须为 256 的倍数。")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for old in [*folder.glob("*.tif"), folder / DESCRIPTION]:
        old.unlink(missing_ok=True)
    per = piece_cells // CHUNK
    pieces = sorted({(math.floor(row / per), math.floor(col / per)) for row, col in result.chunks})
    n = len(result.densities_px_m)
    names = [f"cameras at {d:g} px/m" for d in result.densities_px_m] + ["best density class"]
    tags = {
        "BAIGE_FINGERPRINT": result.fingerprint,
        "BAIGE_MODE": result.mode,
        "BAIGE_TARGET_HEIGHT_M": f"{result.target_height_m:g}",
    }

    def piece(key: tuple[int, int]) -> list[Path]:
        rows = [k for k in result.chunks if (math.floor(k[0] / per), math.floor(k[1] / per)) == key]
        r0, r1 = min(k[0] for k in rows), max(k[0] for k in rows) + 1
        c0, c1 = min(k[1] for k in rows), max(k[1] for k in rows) + 1
        counts = result.window(r0 * CHUNK, c0 * CHUNK, (r1 - r0) * CHUNK, (c1 - c0) * CHUNK)
        paths = []
        for number, product in enumerate(PRODUCTS):
            part = counts[number * n : (number + 1) * n]
            if not part.any():
                continue
            bands = np.concatenate([part, (part > 0).sum(axis=0, dtype=np.uint16)[None]])
            small = bands.astype(np.uint8) if bands.max() < 256 else bands
            path = folder / f"{product}_{r0 * CHUNK}_{c0 * CHUNK}.tif"
            write_cog(
                path,
                small,
                west_m=c0 * CHUNK * result.cell_m,
                south_m=r0 * CHUNK * result.cell_m,
                cell_m=result.cell_m,
                crs=system,
                names=names,
                tags={**tags, "BAIGE_PRODUCT": product},
            )
            paths.append(path)
        return paths

    with ThreadPoolExecutor(max_workers=max(1, workers)) as pool:
        written = [path for paths in pool.map(piece, pieces) for path in paths]
    description = {
        "cell_m": result.cell_m,
        "densities_px_m": result.densities_px_m,
        "mode": result.mode,
        "target_height_m": result.target_height_m,
        "cameras_digest": f"{result.cameras_digest:x}",
        "surface_digest": result.surface_digest,
        "fingerprint": result.fingerprint,
        "crs": None if result.crs is None else str(result.crs),
        "cameras": result.cameras,
        "rejected": [asdict(r) for r in result.rejected],
        "tally": {str(int(bit)): count for bit, count in result.tally.items()},
        "defaults": result.defaults.model_dump(),
        "surface_assumptions": result.surface_assumptions,
        "assumptions": result.assumptions,
        "software": result.software,
        "files": [path.name for path in written],
    }
    (folder / DESCRIPTION).write_text(json.dumps(description, ensure_ascii=False, indent=1), encoding="utf-8")
    return written


def read_coverage(folder: Path) -> CoverageResult:
    """Read what `write_coverage` wrote.

    Raises
    ------
    UnreadableFile
        The description or a raster is missing or broken.
    """
    folder = Path(folder)
    try:
        text = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        result = CoverageResult(
            cell_m=float(text["cell_m"]),
            densities_px_m=tuple(text["densities_px_m"]),
            chunks={},
            mode=text["mode"],
            target_height_m=float(text["target_height_m"]),
            cameras_digest=int(text["cameras_digest"], 16),
            surface_digest=text["surface_digest"],
            crs=text["crs"],
            cameras=int(text["cameras"]),
            rejected=tuple(Rejected(**r) for r in text["rejected"]),
            tally={Assumed(int(bit)): count for bit, count in text["tally"].items()},
            defaults=CameraDefaults(**text["defaults"]),
            surface_assumptions=tuple(text["surface_assumptions"]),
            software=text["software"],
        )
        files = [str(name) for name in text["files"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UnreadableFile("There is no readable coverage result.", zh="没有可读的覆盖结果。") from error
    n, cell = len(result.densities_px_m), result.cell_m
    places: dict[tuple[int, int], list[tuple[int, Path]]] = {}
    for name in files:
        product, south, west = name.removesuffix(".tif").rsplit("_", 2)
        places.setdefault((int(south), int(west)), []).append((PRODUCTS.index(product), folder / name))
    for (row, col), parts in places.items():
        rows, cols = raster_size(parts[0][1])
        counts = np.zeros((result.bands, rows, cols), dtype=np.uint16)
        for number, path in parts:
            bands = read_mosaic(
                [path],
                west_m=col * cell,
                south_m=row * cell,
                rows=rows,
                cols=cols,
                cell_m=cell,
                bands=n + 1,
                dtype=np.uint16,
            )
            counts[number * n : (number + 1) * n] = bands[:n]
        for r in range(0, rows, CHUNK):
            for c in range(0, cols, CHUNK):
                chunk = counts[:, r : r + CHUNK, c : c + CHUNK]
                if chunk.any():
                    result.chunks[((row + r) // CHUNK, (col + c) // CHUNK)] = pack(chunk)
    return result
