"""How much a coverage result hangs on what was assumed.

Where a register says nothing, `gis.cameras.prepare` takes declared defaults. Here each default is moved down and up in
turn, for the cameras that lack the value only, and the coverage is computed again.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gis.cameras import Assumed, CameraTable, prepare
from gis.coverage import compute
from gis.errors import InputError
from gis.settings import CameraDefaults
from gis.visibility_surface import Surface

if TYPE_CHECKING:
    import geopandas as gpd

__all__ = ["Sensitivity", "sensitivity"]

_BITS = {
    "mount_height_m": Assumed.HEIGHT,
    "hfov_deg": Assumed.HFOV,
    "vfov_deg": Assumed.VFOV,
    "tilt_deg": Assumed.TILT,
    "view_dist_m": Assumed.RANGE,
    "res_w_px": Assumed.RESOLUTION,
}


@dataclass(frozen=True)
class Sensitivity:
    """One assumption moved: ``cameras`` it was made for, the value ``low`` and ``high``, and the area seen at each."""

    assumption: str
    cameras: int
    assumed: float
    low: float
    high: float
    area_m2: float
    area_low_m2: float
    area_high_m2: float

    @property
    def swing(self) -> float:
        """Greatest change of the area, as a share of it; 0 when nothing is seen at all."""
        if not self.area_m2:
            return 0.0
        return max(abs(self.area_low_m2 - self.area_m2), abs(self.area_high_m2 - self.area_m2)) / self.area_m2


def sensitivity(
    cameras: "gpd.GeoDataFrame | Mapping[str, Any]",
    surface: Surface,
    *,
    defaults: CameraDefaults | None = None,
    change: float = 0.2,
    product: str = "confirmed_installed",
    mode: str = "fast",
    crs: Any = None,
    target_height_m: float = 0.0,
    densities_px_m: tuple[float, ...] = (20.0, 40.0, 80.0),
    range_max_m: float = 400.0,
    workers: int | None = None,
    cancel: Callable[[], bool] | None = None,
) -> list[Sensitivity]:
    """Move every default that was used by ``change`` (0.2: a fifth) down and up; strongest effect first.

    Parameters
    ----------
    cameras : GeoDataFrame or mapping of columns
        A register as for `gis.cameras.prepare`.
    surface : Surface
    change : float
        Share by which defaults are moved, between 0 and 1.

    Raises
    ------
    InputError
        ``change`` is not between 0 and 1.
    """
    if not 0 < change < 1:
        raise InputError("Assumptions are moved by a share between 0 and 1.", zh="假设值的变动比例须在 0 与 1 之间。")
    start = defaults or CameraDefaults()

    def read(values: CameraDefaults) -> CameraTable:
        return prepare(
            cameras,
            defaults=values,
            densities_px_m=densities_px_m,
            crs=crs,
            bounds=surface.bounds,
            range_max_m=range_max_m,
        )

    def area(values: CameraDefaults) -> float:
        result = compute(
            read(values), surface, target_height_m=target_height_m, densities_px_m=densities_px_m, mode=mode, workers=workers,
            cancel=cancel,
        )  # fmt: skip
        return result.area_m2(product)

    tally = read(start).tally
    whole = area(start)
    found = []
    for name, bit in _BITS.items():
        if not tally.get(bit):
            continue
        value = float(getattr(start, name))
        low, high = value * (1 - change), value * (1 + change)
        if name == "res_w_px":
            low, high = round(low), round(high)
        found.append(
            Sensitivity(
                assumption=name,
                cameras=tally[bit],
                assumed=value,
                low=low,
                high=high,
                area_m2=whole,
                area_low_m2=area(start.model_copy(update={name: low})),
                area_high_m2=area(start.model_copy(update={name: high})),
            )
        )
    return sorted(found, key=lambda s: -s.swing)
