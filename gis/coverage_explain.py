"""Why a place is not seen.

For every place and every camera that looks as far, the stages of being seen are gone through: range, direction, line of
sight, vertical view, density, direction known, working. The camera that gets farthest decides (the nearest of equals),
and the stage at which it fails is the cause: so the cause names what is least to be changed.
"""

import math
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from gis.cameras import Assumed, CameraTable
from gis.coverage import job_of
from gis.coverage_chunks import PRODUCTS
from gis.coverage_kernel import in_sector
from gis.errors import InputError, LimitExceeded
from gis.visibility_fan import VOID_HEIGHT_M, kernel, line_is_free
from gis.visibility_surface import Surface

__all__ = ["Cause", "Explanation", "explain"]

TILE = 512
PLACES_MAX = 100_000_000


class Cause(IntEnum):
    """Why a place is not seen; in the order of the stages, 0 where it is seen."""

    SEEN = 0
    NO_CAMERA = 1
    WRONG_ANGLE = 2
    TERRAIN = 3
    BUILDING = 4
    BLIND_ZONE = 5
    DENSITY = 6
    DIRECTION_UNKNOWN = 7
    STATUS_UNKNOWN = 8
    OFFLINE = 9
    GROUND_UNKNOWN = 10

    @property
    def en(self) -> str:
        """The cause in English."""
        return _WORDS[self][0]

    @property
    def zh(self) -> str:
        """The cause in Chinese."""
        return _WORDS[self][1]


_WORDS = {
    Cause.SEEN: ("seen", "已覆盖"),
    Cause.NO_CAMERA: ("no camera in range", "范围内无摄像机"),
    Cause.WRONG_ANGLE: ("wrong angle", "朝向不对"),
    Cause.TERRAIN: ("hidden by terrain", "地形遮挡"),
    Cause.BUILDING: ("hidden by a building", "建筑遮挡"),
    Cause.BLIND_ZONE: ("in the blind zone", "位于盲区"),
    Cause.DENSITY: ("density too low", "像素密度不足"),
    Cause.DIRECTION_UNKNOWN: ("direction unknown", "方位未知"),
    Cause.STATUS_UNKNOWN: ("network state unknown", "在线状态未知"),
    Cause.OFFLINE: ("camera offline", "摄像机离线"),
    Cause.GROUND_UNKNOWN: ("terrain unknown", "地形未知"),
}


@dataclass(frozen=True)
class Explanation:
    """For n places: ``cause`` uint8 of `Cause`.

    ``camera`` identifier of the camera that decides, None without one; ``distance_m`` to it, NaN without.
    """

    cause: npt.NDArray[np.uint8]
    camera: npt.NDArray[np.object_]
    distance_m: npt.NDArray[np.float64]


def explain(
    cameras: CameraTable,
    surface: Surface,
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    *,
    product: str = "confirmed_online",
    density_px_m: float | None = None,
    target_height_m: float = 0.0,
) -> Explanation:
    """Say for places why they are not seen.

    Parameters
    ----------
    cameras : CameraTable
    surface : Surface
    x, y : arrays (n,), metres of the analysis system
        The cell of each place is judged, by the same rule as in `gis.coverage.compute` (exact).
    product : str
        Which coverage is meant; see `gis.coverage.PRODUCTS`.
    density_px_m : float, optional
        Density that counts as seen; the coarsest without it.

    Raises
    ------
    InputError
        No such product or density, or a coordinate that is no number.
    LimitExceeded
        More than 100 million places.
    """
    if product not in PRODUCTS:
        raise InputError(f"There is no coverage product {product!r}.", zh=f"没有覆盖产品 {product!r}。")
    density = cameras.densities_px_m[0] if density_px_m is None else float(density_px_m)
    if density not in cameras.densities_px_m:
        raise InputError(
            f"The cameras were not prepared for {density:g} px/m.", zh=f"摄像机未按 {density:g} 像素/米准备。"
        )
    xs, ys = np.asarray(x, dtype=np.float64).reshape(-1), np.asarray(y, dtype=np.float64).reshape(-1)
    if xs.shape != ys.shape or not (np.isfinite(xs).all() and np.isfinite(ys).all()):
        raise InputError(
            "Points need finite coordinates, one y for each x.", zh="点坐标须为有限数值，且 x、y 数量一致。"
        )
    if len(xs) > PLACES_MAX:
        raise LimitExceeded(f"{len(xs):,} places are too many for one call.", zh=f"单次最多 {PLACES_MAX:,} 处。")
    _, job = job_of(cameras, surface, target_height_m=target_height_m, densities_px_m=cameras.densities_px_m)
    placed = job.placed
    by_name = (
        np.argsort(np.array(placed.cameras.id, dtype=np.str_), kind="stable")
        if len(placed.cameras)
        else np.empty(0, dtype=np.int64)
    )
    table = placed.cameras.take(by_name)
    cam_row, cam_col, eye = placed.row[by_name], placed.col[by_name], placed.eye_m[by_name]
    unsure = (table.assumed & np.uint16(Assumed.DIRECTION_UNKNOWN | Assumed.AZIMUTH_FROM_CODE)) > 0
    rows, cols = surface.cell_of(xs, ys)
    cause = np.full(len(xs), Cause.NO_CAMERA, dtype=np.uint8)
    winner = np.full(len(xs), -1, dtype=np.int64)
    distance = np.full(len(xs), np.nan)
    view_cells = np.floor(table.view_m / surface.cell_m).astype(np.int64)
    order = np.lexsort((cols // TILE, rows // TILE))
    if len(order):
        cuts = np.flatnonzero((np.diff(rows[order] // TILE) != 0) | (np.diff(cols[order] // TILE) != 0)) + 1
        for part in np.split(order, cuts):
            row, col = int(rows[part].min()), int(cols[part].min())
            end_row, end_col = int(rows[part].max()), int(cols[part].max())
            near = (
                (cam_row + view_cells >= row)
                & (cam_row - view_cells <= end_row)
                & (cam_col + view_cells >= col)
                & (cam_col - view_cells <= end_col)
            )
            which = np.flatnonzero(near).astype(np.int64)
            # lines of sight stay within the box of the places and the cameras that matter to them
            every_row, every_col = np.append(cam_row[which], (row, end_row)), np.append(cam_col[which], (col, end_col))
            south, west = int(every_row.min()) - 1, int(every_col.min()) - 1
            window = surface.window(south, west, int(every_row.max()) - south + 2, int(every_col.max()) - west + 2)
            codes, places, metres = _explain(
                window.z,
                window.ground,
                window.row,
                window.col,
                rows[part],
                cols[part],
                which,
                cam_row,
                cam_col,
                eye,
                table.azimuth_deg,
                table.half_confirmed_deg,
                table.half_possible_deg,
                table.slope_confirmed,
                table.slope_possible,
                table.radius_m[:, table.densities_px_m.index(density)].copy(),
                table.view_m,
                table.online,
                unsure,
                product.startswith("confirmed"),
                product.endswith("online"),
                target_height_m,
                surface.drop,
                surface.cell_m,
            )
            cause[part], winner[part], distance[part] = codes, places, metres
    names = np.array([*table.id, None], dtype=np.object_)
    return Explanation(cause, names[winner], distance)


@kernel
def _explain(
    z: npt.NDArray[np.float32],
    ground: npt.NDArray[np.float32],
    z_row: int,
    z_col: int,
    rows: npt.NDArray[np.int64],
    cols: npt.NDArray[np.int64],
    which: npt.NDArray[np.int64],
    cam_row: npt.NDArray[np.int64],
    cam_col: npt.NDArray[np.int64],
    eye: npt.NDArray[np.float64],
    azimuth: npt.NDArray[np.float64],
    half_confirmed: npt.NDArray[np.float64],
    half_possible: npt.NDArray[np.float64],
    slope_confirmed: npt.NDArray[np.float64],
    slope_possible: npt.NDArray[np.float64],
    radius: npt.NDArray[np.float64],
    view: npt.NDArray[np.float64],
    online: npt.NDArray[np.int8],
    unsure: npt.NDArray[np.bool_],
    confirmed: bool,
    working: bool,
    target: float,
    drop: float,
    cell: float,
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Codes are those of `Cause`; the rank of a camera is the stage it reaches."""
    n = len(rows)
    code = np.empty(n, dtype=np.uint8)
    winner = np.empty(n, dtype=np.int64)
    metres = np.empty(n, dtype=np.float64)
    flat = z.reshape(-1)
    flat_ground = ground.reshape(-1)
    width = z.shape[1]
    for p in range(n):
        height = z[rows[p] - z_row, cols[p] - z_col]
        best_rank = 0
        best_cause = 1
        best_camera = -1
        best_distance = 1.0e300
        for at in range(len(which)):
            k = which[at]
            dr = rows[p] - cam_row[k]
            dc = cols[p] - cam_col[k]
            d2 = float(dr * dr + dc * dc)
            d = math.sqrt(d2)
            if d * cell > view[k]:
                continue
            rank = 1
            cause = 2
            sine = math.sin(math.radians(azimuth[k]))
            cosine = math.cos(math.radians(azimuth[k]))
            if in_sector(dc, dr, d, sine, cosine, half_possible[k], math.cos(math.radians(half_possible[k]))):
                rank = 2
                h = height + target - eye[k] - drop * d2
                slope = h / (d * cell) if d > 0.0 else -1.0e300
                free = True
                i = max(abs(dr), abs(dc))
                if i > 0:
                    j = min(abs(dr), abs(dc))
                    east = 1 if dc > 0 else -1
                    north = width if dr > 0 else -width
                    si, sj = (east, north) if abs(dc) >= abs(dr) else (north, east)
                    base = (cam_row[k] - z_row) * width + cam_col[k] - z_col
                    if not line_is_free(flat, base, si, sj, i, j, eye[k], drop, h / i):
                        free = False
                        if line_is_free(flat_ground, base, si, sj, i, j, eye[k], drop, h / i):
                            cause = 4
                            rank = 3
                        else:
                            cause = 3
                if free:
                    if slope < slope_possible[k, 0]:
                        cause = 5
                        rank = 4
                    elif slope > slope_possible[k, 1]:
                        cause = 2
                        rank = 4
                    elif d2 > (radius[k] / cell) ** 2:
                        cause = 6
                        rank = 5
                    elif confirmed and not (
                        slope >= slope_confirmed[k, 0]
                        and slope <= slope_confirmed[k, 1]
                        and in_sector(
                            dc, dr, d, sine, cosine, half_confirmed[k], math.cos(math.radians(half_confirmed[k]))
                        )
                    ):
                        cause = 7 if unsure[k] else 2  # a camera that can turn, and looks elsewhere
                        rank = 6
                    elif working and (online[k] == 0 or (confirmed and online[k] != 1)):
                        cause = 9 if online[k] == 0 else 8
                        rank = 7
                    else:
                        cause = 0
                        rank = 8
            if rank > best_rank or (rank == best_rank and d < best_distance):
                best_rank = rank
                best_cause = cause
                best_camera = k
                best_distance = d
        if height > 0.5 * VOID_HEIGHT_M:
            best_cause = 10
        code[p] = best_cause
        winner[p] = best_camera
        metres[p] = best_distance * cell if best_camera >= 0 else np.nan
    return code, winner, metres
