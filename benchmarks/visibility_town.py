"""The synthetic ground of the visibility and coverage benchmarks: 20 × 20 km, hills, 60,000 buildings, cameras. Seeded."""

import math

import numpy as np
import shapely
from scipy.ndimage import zoom

from gis.visibility import Buildings, Surface, Terrain

SIDE_M = 20_000.0
BUILDINGS = 60_000


def terrain(seed: int = 1) -> Terrain:
    """Hills of up to some 200 m over 20 km, with a valley, on cells of 30 m."""
    rng = np.random.default_rng(seed)
    n = 700
    heights = np.zeros((n, n))
    for cells, metres in ((5, 60.0), (18, 22.0), (70, 6.0), (280, 1.0)):
        heights += zoom(rng.normal(size=(cells, cells)) * metres, n / cells, order=3)[:n, :n]
    return Terrain(heights.astype(np.float32), -500.0, 20_500.0, 30.0, 30.0)


def footprints(seed: int = 2, n: int = BUILDINGS) -> tuple[np.ndarray, np.ndarray]:
    """Turned rectangles, two thirds of them in a dense centre, and their heights."""
    rng = np.random.default_rng(seed)
    centre = rng.normal(SIDE_M / 2, SIDE_M / 7, (n, 2))
    anywhere = rng.uniform(0, SIDE_M, (n, 2))
    places = np.clip(np.where(rng.random(n)[:, None] < 2 / 3, centre, anywhere), 30, SIDE_M - 30)
    half = rng.uniform(4, 18, (n, 2))
    turn = rng.uniform(0, math.pi, n)
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1], [-1, -1]]) * half[:, None, :]
    cosine, sine = np.cos(turn)[:, None], np.sin(turn)[:, None]
    x = corners[..., 0] * cosine - corners[..., 1] * sine + places[:, :1]
    y = corners[..., 0] * sine + corners[..., 1] * cosine + places[:, 1:]
    return np.asarray(shapely.polygons(np.stack([x, y], axis=-1))), rng.gamma(3.0, 6.0, n) + 3.0


def town(cell_m: float) -> Surface:
    """Terrain and buildings; without curvature, so that tools that do not know it can be compared."""
    shapes, heights = footprints()
    buildings = Buildings.from_polygons(shapes, heights)
    return Surface(cell_m=cell_m, terrain=terrain(), buildings=buildings, refraction=1.0)


def register(n: int = 60_000, seed: int = 3) -> dict[str, np.ndarray]:
    """Cameras beside buildings: seven of ten fixed with an azimuth, one fixed without, two that turn; some off, some of unknown state."""
    rng = np.random.default_rng(seed)
    shapes, _ = footprints()
    beside = shapely.get_coordinates(shapely.centroid(shapes))[rng.integers(0, len(shapes), n)]
    turn = rng.uniform(0, 2 * math.pi, n)
    away = rng.uniform(12, 35, n)
    kind = rng.choice([3, 1], n, p=[0.8, 0.2])
    return {
        "id": np.arange(n).astype(str),
        "x": np.clip(beside[:, 0] + away * np.cos(turn), 0, SIDE_M - 1),
        "y": np.clip(beside[:, 1] + away * np.sin(turn), 0, SIDE_M - 1),
        "azimuth_deg": np.where(rng.random(n) < 0.1, np.nan, rng.uniform(0, 360, n)),
        "ptz_type": kind,
        "hfov_deg": rng.uniform(45, 90, n),
        "vfov_deg": rng.uniform(30, 50, n),
        "tilt_deg": rng.uniform(5, 25, n),
        "mount_height_m": rng.uniform(4, 10, n),
        "view_dist_m": np.where(kind == 1, 150.0, 100.0),
        "res_w_px": rng.choice([1920, 2560, 3840], n),
        "net_status": rng.choice(["on", "off", "unknown"], n, p=[0.9, 0.06, 0.04]),
    }
