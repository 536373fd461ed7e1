"""The other county seats: a small street grid each, enough to carry their share of the registers."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from data.city.frame import rng_for, to_metres
from data.city.river import River

__all__ = ["Town", "draw_towns"]

#: County code, Chinese and English name, longitude, latitude, streets each way, turn in degrees.
_SEATS: tuple[tuple[str, str, str, float, float, int, float], ...] = (
    ("420505", "猇亭", "Xiaoting", 111.462, 30.528, 11, 18.0),
    ("420525", "远安", "Yuan'an", 111.640, 31.060, 10, 25.0),
    ("420526", "兴山", "Xingshan", 110.747, 31.348, 8, -35.0),
    ("420527", "秭归", "Zigui", 110.985, 30.815, 10, 12.0),
    ("420528", "长阳", "Changyang", 111.200, 30.482, 10, 8.0),
    ("420529", "五峰", "Wufeng", 111.080, 30.160, 8, -20.0),
    ("420581", "宜都", "Yidu", 111.435, 30.385, 13, -10.0),
    ("420582", "当阳", "Dangyang", 111.788, 30.820, 13, 30.0),
    ("420583", "枝江", "Zhijiang", 111.765, 30.440, 12, 5.0),
)


@dataclass(frozen=True)
class Town:
    """A county seat: streets and the blocks between them, EPSG:4546."""

    county: str
    name_zh: str
    name_en: str
    centre: NDArray[np.float64]
    streets: NDArray[np.object_]
    is_main: NDArray[np.bool_]
    blocks: NDArray[np.object_]


def draw_towns(river: River, *, seed: int) -> tuple[Town, ...]:
    """Draw the towns; blocks on the Yangtze or its larger tributaries are left out."""
    waters = shapely.union_all(
        [
            shapely.buffer(river.polygon, 60.0),
            *(shapely.buffer(t.polygon, 30.0) for t in river.tributaries if t.is_major),
        ]
    )
    shapely.prepare(waters)
    out = []
    for county, zh, en, lon, lat, count, turn in _SEATS:
        rng = rng_for(seed, f"town:{county}")
        centre = shapely.get_coordinates(to_metres(shapely.points(lon, lat)))[0]
        ticks = np.cumsum(rng.uniform(95.0, 190.0, (2, count)), axis=1)
        ticks -= ticks.mean(axis=1, keepdims=True)
        c, s = np.cos(np.radians(turn)), np.sin(np.radians(turn))
        gx, gy = np.meshgrid(ticks[0], ticks[1])
        bend = 55.0 * np.sin(gx / 700.0 + rng.uniform(0, 6)) + rng.normal(0, 7.0, gx.shape)
        px, py = gx + 0.5 * rng.normal(0, 12.0, gx.shape), gy + bend
        nodes = np.stack([centre[0] + c * px - s * py, centre[1] + s * px + c * py], axis=-1).round(3)
        lines: list[Any] = [shapely.linestrings(nodes[k]) for k in range(count)] + [
            shapely.linestrings(nodes[:, k]) for k in range(count)
        ]
        main = np.zeros(2 * count, dtype=bool)
        main[[count // 2, count + count // 2]] = True
        quads = np.stack([nodes[:-1, :-1], nodes[:-1, 1:], nodes[1:, 1:], nodes[1:, :-1]], axis=2).reshape(-1, 4, 2)
        blocks: Any = shapely.polygons(quads)
        round_town = np.hypot(*(quads.mean(axis=1) - centre).T) < 0.62 * np.ptp(ticks[0]) * rng.uniform(
            0.8, 1.1, len(quads)
        )
        blocks = blocks[round_town & ~shapely.intersects(waters, blocks)]
        dry = ~shapely.intersects(waters, np.array(lines, dtype=object))
        clipped = shapely.difference(np.array(lines, dtype=object)[~dry], waters)
        streets = np.concatenate([np.array(lines, dtype=object)[dry], shapely.get_parts(clipped)])
        is_main = np.concatenate([main[dry], np.zeros(len(streets) - int(dry.sum()), dtype=bool)])
        out.append(Town(county, zh, en, centre, streets, is_main, blocks))
    return tuple(out)
