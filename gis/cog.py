"""Cloud-optimised GeoTIFFs of which a few blocks change: only these are encoded again, all else is taken over as it is.

For files as `gis.raster.write_cog` makes them: tiled, deflate, all bands in a block, blocks left out where they are empty, overviews by the
nearest cell. The layout stays that of a cloud-optimised GeoTIFF: directories first, then the blocks of the overviews and of the raster in
their order, each between its length and its last four bytes.
"""

import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gis.errors import UnreadableFile

__all__ = ["Patch", "open_patch"]

Values = npt.NDArray[Any]
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _SAMPLES, _PLANES, _PREDICTOR = 256, 257, 258, 259, 277, 284, 317
_TILE_WIDTH, _TILE_HEIGHT, _OFFSETS, _SIZES = 322, 323, 324, 325
_SIZE_OF = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 16: 8}
_CODE = {3: "<u2", 4: "<u4", 16: "<u8"}
_DEFLATE = (8, 32946)
_LEVEL = 1


@dataclass(frozen=True)
class _Directory:
    """One image of a file: tags as (type, count, place of the values)."""

    tags: dict[int, tuple[int, int, int]]
    offsets: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]
    rows: int
    cols: int


class Patch:
    """A file that is read, and from which one with other blocks can be made; from `open_patch`.

    Attributes
    ----------
    bands, height, width : int
    side : int
        Of a block, in cells.
    dtype : of the values.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        if data[:4] != b"II*\x00":
            raise ValueError("no little-endian TIFF of the plain kind")
        self._images = []
        place = struct.unpack_from("<I", data, 4)[0]
        while place:
            image, place = self._directory(place)
            self._images.append(image)
        first = self._images[0]
        self.height, self.width = self._one(first, _HEIGHT), self._one(first, _WIDTH)
        self.bands, self.side = self._one(first, _SAMPLES), self._one(first, _TILE_WIDTH)
        self.dtype = np.dtype(f"<u{self._one(first, _BITS) // 8}")
        for level, image in enumerate(self._images):
            if (
                self._one(image, _COMPRESSION) not in _DEFLATE
                or self._one(image, _PREDICTOR, 1) != 1
                or self._one(image, _PLANES, 1) != 1
                or (self._one(image, _TILE_WIDTH), self._one(image, _TILE_HEIGHT)) != (self.side, self.side)
                or len(image.offsets) != image.rows * image.cols
                or (self._one(image, _HEIGHT), self._one(image, _WIDTH))
                != (-(-self.height >> level), -(-self.width >> level))
            ):
                raise ValueError("not laid out as expected")

    def _directory(self, place: int) -> tuple[_Directory, int]:
        data = self._data
        count = struct.unpack_from("<H", data, place)[0]
        tags = {}
        for k in range(count):
            at = place + 2 + 12 * k
            tag, kind, many = struct.unpack_from("<HHI", data, at)
            inline = _SIZE_OF.get(kind, 8) * many <= 4
            tags[tag] = (kind, many, at + 8 if inline else struct.unpack_from("<I", data, at + 8)[0])
        if not {_OFFSETS, _SIZES, _WIDTH, _HEIGHT, _TILE_WIDTH, _TILE_HEIGHT, _BITS} <= tags.keys():
            raise ValueError("not tiled")
        image = _Directory(tags, self._array(tags[_OFFSETS]), self._array(tags[_SIZES]), 0, 0)
        side = self._one(image, _TILE_WIDTH)
        rows, cols = -(-self._one(image, _HEIGHT) // side), -(-self._one(image, _WIDTH) // side)
        after: int = struct.unpack_from("<I", data, place + 2 + 12 * count)[0]
        return _Directory(tags, image.offsets, image.sizes, rows, cols), after

    def _array(self, tag: tuple[int, int, int]) -> npt.NDArray[np.int64]:
        kind, many, place = tag
        return np.frombuffer(self._data, dtype=_CODE[kind], count=many, offset=place).astype(np.int64)

    def _one(self, image: _Directory, tag: int, otherwise: int = 0) -> int:
        return int(self._array(image.tags[tag])[0]) if tag in image.tags else otherwise

    def block(self, image: int, number: int) -> Values:
        """Values of a block, (side, side, bands); zeros where it is left out."""
        here = self._images[image]
        place, size = int(here.offsets[number]), int(here.sizes[number])
        if size == 0:
            return np.zeros((self.side, self.side, self.bands), dtype=self.dtype)
        plain = zlib.decompress(self._data[place : place + size])
        return np.frombuffer(plain, dtype=self.dtype).reshape(self.side, self.side, self.bands).copy()

    def write(self, path: Path, changed: Mapping[tuple[int, int], Values]) -> bool:
        """Write the file with other blocks; False, and no file, where nothing but zeros would be in it.

        Parameters
        ----------
        path : Path
            Is made.
        changed : mapping
            By row (from the north) and column of the block all bands, (bands, side, side), row 0 in the north, in the file's type.
        """
        fresh: list[dict[int, bytes]] = [{} for _ in self._images]
        for level, image in enumerate(self._images):
            part, step = self.side >> level, 1 << level
            open_blocks: dict[int, Values] = {}
            for (row, col), values in changed.items():
                north, west = (row % step) * part, (col % step) * part
                number = row // step * image.cols + col // step
                smaller = np.moveaxis(values[:, ::step, ::step], 0, 2)
                if level == 0:
                    open_blocks[number] = smaller
                    continue
                if number not in open_blocks:
                    open_blocks[number] = self.block(level, number)
                open_blocks[number][north : north + part, west : west + part] = smaller
            for number, block in open_blocks.items():
                fresh[level][number] = zlib.compress(block.tobytes(), _LEVEL) if block.any() else b""
        first = self._images[0]
        if not any(fresh[0].values()) and not np.delete(first.sizes, list(fresh[0])).any():
            return False
        path.write_bytes(self._laid_out(fresh))
        return True

    def _laid_out(self, fresh: list[dict[int, bytes]]) -> bytes:
        data = self._data
        begin = min(int(image.offsets[image.sizes > 0].min(initial=len(data) + 4)) for image in self._images) - 4
        head = bytearray(data[:begin])
        body: list[bytes] = []
        at = begin
        for level in reversed(range(len(self._images))):
            image = self._images[level]
            offsets, sizes = np.zeros_like(image.offsets), np.zeros_like(image.sizes)
            for number in range(len(offsets)):
                new = fresh[level].get(number)
                if new is None:
                    place, size = int(image.offsets[number]), int(image.sizes[number])
                    if size == 0:
                        continue
                    new = data[place : place + size]
                if new:
                    offsets[number], sizes[number] = at + 4, len(new)
                    body += [struct.pack("<I", len(new)), new, new[-4:]]
                    at += len(new) + 8
            for tag, numbers in ((_OFFSETS, offsets), (_SIZES, sizes)):
                kind, many, place = image.tags[tag]
                code = np.dtype(_CODE[kind])
                if int(numbers.max(initial=0)) > np.iinfo(code).max:
                    raise ValueError("too large for the file's directories")
                head[place : place + many * code.itemsize] = numbers.astype(code).tobytes()
        return b"".join([bytes(head), *body])


def open_patch(path: Path) -> Patch | None:
    """Read a file to make others from; None where it is not laid out as `gis.raster.write_cog` does.

    Raises
    ------
    UnreadableFile
        There is no such file.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise UnreadableFile(f"There is no raster file {Path(path).name}.", zh=f"没有栅格文件 {Path(path).name}。") from error
    try:
        return Patch(data)
    except (ValueError, KeyError, IndexError, struct.error):
        return None
