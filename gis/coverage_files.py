"""A coverage result as files: cloud-optimised GeoTIFFs by product and piece of land, and a description beside them."""

import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gis.cameras import Assumed, Rejected
from gis.cog import Patch, open_patch
from gis.coverage_chunks import CHUNK, PRODUCTS, CoverageResult, pack
from gis.errors import CRSMismatch, InputError, UnreadableFile
from gis.raster import raster_size, read_mosaic, write_cog
from gis.settings import CameraDefaults

__all__ = ["follow_coverage", "read_coverage", "write_coverage"]

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
    pieces = sorted({_piece_of(key, per) for key in result.chunks})
    with ThreadPoolExecutor(max_workers=max(1, workers)) as pool:
        done = pool.map(lambda piece: _write_piece(result, folder, piece, per, system), pieces)
        written = [path for paths in done for path, _ in paths]
    _describe(result, folder, [path.name for path in written], piece_cells)
    return written


def follow_coverage(
    before: CoverageResult, after: CoverageResult, source: Path, folder: Path, *, crs: Any = None
) -> list[Path]:
    """Write a result of which most is as it was: rasters that are the same are shared with those of the result before.

    Of the others only the blocks that changed are encoded again (`gis.cog`); where that does not go, their piece of land is written anew.

    Parameters
    ----------
    before : CoverageResult
        What `write_coverage` (or this function) wrote to ``source``, which stays as it is.
    after : CoverageResult
    folder : Path
        Is made. Files that did not change are hard links (copies, where the file system knows none), so that either folder can be deleted.
    crs : CRS-like, optional
        The analysis system, where the result does not know it.

    Returns
    -------
    list of Path
        The rasters that were written anew. The tag of the fingerprint in the others is that of the result that they were written for.

    Raises
    ------
    CRSMismatch
        No reference system is known.
    UnreadableFile
        ``source`` holds no result.
    """
    system = crs if crs is not None else after.crs
    if system is None:
        raise CRSMismatch("Coverage is not written without a reference system.", zh="没有坐标系，不能写出覆盖结果。")
    try:
        text = json.loads((Path(source) / DESCRIPTION).read_text(encoding="utf-8"))
        old, piece_cells = [str(name) for name in text["files"]], int(text.get("piece_cells", PIECE_CELLS))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UnreadableFile("There is no readable coverage result.", zh="没有可读的覆盖结果。") from error
    per = piece_cells // CHUNK
    differ: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for key, data in after.chunks.items():
        was = before.chunks.get(key)
        if was is not data and was != data:
            differ.setdefault(_piece_of(key, per), []).append(key)
    for key in before.chunks.keys() - after.chunks.keys():
        differ.setdefault(_piece_of(key, per), []).append(key)
    Path(folder).mkdir(parents=True)
    names: list[str] = []
    files: dict[tuple[int, int], list[str]] = {piece: [] for piece in differ}
    for name in old:
        _, row, col = _place_of(name)
        piece = _piece_of((row // CHUNK, col // CHUNK), per)
        if piece in differ:
            files[piece].append(name)
        else:
            _share(f"{source}/{name}", f"{folder}/{name}")  # thousands: a Path for each takes longer than the link
            names.append(name)
    written = []
    for piece in sorted(differ):
        made = None
        if _extent(before, piece, per) == _extent(after, piece, per):
            made = _patch_piece(before, after, Path(source), Path(folder), files[piece], sorted(differ[piece]))
        if made is None:
            made = _write_piece(after, Path(folder), piece, per, system)
        names += [path.name for path, _ in made]
        written += [path for path, new in made if new]
    _describe(after, Path(folder), sorted(names), piece_cells)
    return written


def _patch_piece(
    before: CoverageResult,
    after: CoverageResult,
    source: Path,
    folder: Path,
    names: list[str],
    keys: list[tuple[int, int]],
) -> list[tuple[Path, bool]] | None:
    """Rasters of a piece of land of which only the chunks ``keys`` changed, and whether each is new.

    The chunks must lie within the files. None where these cannot hold the change (a product that there was not, more than 255 cameras) or
    are laid out in another way: then the piece is to be written anew.
    """
    n = len(after.densities_px_m)
    bands = {key: (before.peek(*key), after.peek(*key)) for key in keys}
    by_product = {_place_of(name)[0]: name for name in names}
    work: list[tuple[str, Patch | None, dict[tuple[int, int], npt.NDArray[Any]]]] = []
    for number, product in enumerate(PRODUCTS):
        part = slice(number * n, (number + 1) * n)
        changed = [key for key, (old, new) in bands.items() if not np.array_equal(old[part], new[part])]
        name = by_product.get(product)
        if name is None:
            if changed:
                return None
            continue
        if not changed:
            work.append((name, None, {}))
            continue
        patch = open_patch(source / name)
        if patch is None or (patch.side, patch.bands, patch.dtype.itemsize) != (CHUNK, n + 1, 1):
            return None
        _, row, col = _place_of(name)
        blocks = {}
        for key in changed:
            counts = bands[key][1][part]
            if int(counts.max()) > 255:
                return None
            place = (patch.height // CHUNK - 1 - (key[0] - row // CHUNK), key[1] - col // CHUNK)
            blocks[place] = _with_best(counts).astype(np.uint8)[:, ::-1]
        work.append((name, patch, blocks))

    def make(item: tuple[str, Patch | None, dict[tuple[int, int], npt.NDArray[Any]]]) -> tuple[Path, bool] | None:
        name, patch, blocks = item
        if patch is None:
            _share(source / name, folder / name)
        elif not patch.write(folder / name, blocks):
            return None
        return folder / name, patch is not None

    return [made for made in _pool().map(make, work) if made is not None]


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=2, thread_name_prefix="rasters")


def _with_best(counts: npt.NDArray[np.uint16]) -> npt.NDArray[np.uint16]:
    """Counts of a product and, as a last band, the best class of density."""
    return np.concatenate([counts, (counts > 0).sum(axis=0, dtype=np.uint16)[None]])


def _piece_of(key: tuple[int, int], per: int) -> tuple[int, int]:
    return key[0] // per, key[1] // per


def _place_of(name: str) -> tuple[str, int, int]:
    """Product, first row and first column of a raster from its name."""
    product, row, col = name.removesuffix(".tif").rsplit("_", 2)
    return product, int(row), int(col)


def _share(source: str | Path, target: str | Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copy2(source, target)


def _extent(result: CoverageResult, piece: tuple[int, int], per: int) -> tuple[int, int, int, int] | None:
    """First row, end row, first column, end column of the chunks of a piece; None where there are none."""
    keys = [
        (row, col)
        for row in range(piece[0] * per, (piece[0] + 1) * per)
        for col in range(piece[1] * per, (piece[1] + 1) * per)
        if (row, col) in result.chunks
    ]
    if not keys:
        return None
    rows, cols = [row for row, _ in keys], [col for _, col in keys]
    return min(rows), max(rows) + 1, min(cols), max(cols) + 1


def _write_piece(
    result: CoverageResult,
    folder: Path,
    piece: tuple[int, int],
    per: int,
    system: Any,
) -> list[tuple[Path, bool]]:
    """Rasters of a piece of land; all are new."""
    extent = _extent(result, piece, per)
    if extent is None:
        return []
    n = len(result.densities_px_m)
    r0, r1, c0, c1 = extent
    window = (r0 * CHUNK, c0 * CHUNK, (r1 - r0) * CHUNK, (c1 - c0) * CHUNK)
    counts = result.window(*window)
    paths = []
    for number, product in enumerate(PRODUCTS):
        part = counts[number * n : (number + 1) * n]
        if not part.any():
            continue
        path = folder / f"{product}_{r0 * CHUNK}_{c0 * CHUNK}.tif"
        paths.append((path, True))
        bands = _with_best(part)
        small = bands.astype(np.uint8) if bands.max() < 256 else bands
        write_cog(
            path,
            small,
            west_m=c0 * CHUNK * result.cell_m,
            south_m=r0 * CHUNK * result.cell_m,
            cell_m=result.cell_m,
            crs=system,
            names=[f"cameras at {d:g} px/m" for d in result.densities_px_m] + ["best density class"],
            tags={
                "BAIGE_FINGERPRINT": result.fingerprint,
                "BAIGE_MODE": result.mode,
                "BAIGE_TARGET_HEIGHT_M": f"{result.target_height_m:g}",
                "BAIGE_PRODUCT": product,
            },
        )
    return paths


def _describe(result: CoverageResult, folder: Path, files: list[str], piece_cells: int) -> None:
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
        "rejected": [vars(r) for r in result.rejected],
        "tally": {str(int(bit)): count for bit, count in result.tally.items()},
        "defaults": result.defaults.model_dump(),
        "surface_assumptions": result.surface_assumptions,
        "assumptions": result.assumptions,
        "software": result.software,
        "piece_cells": piece_cells,
        "files": files,
    }
    (folder / DESCRIPTION).write_text(json.dumps(description, ensure_ascii=False), encoding="utf-8")


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
        product, south, west = _place_of(name)
        places.setdefault((south, west), []).append((PRODUCTS.index(product), folder / name))
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
