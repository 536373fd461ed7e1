"""Cameras: from what a register says to what a camera can see.

A register says little and sometimes nonsense. `prepare` turns its columns into a `CameraTable`: arrays in the analysis
system that the kernels of `gis.coverage` read. Nothing is dropped silently: what cannot be used is listed in
``rejected`` with a reason, what was assumed stands in ``assumed`` as bits, camera by camera.

What is decided here
--------------------
* **Steerable** cameras (PTZ dome 1, dome 2, remote-controlled dome 5) can look anywhere but not everywhere at once:
  their full circle is *possible*;
  the sector around a registered azimuth, their home position, is *confirmed*. Without an azimuth nothing of them is
  confirmed.
* **Panoramic** cameras (6) see all round at once: the full circle is confirmed. Split cameras (7) are treated as
  steerable.
* **Fixed** cameras (3, 4, and those of unknown kind) need an azimuth. Without one the full circle is possible and
  nothing is confirmed.
* A **direction code** (1 E … 8 NW) is an azimuth known to 22.5 degrees: confirmed is what is seen at every azimuth
  within that, possible what is
  seen at any. With a view of 60 degrees: 15 degrees confirmed, 105 possible.
* **Online**: a camera that is off, or under repair, counts as installed only. One of unknown state is never confirmed
  online, but possible.
* The **vertical view** is ``tilt ± vfov / 2`` below the horizon; what lies nearer is the blind zone. A steerable camera
  can tilt, so its possible
  view has no blind zone.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import IntFlag
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gis.cameras_columns import Columns, read_columns
from gis.cameras_optics import Optics
from gis.errors import InputError, LimitExceeded
from gis.settings import CameraDefaults

if TYPE_CHECKING:
    import geopandas as gpd

__all__ = ["Assumed", "CameraTable", "Optics", "Rejected", "check_densities", "describe_assumed", "prepare"]

Floats = npt.NDArray[np.float64]

STEERABLE = (1, 2, 5, 7)
PANORAMIC = 6
DIRECTION_AZIMUTH = {1: 90.0, 2: 270.0, 3: 180.0, 4: 0.0, 5: 135.0, 6: 45.0, 7: 225.0, 8: 315.0}
DIRECTION_ACCURACY_DEG = 22.5
MOUNT_HEIGHT_MAX_M = 150.0
VIEW_DIST_MAX_M = 20_000.0
CAMERAS_MAX = 500_000
ON, OFF, UNKNOWN = 1, 0, 2


class Assumed(IntFlag):
    """What was assumed of one camera because its register does not say it."""

    HEIGHT = 1
    HFOV = 2
    VFOV = 4
    TILT = 8
    RANGE = 16
    RESOLUTION = 32
    TYPE = 64
    STATUS = 128
    DIRECTION_UNKNOWN = 256
    AZIMUTH_FROM_CODE = 512
    RANGE_CUT = 1024
    MOVED = 2048


@dataclass(frozen=True)
class Rejected:
    """A camera that takes no part, and why."""

    id: str
    reason: str
    en: str
    zh: str


@dataclass(frozen=True)
class CameraTable:
    """Cameras as arrays of one length, in metres of the analysis system (x east, y north).

    Attributes
    ----------
    id : tuple of str
    x, y : float64 arrays
    height_m : mount height above the ground.
    azimuth_deg : centre of view, clockwise from grid north; 0 where unknown.
    half_confirmed_deg : half angle of what is surely in view; negative: nothing. 180: full circle.
    half_possible_deg : half angle of what may be in view.
    slope_confirmed, slope_possible : float64 arrays (n, 2), least and greatest rise over run of a line of sight that is
    in view. view_m : how far the camera looks at all. radius_m : float64 array (n, d), how far each density reaches;
    falls from column to column. online : int8, 1 on, 0 off, 2 unknown. assumed : uint16, bits of `Assumed`.
    densities_px_m : the densities, rising.
    """

    id: tuple[str, ...]
    x: Floats
    y: Floats
    height_m: Floats
    azimuth_deg: Floats
    half_confirmed_deg: Floats
    half_possible_deg: Floats
    slope_confirmed: Floats
    slope_possible: Floats
    view_m: Floats
    radius_m: Floats
    online: npt.NDArray[np.int8]
    assumed: npt.NDArray[np.uint16]
    densities_px_m: tuple[float, ...]
    crs: str | None = None
    rejected: tuple[Rejected, ...] = ()
    defaults: CameraDefaults = field(default_factory=CameraDefaults)

    def __len__(self) -> int:
        return len(self.id)

    @property
    def reach_m(self) -> Floats:
        """How far each camera matters: the range of the coarsest density."""
        return np.asarray(self.radius_m[:, 0], dtype=np.float64)

    @property
    def tally(self) -> dict[Assumed, int]:
        """How many cameras each assumption was made for."""
        return {bit: count for bit in Assumed if (count := int(np.count_nonzero(self.assumed & np.uint16(bit))))}

    @property
    def assumptions(self) -> tuple[str, ...]:
        """What was assumed of these cameras, in words."""
        return describe_assumed(self.tally, len(self), len(self.rejected), self.defaults)

    def take(self, index: npt.ArrayLike) -> "CameraTable":
        """The cameras at ``index`` (numbers or a mask), in that order."""
        chosen = np.asarray(index)
        if chosen.dtype == np.bool_:
            chosen = np.flatnonzero(chosen)
        chosen = chosen.astype(np.int64)
        arrays = {name: getattr(self, name)[chosen] for name in _ARRAYS}
        return replace(self, id=tuple(map(self.id.__getitem__, chosen.tolist())), **arrays)

    def find(self, camera_id: str) -> int:
        """Place of a camera.

        Raises
        ------
        InputError
            No camera of this name is in the table.
        """
        try:
            return self.id.index(camera_id)
        except ValueError as error:
            raise InputError(f"There is no camera {camera_id!r}.", zh=f"没有摄像机 {camera_id!r}。") from error

    def switched(self, index: npt.ArrayLike, online: int) -> "CameraTable":
        """A copy in which some cameras are on (1), off (0) or unknown (2)."""
        state = self.online.copy()
        state[np.asarray(index)] = online
        return replace(self, online=state)

    def exchanged(self, out: Sequence[int], other: "CameraTable") -> "CameraTable":
        """Without the cameras at some places, and with others (under other names) behind the rest."""
        ends = [-1, *sorted(set(out)), len(self.id)]
        kept = [slice(low + 1, high) for low, high in pairwise(ends)]  # whole stretches are quicker than a mask
        names = sum((self.id[part] for part in kept), ())
        arrays: dict[str, Any] = {
            name: np.concatenate([*(getattr(self, name)[part] for part in kept), getattr(other, name)]) for name in _ARRAYS
        }
        return replace(self, id=names + other.id, rejected=self.rejected + other.rejected, **arrays)

    def joined(self, other: "CameraTable") -> "CameraTable":
        """Both tables, one after the other.

        Raises
        ------
        InputError
            The densities differ, or a name stands in both.
        """
        if self.densities_px_m != other.densities_px_m:
            raise InputError("The two sets of cameras use different densities.", zh="两组摄像机的像素密度不同。")
        twice = set(other.id).intersection(self.id)
        if twice:
            raise InputError(
                f"A camera stands in both sets: {sorted(twice)[0]!r}.", zh=f"摄像机重复：{sorted(twice)[0]!r}。"
            )
        arrays: dict[str, Any] = {name: np.concatenate([getattr(self, name), getattr(other, name)]) for name in _ARRAYS}
        return replace(self, id=self.id + other.id, rejected=self.rejected + other.rejected, **arrays)


_ARRAYS = (
    "x",
    "y",
    "height_m",
    "azimuth_deg",
    "half_confirmed_deg",
    "half_possible_deg",
    "slope_confirmed",
    "slope_possible",
    "view_m",
    "radius_m",
    "online",
    "assumed",
)


def check_densities(densities_px_m: Sequence[float]) -> tuple[float, ...]:
    """Densities in rising order.

    Raises
    ------
    InputError
        None, not positive, more than eight, or finer than 80 px/m: Baige plans scenes and computes nothing about
        recognising persons.
    """
    values = tuple(sorted({float(d) for d in densities_px_m}))
    if not values or len(values) > 8 or not all(math.isfinite(d) and d > 0 for d in values):
        raise InputError("Pixel densities must be one to eight positive numbers.", zh="像素密度须为一至八个正数。")
    if values[-1] > 80.0:
        raise InputError(
            "Pixel densities finer than 80 px/m are not computed: Baige plans scenes, not the recognition of persons.",
            zh="不计算高于 80 像素/米的密度：百格只做场景规划，不做人员识别。",
        )
    return values


def prepare(
    cameras: "gpd.GeoDataFrame | Mapping[str, Any]",
    *,
    defaults: CameraDefaults | None = None,
    defaults_by_type: Mapping[int, CameraDefaults] | None = None,
    densities_px_m: Sequence[float] = (20.0, 40.0, 80.0),
    crs: Any = None,
    bounds: tuple[float, float, float, float] | None = None,
    range_max_m: float = 400.0,
    cameras_max: int = CAMERAS_MAX,
) -> CameraTable:
    """Read a register of cameras.

    Parameters
    ----------
    cameras : GeoDataFrame or mapping of columns
        A GeoDataFrame of points with a reference system, or columns of one length that include ``x`` and ``y`` in
        metres. Further columns, all optional: ``id``, ``azimuth_deg``, ``direction``, ``hfov_deg`` (or ``sensor_w_mm``
        and ``focal_mm``), ``vfov_deg``, ``tilt_deg``, ``mount_height_m``, ``view_dist_m``, ``res_w_px``, ``ptz_type``,
        ``room_type``, ``net_status``, ``device_state``.
    defaults : CameraDefaults, optional
        What is assumed where a column is missing or empty; ``defaults_by_type`` says it by ``ptz_type``.
    densities_px_m : sequence of float
        Pixels per metre; at most 80.
    crs : optional
        Analysis system; a GeoDataFrame in another system is transformed to it.
    bounds : tuple, optional
        West, south, east, north in metres of the analysis system: a camera outside is rejected.
    range_max_m : float
        No camera is taken to see farther; cameras that say so are marked ``RANGE_CUT``.

    Raises
    ------
    InputError
        A column is of the wrong kind or length, or a default makes no sense.
    CRSMismatch
        The points have no reference system, or a geographic one and no ``crs`` is given.
    LimitExceeded
        More cameras than ``cameras_max``.

    Examples
    --------
    >>> table = prepare({"x": [0.0], "y": [0.0], "azimuth_deg": [90.0], "hfov_deg": [60.0], "res_w_px": [1920], "view_dist_m": [100.0]})
    >>> [round(float(r), 1) for r in table.radius_m[0]]
    [83.1, 41.6, 20.8]
    """
    densities = check_densities(densities_px_m)
    if not (math.isfinite(range_max_m) and range_max_m > 0):
        raise InputError("The greatest range must be a positive number of metres.", zh="最大可视距离须为正数（米）。")
    columns = read_columns(cameras, crs=crs)
    if len(columns.id) > cameras_max:
        raise LimitExceeded(
            f"{len(columns.id):,} cameras are more than the {cameras_max:,} allowed in one run.",
            zh=f"摄像机 {len(columns.id):,} 台，超过单次运行上限 {cameras_max:,} 台。",
        )
    reader = _Reader(columns, defaults or CameraDefaults(), defaults_by_type or {})
    reader.check(bounds)
    return reader.table(densities, range_max_m)


class _Reader:
    """Fills gaps with defaults, rejects nonsense, and computes what the kernels need."""

    def __init__(self, columns: Columns, defaults: CameraDefaults, by_type: Mapping[int, CameraDefaults]) -> None:
        self.columns = columns
        n = len(columns.id)
        self.assumed = np.zeros(n, dtype=np.uint16)
        self.bad: dict[int, Rejected] = {}
        kind = columns.number("ptz_type")
        self.kind = np.where(np.isfinite(kind), kind, 3.0).astype(np.int64)
        self._mark(~np.isfinite(kind), Assumed.TYPE)
        self.panoramic = self.kind == PANORAMIC
        self.steerable = np.isin(self.kind, STEERABLE)
        self.defaults = defaults
        self.by_type = by_type
        self.given_kind = kind
        self.height = self._filled("mount_height_m", Assumed.HEIGHT)
        self.hfov = self._filled("hfov_deg", Assumed.HFOV, panoramic=360.0)
        self.vfov = self._filled("vfov_deg", Assumed.VFOV, panoramic=90.0)
        self.tilt = self._filled("tilt_deg", Assumed.TILT, panoramic=45.0)
        self.view = self._filled("view_dist_m", Assumed.RANGE)
        self.res = self._filled("res_w_px", Assumed.RESOLUTION)
        self._azimuth()

    def _mark(self, where: npt.NDArray[np.bool_], bit: Assumed) -> None:
        self.assumed[where] |= np.uint16(bit)

    def _filled(self, name: str, bit: Assumed, *, panoramic: float | None = None) -> Floats:
        values = self.columns.number(name)
        if name == "hfov_deg":
            values = np.where(np.isnan(values), self.columns.lens_hfov_deg(), values)
        missing = np.isnan(values)
        fill = np.full(len(values), float(getattr(self.defaults, name)))
        for kind, other in self.by_type.items():
            fill[self.kind == kind] = float(getattr(other, name))
        if panoramic is not None:
            fill[self.panoramic] = panoramic
        self._mark(missing, bit)
        return np.where(missing, fill, values)

    def _azimuth(self) -> None:
        azimuth = self.columns.number("azimuth_deg")
        code = self.columns.number("direction")
        self.accuracy = np.zeros(len(azimuth))
        self.given_azimuth = azimuth.copy()
        for value, degrees in DIRECTION_AZIMUTH.items():
            use = np.isnan(azimuth) & (code == value)
            azimuth = np.where(use, degrees, azimuth)
            self.accuracy[use] = DIRECTION_ACCURACY_DEG
            self._mark(use, Assumed.AZIMUTH_FROM_CODE)
        self.unknown = np.isnan(azimuth) & ~self.panoramic
        self._mark(self.unknown, Assumed.DIRECTION_UNKNOWN)
        self.azimuth = np.where(np.isfinite(azimuth), azimuth, 0.0) % 360.0
        self.code = code

    def _reject(self, where: npt.NDArray[np.bool_], reason: str, values: Floats | None, en: str, zh: str) -> None:
        for i in np.flatnonzero(where):
            if int(i) not in self.bad:
                value = "" if values is None else f"{values[i]:g}"
                self.bad[int(i)] = Rejected(self.columns.id[int(i)], reason, en.format(value), zh.format(value))

    def check(self, bounds: tuple[float, float, float, float] | None) -> None:
        c = self.columns
        self._reject(
            ~(np.isfinite(c.x) & np.isfinite(c.y)),
            "no_position",
            None,
            "It has no usable position.",
            "没有可用的位置。",
        )
        if bounds is not None:
            west, south, east, north = bounds
            out = (c.x < west) | (c.x > east) | (c.y < south) | (c.y > north)
            self._reject(out, "outside", None, "It lies outside the area of analysis.", "位置在分析范围之外。")
        indoor = c.number("room_type") == 2
        self._reject(
            indoor,
            "indoor",
            None,
            "It is an indoor camera: it watches no outdoor space.",
            "室内摄像机，不覆盖室外空间。",
        )
        self._reject(c.state() == "removed", "removed", None, "It has been removed.", "已拆除。")
        seen: dict[str, int] = {}
        twice = np.zeros(len(c.id), dtype=np.bool_)
        for i, name in enumerate(c.id):
            twice[i] = name in seen
            seen.setdefault(name, i)
        self._reject(twice, "duplicate", None, "Another camera has the same identifier.", "标识与另一台摄像机重复。")
        kind = self.given_kind
        odd = ~(np.isnan(kind) | np.isin(kind, range(1, 8)))
        self._reject(odd, "ptz_type", kind, "Structure type {} does not exist.", "结构类型 {} 不存在。")
        code = self.code
        odd = ~(np.isnan(code) | np.isin(code, range(1, 9)))
        self._reject(odd, "direction", code, "Direction code {} does not exist.", "监视方位代码 {} 不存在。")
        azimuth = self.given_azimuth
        odd = ~np.isnan(azimuth) & ~((azimuth >= 0) & (azimuth <= 360))
        self._reject(odd, "azimuth", azimuth, "Azimuth {}° is not within 0–360°.", "方位角 {}° 不在 0–360° 之间。")
        wide = np.where(self.panoramic, 360.0, 170.0)
        odd = ~((self.hfov > 0) & (self.hfov <= wide))
        self._reject(odd, "hfov", self.hfov, "A horizontal view of {}° is not possible.", "水平视场角 {}° 不合理。")
        odd = ~((self.vfov > 0) & (self.vfov <= 180))
        self._reject(odd, "vfov", self.vfov, "A vertical view of {}° is not possible.", "垂直视场角 {}° 不合理。")
        self._reject(
            ~(np.abs(self.tilt) <= 90),
            "tilt",
            self.tilt,
            "A tilt of {}° is not within −90–90°.",
            "俯角 {}° 不在 −90–90° 之间。",
        )
        low = ~(self.height > 0)
        self._reject(
            low,
            "mount_height",
            self.height,
            "A mount height of {} m is not above ground.",
            "安装高度 {} 米不在地面以上。",
        )
        high = ~(self.height <= MOUNT_HEIGHT_MAX_M)
        limit = f"{MOUNT_HEIGHT_MAX_M:g}"
        self._reject(
            high,
            "mount_height",
            self.height,
            "A mount height of {} m is above " + limit + " m.",
            "安装高度 {} 米超过 " + limit + " 米。",
        )
        far = ~((self.view > 0) & (self.view <= VIEW_DIST_MAX_M))
        self._reject(far, "range", self.view, "A view distance of {} m is not possible.", "可视距离 {} 米不合理。")
        res = ~((self.res >= 64) & (self.res <= 100_000))
        self._reject(res, "resolution", self.res, "A width of {} pixels is not possible.", "像素宽 {} 不合理。")

    def table(self, densities: tuple[float, ...], range_max_m: float) -> CameraTable:
        c = self.columns
        all_round = self.panoramic
        with np.errstate(all="ignore"):
            half = self.hfov / 2.0
            pixels_per_m = np.where(all_round, np.radians(self.hfov), 2.0 * np.tan(np.radians(np.minimum(half, 89.0))))
            view = np.minimum(self.view, range_max_m)
            self._mark(self.view > range_max_m, Assumed.RANGE_CUT)
            radius = np.minimum(
                view[:, None], self.res[:, None] / (np.array(densities)[None, :] * pixels_per_m[:, None])
            )
            confirmed = np.where(self.unknown, -1.0, half - self.accuracy)
            confirmed = np.where(confirmed <= 0.0, -1.0, confirmed)
            possible = np.where(self.unknown | self.steerable, 180.0, np.minimum(half + self.accuracy, 180.0))
            confirmed = np.where(all_round, half, confirmed)
            possible = np.where(all_round, half, possible)
            low = _slope(-(self.tilt + self.vfov / 2.0))
            high = _slope(self.vfov / 2.0 - self.tilt)
        slopes = np.column_stack([low, high])
        free = np.column_stack([np.full(len(low), -np.inf), np.full(len(low), np.inf)])
        status = c.online()
        self._mark(status == UNKNOWN, Assumed.STATUS)
        good = np.array([i not in self.bad for i in range(len(c.id))], dtype=np.bool_)
        return CameraTable(
            id=c.id,
            x=c.x,
            y=c.y,
            height_m=self.height,
            azimuth_deg=self.azimuth,
            half_confirmed_deg=confirmed,
            half_possible_deg=possible,
            slope_confirmed=slopes,
            slope_possible=np.where(self.steerable[:, None], free, slopes),
            view_m=view,
            radius_m=radius,
            online=status,
            assumed=self.assumed,
            densities_px_m=densities,
            crs=c.crs,
            rejected=tuple(self.bad[i] for i in sorted(self.bad)),
            defaults=self.defaults,
        ).take(good)


def _slope(angle_deg: Floats) -> Floats:
    """Rise over run of a line at an angle above the horizon; infinite from the vertical on."""
    steep = np.tan(np.radians(np.clip(angle_deg, -89.9, 89.9)))
    return np.where(angle_deg <= -89.9, -np.inf, np.where(angle_deg >= 89.9, np.inf, steep))


def describe_assumed(
    tally: Mapping[Assumed, int], cameras: int, rejected: int, defaults: CameraDefaults
) -> tuple[str, ...]:
    """Assumptions in words, with how many of ``cameras`` each was made for."""
    said = {
        Assumed.HEIGHT: f"mount height {defaults.mount_height_m:g} m by default",
        Assumed.HFOV: f"horizontal view {defaults.hfov_deg:g}° by default (panoramic 360°)",
        Assumed.VFOV: f"vertical view {defaults.vfov_deg:g}° by default (panoramic 90°)",
        Assumed.TILT: f"tilt {defaults.tilt_deg:g}° by default (panoramic 45°)",
        Assumed.RANGE: f"view distance {defaults.view_dist_m:g} m by default",
        Assumed.RESOLUTION: f"width {defaults.res_w_px} px by default",
        Assumed.TYPE: "structure type unknown, taken as fixed",
        Assumed.STATUS: "network state unknown, never confirmed online",
        Assumed.DIRECTION_UNKNOWN: "direction unknown, nothing confirmed",
        Assumed.AZIMUTH_FROM_CODE: "azimuth from a direction code, known to 22.5°",
        Assumed.RANGE_CUT: "view distance cut to the greatest range",
        Assumed.MOVED: "inside a building, moved to its edge",
    }
    lines = [f"{tally[bit]} of {cameras} cameras: {said[bit]}" for bit in Assumed if tally.get(bit)]
    if rejected:
        lines.append(f"{rejected} cameras were rejected and take no part")
    return tuple(lines)
