"""The optics of one camera on flat ground, for planning by hand and for tests."""

import math
from dataclasses import dataclass

from gis.errors import InputError

__all__ = ["Optics"]


@dataclass(frozen=True, kw_only=True)
class Optics:
    """Lens, sensor and mount of a camera.

    Parameters
    ----------
    hfov_deg, vfov_deg : float
        Horizontal and vertical field of view.
    res_w_px : float
        Pixels across the picture.
    mount_height_m : float
        Height above the ground.
    tilt_deg : float
        Angle of the optical axis below the horizon.

    Raises
    ------
    InputError
        A value is outside what a camera can have.

    Examples
    --------
    >>> camera = Optics(hfov_deg=60, vfov_deg=35, res_w_px=1920, mount_height_m=6, tilt_deg=15)
    >>> [round(camera.range_m(d)) for d in (20, 40, 80)]
    [83, 42, 21]
    >>> round(camera.blind_zone_m(), 1)
    9.4
    """

    hfov_deg: float
    vfov_deg: float
    res_w_px: float
    mount_height_m: float
    tilt_deg: float

    def __post_init__(self) -> None:
        if not 0 < self.hfov_deg <= 360:
            raise InputError(
                f"A horizontal view of {self.hfov_deg:g}° is not possible.",
                zh=f"水平视场角 {self.hfov_deg:g}° 不合理。",
            )
        if not 0 < self.vfov_deg <= 180:
            raise InputError(
                f"A vertical view of {self.vfov_deg:g}° is not possible.", zh=f"垂直视场角 {self.vfov_deg:g}° 不合理。"
            )
        if not -90 <= self.tilt_deg <= 90:
            raise InputError(
                f"A tilt of {self.tilt_deg:g}° is not within −90–90°.",
                zh=f"俯角 {self.tilt_deg:g}° 不在 −90–90° 之间。",
            )
        if not (self.res_w_px > 0 and self.mount_height_m > 0):
            raise InputError("Resolution and mount height must be positive.", zh="分辨率和安装高度须为正数。")

    @classmethod
    def from_lens(
        cls,
        *,
        sensor_w_mm: float,
        sensor_h_mm: float,
        focal_mm: float,
        res_w_px: float,
        mount_height_m: float,
        tilt_deg: float,
    ) -> "Optics":
        """The optics of a rectilinear lens: ``fov = 2 atan(sensor / 2 focal)``.

        Raises
        ------
        InputError
            A size is not positive.
        """
        if not (sensor_w_mm > 0 and sensor_h_mm > 0 and focal_mm > 0):
            raise InputError("Sensor size and focal length must be positive.", zh="传感器尺寸和焦距须为正数。")
        return cls(
            hfov_deg=math.degrees(2 * math.atan(sensor_w_mm / (2 * focal_mm))),
            vfov_deg=math.degrees(2 * math.atan(sensor_h_mm / (2 * focal_mm))),
            res_w_px=res_w_px,
            mount_height_m=mount_height_m,
            tilt_deg=tilt_deg,
        )

    def range_m(self, density_px_m: float, *, view_dist_m: float = math.inf) -> float:
        """How far a density reaches: ``res / (2 D tan(hfov / 2))``.

        From 180 degrees on, where no plane picture exists, ``res / (D hfov)``.
        """
        half = math.radians(self.hfov_deg) / 2
        across = 2 * half if self.hfov_deg >= 180 else 2 * math.tan(half)
        return min(view_dist_m, self.res_w_px / (density_px_m * across))

    def blind_zone_m(self, *, target_height_m: float = 0.0) -> float:
        """Distance on flat ground from the foot of the mount to the first point in view.

        Infinite when the camera looks above it.
        """
        return self._meets(self.tilt_deg + self.vfov_deg / 2, target_height_m)

    def farthest_m(self, *, target_height_m: float = 0.0) -> float:
        """Distance on flat ground at which the upper edge of the picture comes down; infinite when it does not."""
        return self._meets(self.tilt_deg - self.vfov_deg / 2, target_height_m)

    def _meets(self, below_deg: float, target_height_m: float) -> float:
        drop = self.mount_height_m - target_height_m
        if drop <= 0 or below_deg <= 0:
            return math.inf
        return 0.0 if below_deg >= 90 else drop / math.tan(math.radians(below_deg))
