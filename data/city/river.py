"""The Yangtze through Yichang and its tributaries: axis, banks, islands, chainage.

The axis follows the county border that runs in the river (Dianjun against Xiling, Wujiagang and Xiaoting; Yidu against Zhijiang);
widths are rounded from maps. All coordinates in EPSG:4546, metres.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from data.city.noise import smooth

Floats = NDArray[np.float64]

__all__ = ["DAM_CHAINAGE_HINT", "River", "Tributary", "draw_river", "offset_band", "rounded"]

#: x, y of the axis; width from axis to left and to right bank.
_AXIS: tuple[tuple[float, float, float, float], ...] = (
    (432300, 3433100, 260, 260), (435901, 3436372, 260, 260), (441233, 3436700, 260, 260), (444500, 3434700, 260, 260),
    (448853, 3434477, 260, 260), (454668, 3434867, 300, 300), (459401, 3432089, 350, 350), (469506, 3430394, 400, 400),
    (476814, 3426152, 450, 450), (482500, 3422900, 500, 500), (485700, 3418900, 600, 600), (489900, 3418300, 650, 650),
    (495664, 3416803, 600, 600), (498200, 3414900, 450, 450), (499900, 3411900, 330, 330), (502793, 3410842, 260, 260),
    (504319, 3411150, 250, 250), (508644, 3414566, 250, 250), (511530, 3413928, 260, 260), (514256, 3413397, 260, 260),
    (516252, 3410600, 260, 260), (514900, 3407600, 250, 250), (516400, 3406200, 240, 240), (519961, 3405887, 240, 240),
    (523417, 3405360, 260, 260), (525085, 3404900, 300, 270), (525860, 3404050, 380, 380), (526140, 3403100, 640, 560),
    (525950, 3402150, 900, 800), (525450, 3401200, 1120, 720), (525070, 3400350, 1180, 560), (525020, 3399500, 960, 440),
    (525328, 3398378, 700, 430), (525700, 3397700, 500, 410), (526169, 3397109, 420, 390), (526977, 3396441, 400, 390),
    (528846, 3395120, 500, 430), (531171, 3392742, 640, 720), (533083, 3390341, 560, 640), (535200, 3387900, 520, 480),
    (536326, 3386530, 500, 470), (537103, 3384873, 520, 500), (538344, 3380078, 520, 480), (539858, 3376675, 500, 460),
    (541893, 3374105, 480, 450), (542622, 3371382, 520, 480), (542150, 3367500, 540, 480), (543112, 3365785, 560, 500),
    (544900, 3365700, 560, 520), (548224, 3366650, 520, 560), (550321, 3365140, 500, 560), (550854, 3363320, 480, 560),
    (550059, 3360361, 520, 560), (548154, 3357081, 540, 560), (548441, 3354900, 560, 560), (550500, 3352200, 560, 560),
    (553200, 3349700, 600, 600), (556345, 3350200, 650, 650), (559200, 3355500, 700, 700), (562700, 3360600, 800, 700),
    (566500, 3363700, 800, 800), (572545, 3365300, 850, 900), (578345, 3364600, 900, 950), (583019, 3365500, 800, 850),
    (586338, 3363300, 700, 800), (588700, 3359300, 650, 750), (592000, 3354500, 600, 700),
)  # fmt: skip

#: The Gezhouba dam stands near this point; chainage zero of the city's own stretch is not here but where the river enters it.
DAM_CHAINAGE_HINT = (525880.0, 3402050.0)

#: name, English name, centre line x, y, half width: left bank of the Yangtze first.
_TRIBUTARIES: tuple[tuple[str, str, tuple[tuple[float, float], ...], float, bool], ...] = (
    ("黄柏河", "Huangbai River", ((522500, 3442000), (525800, 3434000), (524300, 3427000), (528400, 3420500), (529900, 3414500),
                                  (528100, 3410300), (527500, 3407200), (527000, 3405100), (526480, 3403600)), 75.0, True),
    ("清江", "Qing River", ((452000, 3357500), (470500, 3364800), (489000, 3369700), (503000, 3374300), (519600, 3370700),
                            (531800, 3374800), (535600, 3367200), (538800, 3363400), (542350, 3364900)), 110.0, True),
    ("香溪", "Xiangxi River", ((470800, 3466500), (474500, 3456500), (470900, 3446900), (475700, 3438000), (473000, 3428700)), 60.0, True),
    ("沮漳河", "Juzhang River", ((561500, 3444500), (568200, 3430000), (570700, 3417500), (580900, 3405800), (583500, 3390600),
                                 (588800, 3378500), (588300, 3359900)), 60.0, True),
    ("柏临河", "Bailin Brook", ((540900, 3401600), (539300, 3397400), (537300, 3394900), (536600, 3392600), (535900, 3390900),
                               (535200, 3389300), (535000, 3388300)), 22.0, False),
    ("运河", "Canal Brook", ((534000, 3404500), (532600, 3401800), (531300, 3399700), (531700, 3397700), (530700, 3396000),
                             (529700, 3394800)), 16.0, False),
    ("卷桥河", "Juanqiao Brook", ((520300, 3393600), (522600, 3394300), (524200, 3395300), (525700, 3396600)), 20.0, False),
    ("桥边河", "Qiaobian Brook", ((522900, 3388800), (526300, 3389900), (528200, 3391500), (529900, 3392700)), 20.0, False),
)  # fmt: skip

#: name, English name, length, width, distance from the axis (left positive), near which point.
_ISLANDS: tuple[tuple[str, str, float, float, float, tuple[float, float]], ...] = (
    ("西坝", "Xiba Island", 2900.0, 640.0, 440.0, (525020, 3399950)),
    ("葛洲坝岛", "Gezhouba Islet", 1050.0, 330.0, -330.0, (525560, 3401250)),
    ("胭脂坝", "Yanzhi Islet", 3600.0, 420.0, -330.0, (531500, 3392350)),
    ("南阳碛", "Nanyang Islet", 1900.0, 300.0, 170.0, (541000, 3375250)),
    ("关洲", "Guanzhou Islet", 3200.0, 520.0, 0.0, (559200, 3355500)),
    ("百里洲滩", "Baili Shoal", 5200.0, 620.0, -100.0, (577600, 3364800)),
)  # fmt: skip


@dataclass(frozen=True)
class Tributary:
    """A smaller river: centre line flowing to the Yangtze, and its surface."""

    name_zh: str
    name_en: str
    is_major: bool
    half_width_m: float
    line: Any
    polygon: Any


@dataclass(frozen=True)
class River:
    """The Yangtze.

    Attributes
    ----------
    axis : LineString
        Downstream; ``station_m`` is the chainage of each vertex.
    left, right : LineString
        Banks, downstream, left and right as seen facing downstream, one vertex to a vertex of the axis.
    polygon : Polygon
        Water surface between the banks without the islands.
    """

    axis: Any
    station_m: NDArray[np.float64]
    left: Any
    right: Any
    polygon: Any
    islands: tuple[tuple[str, str, Any], ...]
    tributaries: tuple[Tributary, ...]
    widths_m: NDArray[np.float64]

    @property
    def length_m(self) -> float:
        """Length of the axis."""
        return float(self.station_m[-1])

    def chainage(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
        """Chainage of the nearest point of the axis."""
        return np.asarray(shapely.line_locate_point(self.axis, shapely.points(x, y)), dtype=np.float64)

    def index_at(self, chainage_m: float) -> int:
        """Index of the vertex nearest to a chainage."""
        return int(np.abs(self.station_m - chainage_m).argmin())

    def bank_part(self, side: str, start_m: float, end_m: float) -> Any:
        """The bank (``"L"`` or ``"R"``) between two chainages of the axis."""
        line = self.left if side == "L" else self.right
        i, j = self.index_at(start_m), self.index_at(end_m)
        return shapely.linestrings(shapely.get_coordinates(line)[i : j + 1])


def rounded(points: NDArray[np.float64], times: int = 4) -> NDArray[np.float64]:
    """Cut the corners of an open line (Chaikin); columns beyond x and y are carried along."""
    for _ in range(times):
        a, b = points[:-1], points[1:]
        middle = np.empty((2 * len(a), points.shape[1]))
        middle[0::2], middle[1::2] = 0.75 * a + 0.25 * b, 0.25 * a + 0.75 * b
        points = np.vstack([points[:1], middle, points[-1:]])
    return points


def _resampled(points: NDArray[np.float64], step_m: float) -> NDArray[np.float64]:
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(points[:, :2], axis=0).T))])
    at = np.linspace(0.0, along[-1], int(along[-1] // step_m) + 1)
    return np.column_stack([np.interp(at, along, points[:, k]) for k in range(points.shape[1])])


def _left_normals(points: NDArray[np.float64], reach: int) -> NDArray[np.float64]:
    ahead = np.vstack([points[reach:], np.repeat(points[-1:], reach, axis=0)])
    behind = np.vstack([np.repeat(points[:1], reach, axis=0), points[:-reach]])
    direction = ahead - behind
    direction /= np.hypot(direction[:, 0], direction[:, 1])[:, None]
    return np.column_stack([-direction[:, 1], direction[:, 0]])


def offset_band(
    points: NDArray[np.float64], left_m: NDArray[np.float64], right_m: NDArray[np.float64]
) -> tuple[Any, Any, Any]:
    """Left line, right line and the polygon between them along a line, for widths at its vertices."""
    normals = _left_normals(points, 4)
    left = points + normals * left_m[:, None]
    right = points - normals * right_m[:, None]
    band = shapely.make_valid(shapely.polygons(np.vstack([left, right[::-1]])))
    parts = shapely.get_parts(band)
    return shapely.linestrings(left), shapely.linestrings(right), parts[shapely.area(parts).argmax()]


def _island(axis: NDArray[np.float64], normals: NDArray[np.float64], item: Any, rng: np.random.Generator) -> Any:
    _, _, length, width, offset, near = item
    centre = int(np.hypot(axis[:, 0] - near[0], axis[:, 1] - near[1]).argmin())
    half = max(2, int(length / 2 / 50))
    index = np.arange(centre - half, centre + half + 1)
    t = np.linspace(-1.0, 1.0, len(index))
    spread = width / 2 * (1.0 - np.abs(t) ** 2.6) ** 0.6
    spread *= 1.0 + 0.10 * np.sin(5.0 * t + rng.uniform(0, 6))
    middle = axis[index] + normals[index] * (offset + 0.10 * width * np.sin(2.2 * t + rng.uniform(0, 6)))[:, None]
    outline = np.vstack([middle + normals[index] * spread[:, None], (middle - normals[index] * spread[:, None])[::-1]])
    return shapely.buffer(shapely.buffer(shapely.make_valid(shapely.polygons(outline)), -20), 20, quad_segs=4)


def draw_river(rng: np.random.Generator) -> River:
    """Draw the Yangtze with its islands and tributaries."""
    table = _resampled(rounded(np.array(_AXIS, dtype=np.float64), 3), 50.0)
    axis, widths = table[:, :2], table[:, 2:4]
    line = shapely.linestrings(axis)
    station = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(axis, axis=0).T))])
    for k, wavelength in ((0, 900.0), (1, 1100.0)):
        widths[:, k] *= 1.0 + 0.05 * smooth(station, np.full_like(station, 7.0 + k), wavelength_m=wavelength, rng=rng)
        widths[:, k] += 9.0 * smooth(station, np.full_like(station, 3.0 + k), wavelength_m=260.0, rng=rng)
    left, right, band = offset_band(axis, widths[:, 0], widths[:, 1])
    normals = _left_normals(axis, 4)
    islands = tuple((i[0], i[1], _island(axis, normals, i, rng)) for i in _ISLANDS)
    surface = shapely.difference(band, shapely.union_all([i[2] for i in islands]))
    parts = shapely.get_parts(surface)
    surface = parts[shapely.area(parts).argmax()]
    tributaries = []
    for name_zh, name_en, points, half, major in _TRIBUTARIES:
        centre: Floats = _resampled(rounded(np.array(points, dtype=np.float64), 4), 60.0)
        wave = 380.0 if major else 130.0
        taper = np.minimum(1.0, np.linspace(0, 12, len(centre))) * np.minimum(1.0, np.linspace(12, 0, len(centre)))
        along: Floats = 60.0 * np.arange(len(centre), dtype=np.float64)
        centre = (
            centre
            + _left_normals(centre, 2)
            * (taper * wave * smooth(along, along * 0 + half, wavelength_m=6 * wave, rng=rng))[:, None]
        )
        middle = shapely.linestrings(centre)
        growth = half * np.linspace(0.35, 1.0, len(centre))
        _, _, trib_band = offset_band(
            _resampled(rounded(centre, 1), 30.0),
            *(
                2
                * (
                    np.interp(
                        np.linspace(0, 1, len(_resampled(rounded(centre, 1), 30.0))),
                        np.linspace(0, 1, len(centre)),
                        growth,
                    ),
                )
            ),
        )
        tributaries.append(Tributary(name_zh, name_en, major, half, middle, shapely.difference(trib_band, band)))
    return River(line, station, left, right, surface, islands, tuple(tributaries), widths)
