"""The result of a coverage run.

Counts of cameras in compressed chunks of 256 × 256 cells, kept only where there is anything.

Chunks lie on the lattice of the analysis system, whatever tiles the work was cut into, and hold whole numbers: two runs
with the same cameras and surface hold the same bytes.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from threading import Lock

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gis.cameras import Assumed, Rejected, describe_assumed
from gis.errors import InputError
from gis.settings import CameraDefaults

__all__ = ["CHUNK", "ENGINE", "PRODUCTS", "CoverageResult", "fingerprint", "pack", "pack_open", "unpack"]

ENGINE = 5
"""Grows with every change that changes results, so that stored tiles of another engine are not taken up again."""
CHUNK = 256
PRODUCTS = ("confirmed_installed", "possible_installed", "confirmed_online", "possible_online")
Counts = npt.NDArray[np.uint16]


def fingerprint(
    cameras_digest: int, surface_digest: str, mode: str, target_height_m: float, densities_px_m: tuple[float, ...]
) -> str:
    """A name for the inputs of a run."""
    text = f"{ENGINE} {cameras_digest:x} {surface_digest} {mode} {target_height_m!r} {densities_px_m!r}"
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def pack(counts: Counts) -> bytes:
    """Compress a chunk, in the least type that holds it."""
    small = counts.astype(np.uint8) if counts.max(initial=0) < 256 else counts
    body = pa.compress(np.ascontiguousarray(small).tobytes(), codec="lz4", asbytes=True)
    return bytes([small.dtype.itemsize]) + bytes(body)


def unpack(data: bytes, bands: int) -> Counts:
    """The counts of a chunk: uint16 (bands, 256, 256), row 0 in the south."""
    width = data[0]
    plain = pa.decompress(data[1:], decompressed_size=bands * CHUNK * CHUNK * width, codec="lz4", asbytes=True)
    values = np.frombuffer(plain, dtype=np.uint8 if width == 1 else np.uint16)
    return values.reshape(bands, CHUNK, CHUNK).astype(np.uint16)


class _Opened:
    """The last chunks that were opened or made."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._lock = Lock()
        self._chunks: OrderedDict[tuple[bytes | None, int], Counts] = OrderedDict()

    def get(self, data: bytes | None, bands: int) -> Counts:
        with self._lock:
            found = self._chunks.get((data, bands))
            if found is not None:
                self._chunks.move_to_end((data, bands))
                return found
        counts = np.zeros((bands, CHUNK, CHUNK), dtype=np.uint16) if data is None else unpack(data, bands)
        self.keep(data, counts)
        return counts

    def keep(self, data: bytes | None, counts: Counts) -> None:
        with self._lock:
            self._chunks[(data, counts.shape[0])] = counts
            while len(self._chunks) > self._size:
                self._chunks.popitem(last=False)


_opened = _Opened(32)


def pack_open(counts: Counts) -> bytes:
    """As `pack`, for a chunk that will soon be read: ``counts`` are kept open and are not to be changed any more."""
    data = pack(counts)
    _opened.keep(data, counts)
    return data


@dataclass
class CoverageResult:
    """How many cameras see each cell, for four products and each density.

    The products are ``confirmed_installed``, ``possible_installed``, ``confirmed_online`` and ``possible_online``. A
    cell's count at a density is the number of cameras that see it at that density or a finer one. Rows grow to the
    north.

    Attributes
    ----------
    cell_m : size of a cell; cell (row, col) has its south-west corner at ``(col * cell_m, row * cell_m)``.
    densities_px_m : rising.
    chunks : compressed counts by (chunk row, chunk column).
    crs : analysis system, where known.
    mode, target_height_m : how the run was made.
    cameras : how many took part; ``rejected`` those that did not; ``tally`` how many each assumption was made for.
    cameras_digest, surface_digest : names of the inputs; the first is a sum over the cameras, so that it follows
    changes.
    """

    cell_m: float
    densities_px_m: tuple[float, ...]
    chunks: dict[tuple[int, int], bytes]
    mode: str
    target_height_m: float
    cameras_digest: int = 0
    surface_digest: str = ""
    crs: str | None = None
    cameras: int = 0
    rejected: tuple[Rejected, ...] = ()
    tally: dict[Assumed, int] = field(default_factory=dict)
    defaults: CameraDefaults = field(default_factory=CameraDefaults)
    surface_assumptions: tuple[str, ...] = ()
    software: str = ""

    @property
    def fingerprint(self) -> str:
        """A name for all inputs of the run; equal inputs give the same, in whatever order the cameras stand."""
        return fingerprint(
            self.cameras_digest, self.surface_digest, self.mode, self.target_height_m, self.densities_px_m
        )

    @property
    def assumptions(self) -> tuple[str, ...]:
        """What was taken for granted, in words."""
        return describe_assumed(self.tally, self.cameras, len(self.rejected), self.defaults) + self.surface_assumptions

    @property
    def bands(self) -> int:
        """Products times densities."""
        return len(PRODUCTS) * len(self.densities_px_m)

    @property
    def bounds_cells(self) -> tuple[int, int, int, int]:
        """First row, first column, end row, end column of the chunks; zeros when empty."""
        if not self.chunks:
            return (0, 0, 0, 0)
        keys = np.array(list(self.chunks), dtype=np.int64)
        low, high = keys.min(axis=0) * CHUNK, (keys.max(axis=0) + 1) * CHUNK
        return (int(low[0]), int(low[1]), int(high[0]), int(high[1]))

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """West, south, east, north in metres."""
        r0, c0, r1, c1 = self.bounds_cells
        return (c0 * self.cell_m, r0 * self.cell_m, c1 * self.cell_m, r1 * self.cell_m)

    def band(self, product: str, density_px_m: float | None = None) -> int:
        """Number of a band; without a density that of the coarsest.

        Raises
        ------
        InputError
            No such product or density was computed.
        """
        if product not in PRODUCTS:
            raise InputError(
                f"There is no coverage product {product!r}; there are {', '.join(PRODUCTS)}.",
                zh=f"没有覆盖产品 {product!r}。",
            )
        density = self.densities_px_m[0] if density_px_m is None else float(density_px_m)
        if density not in self.densities_px_m:
            raise InputError(f"Density {density:g} px/m was not computed.", zh=f"未计算 {density:g} 像素/米的密度。")
        return PRODUCTS.index(product) * len(self.densities_px_m) + self.densities_px_m.index(density)

    def chunk(self, row: int, col: int) -> Counts:
        """Counts of one chunk, uint16 (bands, 256, 256); zeros where there is none. The array is the caller's own."""
        return self.peek(row, col).copy()

    def peek(self, row: int, col: int) -> Counts:
        """As `chunk`, to read only: several readers share the array, the last ones opened are kept."""
        return _opened.get(self.chunks.get((row, col)), self.bands)

    def window(self, row: int, col: int, rows: int, cols: int) -> Counts:
        """Counts of any part, uint16 (bands, rows, cols), row 0 in the south."""
        out = np.zeros((self.bands, rows, cols), dtype=np.uint16)
        for chunk_row in range(row // CHUNK, -(-(row + rows) // CHUNK)):
            for chunk_col in range(col // CHUNK, -(-(col + cols) // CHUNK)):
                if (chunk_row, chunk_col) not in self.chunks:
                    continue
                part = self.peek(chunk_row, chunk_col)
                r0, c0 = max(row, chunk_row * CHUNK), max(col, chunk_col * CHUNK)
                r1, c1 = min(row + rows, (chunk_row + 1) * CHUNK), min(col + cols, (chunk_col + 1) * CHUNK)
                out[:, r0 - row : r1 - row, c0 - col : c1 - col] = part[
                    :, r0 - chunk_row * CHUNK : r1 - chunk_row * CHUNK, c0 - chunk_col * CHUNK : c1 - chunk_col * CHUNK
                ]
        return out

    def best(self, counts: Counts, product: str) -> npt.NDArray[np.uint8]:
        """Best class of density in counts from `window` or `chunk`: 0 not seen, 1 the coarsest density, and so on."""
        first, n = self.band(product), len(self.densities_px_m)
        return (counts[first : first + n] > 0).sum(axis=0).astype(np.uint8)

    def items(self) -> Iterator[tuple[tuple[int, int], Counts]]:
        """Chunks in order of their place."""
        for key in sorted(self.chunks):
            yield key, self.chunk(*key)

    def area_m2(self, product: str, density_px_m: float | None = None) -> float:
        """Area seen by at least one camera."""
        band = self.band(product, density_px_m)
        return sum(int(np.count_nonzero(counts[band])) for _, counts in self.items()) * self.cell_m**2

    def same_as(self, other: "CoverageResult") -> bool:
        """Whether both hold the same counts, to the bit."""
        return (self.cell_m, self.densities_px_m, self.chunks) == (other.cell_m, other.densities_px_m, other.chunks)
