"""Tile matrix sets: Web Mercator, WGS 84 and CGCS2000 quads, and where a tile lies.

Source: OGC 17-083r4 (Two Dimensional Tile Matrix Set), Annex D; the CGCS2000 quad is the same division of the geographic plane in
EPSG:4490 with which the national platform (Tianditu, matrix set ``c``) serves its tiles.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from gis.crs import source_crs, transform_coordinates
from gis.errors import NotFound

__all__ = ["MATRIX_SETS", "MatrixSet", "Tile", "matrix_set"]

_MERCATOR_HALF_M = 20037508.342789244
_METRES_PER_DEGREE = 111319.49079327358
_PIXEL_M = 0.00028
MAX_ZOOM = 22


@dataclass(frozen=True, slots=True)
class MatrixSet:
    """A pyramid of square tiles; ``columns0 × rows0`` of them at level 0.

    Attributes
    ----------
    size0 : float
        Width of a tile at level 0, in units of the reference system.
    latitude_first : bool
        Whether the authority orders the axes latitude, longitude.
    """

    id: str
    uri: str
    crs: str
    srid: int
    title_en: str
    title_zh: str
    origin: tuple[float, float]
    size0: float
    columns0: int
    rows0: int
    latitude_first: bool

    def tile(self, z: int, x: int, y: int) -> "Tile":
        """The tile at level ``z``, column ``x``, row ``y``.

        Raises
        ------
        NotFound
            It is outside the set.
        """
        if not 0 <= z <= MAX_ZOOM or not 0 <= x < self.columns0 << z or not 0 <= y < self.rows0 << z:
            raise NotFound(f"{self.id} has no tile {z}/{y}/{x}.", zh=f"{self.id} 中没有瓦片 {z}/{y}/{x}。")
        return Tile(self, z, x, y)

    def document(self, base_url: str) -> dict[str, Any]:
        """The set as OGC 17-083r4 JSON."""
        unit = 1.0 if self.srid == 3857 else _METRES_PER_DEGREE
        matrices = []
        for z in range(MAX_ZOOM + 1):
            cell = self.size0 / 2**z / 256
            corner = [self.origin[1], self.origin[0]] if self.latitude_first else list(self.origin)
            matrices.append({
                "id": str(z), "scaleDenominator": cell * unit / _PIXEL_M, "cellSize": cell, "cornerOfOrigin": "topLeft",
                "pointOfOrigin": corner, "tileWidth": 256, "tileHeight": 256,
                "matrixWidth": self.columns0 << z, "matrixHeight": self.rows0 << z,
            })  # fmt: skip
        known = {"WebMercatorQuad": "GoogleMapsCompatible", "WorldCRS84Quad": "GoogleCRS84Quad"}.get(self.id)
        scales = {"wellKnownScaleSet": f"http://www.opengis.net/def/wkss/OGC/1.0/{known}"} if known else {}
        return {
            **scales, "id": self.id, "title": self.title_en, "uri": self.uri, "crs": self.crs,
            "orderedAxes": ["Lat", "Lon"] if self.latitude_first else ["Lon", "Lat"] if self.srid == 4326 else ["X", "Y"],
            "tileMatrices": matrices,
            "links": [{"rel": "self", "type": "application/json", "href": f"{base_url}/tileMatrixSets/{self.id}"}],
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Tile:
    """One tile of a set."""

    matrix_set: MatrixSet
    z: int
    x: int
    y: int

    @property
    def size(self) -> float:
        """Width in units of the set's reference system."""
        return self.matrix_set.size0 / float(1 << self.z)

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """West, south, east, north in the set's reference system (x, y order)."""
        west = self.matrix_set.origin[0] + self.x * self.size
        north = self.matrix_set.origin[1] - self.y * self.size
        return west, north - self.size, west + self.size, north

    def bounds_in(self, srid: int, *, margin: float = 0.0) -> tuple[float, float, float, float]:
        """Bounds in EPSG ``srid``, widened by ``margin`` tile widths; the literal is transformed, so that a column's index serves."""
        west, south, east, north = self.bounds
        pad = margin * self.size
        xs, ys = np.linspace(west - pad, east + pad, 9), np.linspace(south - pad, north + pad, 9)
        gx, gy = (a.ravel() for a in np.meshgrid(xs, ys))
        px, py = transform_coordinates(gx, gy, source_crs(self.matrix_set.srid), srid)
        good = np.isfinite(px) & np.isfinite(py)
        if not good.any():
            return (0.0, 0.0, -1.0, -1.0)
        return float(px[good].min()), float(py[good].min()), float(px[good].max()), float(py[good].max())


_SETS = (
    MatrixSet("WebMercatorQuad", "http://www.opengis.net/def/tilematrixset/OGC/1.0/WebMercatorQuad",
              "http://www.opengis.net/def/crs/EPSG/0/3857", 3857, "Google Maps compatible for the world", "Web 墨卡托",
              (-_MERCATOR_HALF_M, _MERCATOR_HALF_M), 2 * _MERCATOR_HALF_M, 1, 1, False),
    MatrixSet("WorldCRS84Quad", "http://www.opengis.net/def/tilematrixset/OGC/1.0/WorldCRS84Quad",
              "http://www.opengis.net/def/crs/OGC/1.3/CRS84", 4326, "CRS84 for the world", "WGS 84 经纬度",
              (-180.0, 90.0), 180.0, 2, 1, False),
    MatrixSet("CGCS2000Quad", "urn:baige:tilematrixset:CGCS2000Quad",
              "http://www.opengis.net/def/crs/EPSG/0/4490", 4490, "CGCS2000 geographic quad", "CGCS2000 经纬度",
              (-180.0, 90.0), 180.0, 2, 1, True),
)  # fmt: skip

#: The tile matrix sets served, by id.
MATRIX_SETS: dict[str, MatrixSet] = {s.id: s for s in _SETS}


@lru_cache(maxsize=16)
def matrix_set(name: str) -> MatrixSet:
    """The set of that id.

    Raises
    ------
    NotFound
        There is none.
    """
    found = MATRIX_SETS.get(name)
    if found is None:
        raise NotFound(f"There is no tile matrix set {name[:60]!r}.", zh=f"没有瓦片矩阵集 {name[:60]!r}。")
    return found
