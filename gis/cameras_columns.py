"""Columns of a camera register, from a GeoDataFrame or a mapping, as clean arrays."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gis.errors import CRSMismatch, InputError

if TYPE_CHECKING:
    import geopandas as gpd

__all__ = ["Columns", "read_columns"]

Floats = npt.NDArray[np.float64]
#: Columns that `gis.cameras.prepare` asks for.
_READ = (
    "id",
    "azimuth_deg",
    "direction",
    "hfov_deg",
    "sensor_w_mm",
    "focal_mm",
    "vfov_deg",
    "tilt_deg",
    "mount_height_m",
    "view_dist_m",
    "res_w_px",
    "ptz_type",
    "room_type",
    "net_status",
    "device_state",
)
_STATUS = {"on": 1, "off": 0, "unknown": 2, "1": 1, "0": 0, "2": 2}


@dataclass(frozen=True)
class Columns:
    """A register: names, positions in the analysis system, and whatever else it says."""

    id: tuple[str, ...]
    x: Floats
    y: Floats
    other: Mapping[str, Any]
    crs: str | None

    def number(self, name: str) -> Floats:
        """A column as numbers, NaN where it is missing or empty.

        Raises
        ------
        InputError
            It holds text that is no number, or has another length.
        """
        values = self.other.get(name)
        if values is None:
            return np.full(len(self.id), np.nan)
        ready = np.asarray(values)
        if ready.dtype.kind in "iufb" and ready.shape == (len(self.id),):
            return ready.astype(np.float64)
        raw = np.asarray(values, dtype=object).reshape(-1)
        if len(raw) != len(self.id):
            raise InputError(
                f"Column {name} has {len(raw)} values for {len(self.id)} cameras.",
                zh=f"列 {name} 的长度与摄像机数不符。",
            )
        numbers = np.empty(len(raw), dtype=np.float64)
        for i, value in enumerate(raw):
            try:
                numbers[i] = np.nan if _empty(value) else float(value)
            except (TypeError, ValueError) as error:
                raise InputError(
                    f"Column {name}: {str(value)[:40]!r} is not a number.",
                    zh=f"列 {name}：{str(value)[:40]!r} 不是数字。",
                ) from error
        return numbers

    def text(self, name: str) -> list[str]:
        """A column as lower-case text, empty where missing."""
        values = self.other.get(name)
        if values is None:
            return [""] * len(self.id)
        return ["" if _empty(v) else str(v).strip().lower() for v in np.asarray(values, dtype=object).reshape(-1)]

    def lens_hfov_deg(self) -> Floats:
        """Horizontal view from ``sensor_w_mm`` and ``focal_mm``, NaN where one is missing."""
        sensor, focal = self.number("sensor_w_mm"), self.number("focal_mm")
        with np.errstate(all="ignore"):
            usable = (sensor > 0) & (focal > 0)
            return np.where(usable, np.degrees(2.0 * np.arctan(sensor / (2.0 * focal))), np.nan)

    def state(self) -> npt.NDArray[np.str_]:
        """Device states: ``in_use``, ``repair``, ``removed`` or empty."""
        return np.array(self.text("device_state"), dtype=np.str_)

    def online(self) -> npt.NDArray[np.int8]:
        """1 on, 0 off or under repair, 2 unknown."""
        status = np.array([_STATUS.get(value, 2) for value in self.text("net_status")], dtype=np.int8)
        status[self.state() == "repair"] = 0
        return status


def _system(crs: Any) -> str:
    from pyproj import CRS
    from pyproj.exceptions import CRSError

    try:
        return str(CRS.from_user_input(crs).to_string())
    except CRSError as error:
        raise CRSMismatch("The analysis system is not known.", zh="无法识别分析坐标系。") from error


def _empty(value: Any) -> bool:
    return (
        value is None
        or (isinstance(value, str) and not value.strip())
        or (isinstance(value, float) and math.isnan(value))
        or str(value) == "<NA>"
    )


def read_columns(cameras: "gpd.GeoDataFrame | Mapping[str, Any]", *, crs: Any = None) -> Columns:
    """Positions and columns of a register; see `gis.cameras.prepare`."""
    import geopandas as gpd
    import shapely

    system: str | None = None
    if isinstance(cameras, gpd.GeoDataFrame):
        frame = cameras
        if frame.crs is None:
            raise CRSMismatch("The cameras have no reference system.", zh="摄像机数据没有坐标系。")
        if crs is not None:
            frame = frame.to_crs(crs)
        elif frame.crs.is_geographic:
            raise CRSMismatch(
                "The cameras are in degrees: name the analysis system.", zh="摄像机坐标以度为单位：请指定分析坐标系。"
            )
        system = frame.crs.to_string()
        points = np.asarray(frame.geometry.values, dtype=object)
        kinds = shapely.get_type_id(points)
        usable = (kinds == 0) & ~shapely.is_empty(points)
        x = np.where(usable, shapely.get_x(points), np.nan)
        y = np.where(usable, shapely.get_y(points), np.nan)
        other: Mapping[str, Any] = {
            name: frame[name].to_numpy() for name in _READ if name in frame.columns and name != frame.geometry.name
        }
        names = other.get("id", frame.index.to_numpy())
    else:
        if "x" not in cameras or "y" not in cameras:
            raise InputError("Cameras need columns x and y in metres.", zh="摄像机需要以米为单位的 x、y 列。")
        bare = Columns(
            id=tuple(str(i) for i in range(len(cameras["x"]))), x=np.empty(0), y=np.empty(0), other=cameras, crs=None
        )
        x, y = bare.number("x"), bare.number("y")
        other = cameras
        names = cameras.get("id", range(len(x)))
        system = None if crs is None else _system(crs)
    identifiers = tuple(str(name) for name in names)
    if len(identifiers) != len(x):
        raise InputError("Column id has another length than the positions.", zh="列 id 的长度与位置数不符。")
    return Columns(
        id=identifiers, x=np.asarray(x, dtype=np.float64), y=np.asarray(y, dtype=np.float64), other=other, crs=system
    )
