"""The cells of the city: what lies between streets, banks and county borders, without gap or overlap."""

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from data.city.density import density
from data.city.outlines import Outlines
from data.city.river import River
from data.city.streets import Bank, Cuts, Leaves, noded_edges
from data.city.terrain import Dem

__all__ = ["Adjacency", "Cells", "draw_cells", "island_streets", "merged", "neighbours"]

#: The county of the right bank (Dianjun); its border runs in the river.
RIGHT_COUNTY = "420504"
#: Rounded depth of the two banks' strips, to compare v with metres.
DEPTH_M = {"L": 7000.0, "R": -3200.0}

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Adjacency:
    """Pairs of cells that share an edge, with the length they share (metres); each pair once, ``a < b``."""

    a: Ints
    b: Ints
    shared_m: Floats


@dataclass(frozen=True)
class Cells:
    """Polygons of EPSG:4546 that partition the inside of the ring.

    Attributes
    ----------
    kind : array of str
        ``block``, ``front`` (riverfront), ``green`` (steep ground), ``island``, ``river`` or ``brook``.
    quarter : array of int
        Group of blocks between larger streets; water belongs to the quarter on its bank.
    along_m, away_m : array of float
        Where the block lies in the street network: downstream and away from the river. Straight lines in these are streets.
    """

    polygons: NDArray[np.object_]
    kind: NDArray[np.object_]
    quarter: Ints
    county: NDArray[np.object_]
    bank: NDArray[np.object_]
    x: Floats
    y: Floats
    area_m2: Floats
    density: Floats
    slope_deg: Floats
    along_m: Floats
    away_m: Floats
    adjacency: Adjacency
    ring: Any

    @property
    def is_land(self) -> NDArray[np.bool_]:
        """Which cells are not water."""
        return ~np.isin(self.kind, ("river", "brook"))


def neighbours(polygons: NDArray[np.object_]) -> Adjacency:
    """Neighbourhood of polygons that share vertices exactly, found by their common edges."""
    coordinates, owner = shapely.get_coordinates(shapely.boundary(polygons), return_index=True)
    # Several rings of one polygon follow one another: an edge between two rings is no edge of a neighbour, so it does no harm.
    same = owner[1:] == owner[:-1]
    start, end, who = coordinates[:-1][same], coordinates[1:][same], owner[:-1][same]
    swap = (start[:, 0] > end[:, 0]) | ((start[:, 0] == end[:, 0]) & (start[:, 1] > end[:, 1]))
    key = np.where(swap[:, None], np.hstack([end, start]), np.hstack([start, end]))
    order = np.lexsort(key.T)
    key, who = key[order], who[order]
    twin = np.all(key[1:] == key[:-1], axis=1) & (who[1:] != who[:-1])
    a, b = np.minimum(who[:-1], who[1:])[twin], np.maximum(who[:-1], who[1:])[twin]
    length = np.hypot(key[:-1, 0] - key[:-1, 2], key[:-1, 1] - key[:-1, 3])[twin]
    pair, inverse = np.unique(np.column_stack([a, b]), axis=0, return_inverse=True)
    return Adjacency(pair[:, 0], pair[:, 1], np.bincount(inverse.ravel(), weights=length, minlength=len(pair)))


def merged(polygons: NDArray[np.object_], group: Ints) -> NDArray[np.object_]:
    """One geometry a group (0…n−1) of polygons that share edges exactly."""
    order = np.argsort(group, kind="stable")
    starts = np.searchsorted(group[order], np.arange(int(group.max()) + 2))
    return np.array(
        [shapely.coverage_union_all(polygons[order[i:j]]) for i, j in itertools.pairwise(starts)],
        dtype=object,
    )


def _absorb(polygons: NDArray[np.object_], label: NDArray[np.object_], small_m2: float) -> NDArray[np.object_]:
    """Join polygons below a size to the neighbour of the same label with which they share most."""
    for _ in range(3):
        area = shapely.area(polygons)
        links = neighbours(polygons)
        group = np.arange(len(polygons))
        best: dict[int, tuple[float, int]] = {}
        for a, b, shared in zip(links.a.tolist(), links.b.tolist(), links.shared_m.tolist(), strict=True):
            if label[a] != label[b]:
                continue
            for small, other in ((a, b), (b, a)):
                if area[small] < small_m2 and area[small] <= area[other] and shared > best.get(small, (0.0, -1))[0]:
                    best[small] = (shared, other)
        if not best:
            break
        for small in sorted(best, key=lambda k: area[k]):
            target = best[small][1]
            while group[target] != target:
                target = int(group[target])
            if target != small:
                group[small] = target
        for k in range(len(group)):
            root = k
            while group[root] != root:
                root = int(group[root])
            group[k] = root
        kept, compact = np.unique(group, return_inverse=True)
        label = label[kept]
        many = np.bincount(compact) > 1
        out = polygons[kept].copy()
        for g in np.flatnonzero(many):
            out[g] = shapely.coverage_union_all(polygons[compact == g])
        whole = shapely.get_type_id(out) == 3
        if not whole.all():  # cannot happen with shared edges; leave such a group as it was
            break
        polygons = out
    return polygons


def _leaf_shapes(bank: Bank, leaves: Leaves) -> NDArray[np.object_]:
    t = np.linspace(0.0, 1.0, 7)[:-1]
    uu = np.concatenate([t, np.ones(6), 1 - t, np.zeros(6)])
    vv = np.concatenate([np.zeros(6), t, np.ones(6), 1 - t])
    u = leaves.u0[:, None] + (leaves.u1 - leaves.u0)[:, None] * uu
    v = leaves.v0[:, None] + (leaves.v1 - leaves.v0)[:, None] * vv
    return np.asarray(shapely.polygons(bank.place(u.ravel(), v.ravel()).reshape(len(leaves.u0), 24, 2)), dtype=object)


def _water_lines(banks: tuple[Bank, Bank], step_m: float) -> NDArray[np.object_]:
    """Lines across the river, bank to bank, that divide its surface."""
    left, right = banks
    count = int((left.end_m - left.start_m) // step_m)
    u = np.linspace(0.0, 1.0, count + 1)
    zero = np.zeros_like(u)
    ends = np.stack([np.round(left.place(u, zero), 3), np.round(right.place(u, zero), 3)], axis=1)
    return np.asarray(shapely.linestrings(ends), dtype=object)


def _rough_ring(banks: tuple[Bank, Bank]) -> Any:
    t = np.linspace(0.0, 1.0, 400)
    one, zero = np.ones_like(t), np.zeros_like(t)
    left, right = banks
    legs = [left.place(t, one), left.place(one, t[::-1]), right.place(one, t), right.place(t[::-1], one), right.place(zero, t[::-1]),
            left.place(zero, t)]  # fmt: skip
    return shapely.make_valid(shapely.polygons(np.vstack(legs)))


def draw_cells(
    river: River, outlines: Outlines, dem: Dem, banks: tuple[Bank, Bank], parts: tuple[tuple[Leaves, Cuts], tuple[Leaves, Cuts]],
    lanes: NDArray[np.object_],
) -> Cells:  # fmt: skip
    """Node all lines of the city and take the faces between them; ``lanes`` are further streets (`island_streets`)."""
    rough = _rough_ring(banks)
    around = shapely.buffer(rough, 300.0)
    lines: list[Any] = []
    for bank, (_, cuts) in zip(banks, parts, strict=True):
        lines.extend(noded_edges(bank, cuts))
    lines.extend(_water_lines(banks, 1300.0))
    borders = shapely.intersection(shapely.union_all(shapely.boundary(outlines.polygons)), around)
    surfaces = [t.polygon for t in river.tributaries]
    edges = [
        borders,
        river.left,
        river.right,
        *(shapely.boundary(i[2]) for i in river.islands),
        *(shapely.boundary(s) for s in surfaces),
    ]
    lines.extend(shapely.get_parts(shapely.intersection(np.array(edges, dtype=object), around)).tolist())
    lines.extend(lanes.tolist())
    network = shapely.union_all(np.array(lines, dtype=object), grid_size=0.01)
    faces = shapely.get_parts(shapely.polygonize(shapely.get_parts(network)))
    inside = shapely.get_coordinates(shapely.point_on_surface(faces))
    # A face of the water strip beyond the dam or the last bridge is outside: the rough ring tells.
    faces = faces[shapely.contains_xy(shapely.buffer(rough, 1.0), inside)]
    inside = shapely.get_coordinates(shapely.point_on_surface(faces))
    county = outlines.county_of(inside[:, 0], inside[:, 1])
    _, index = np.unique(county.astype(str), return_inverse=True)
    sliver = (
        np.bincount(index, weights=shapely.area(faces))[index] < 1e6
    )  # a county that the ring only brushes stays outside
    faces, inside, county = faces[~sliver], inside[~sliver], county[~sliver]
    kind = np.full(len(faces), "block", dtype=object)
    shapes = [_leaf_shapes(bank, leaves) for bank, (leaves, _) in zip(banks, parts, strict=True)]
    tree = shapely.STRtree(np.concatenate(shapes))
    points: Any = shapely.points(inside)
    leaf = np.full(len(points), -1)
    hit = tree.query(points, predicate="within")
    leaf[hit[0]] = hit[1]
    leaf[leaf < 0] = tree.nearest(points[leaf < 0])
    front = np.concatenate([p[0].is_front for p in parts])[leaf]
    steep = np.concatenate([p[0].is_steep for p in parts])[leaf]
    shift = int(parts[0][0].quarter.max()) + 1
    quarter = np.concatenate([parts[0][0].quarter, parts[1][0].quarter + shift])[leaf]
    along = np.concatenate(
        [0.5 * (p[0].u0 + p[0].u1) * (b.end_m - b.start_m) for b, p in zip(banks, parts, strict=True)]
    )[leaf]
    away = np.concatenate([0.5 * (p[0].v0 + p[0].v1) * DEPTH_M[b.side] for b, p in zip(banks, parts, strict=True)])[
        leaf
    ]
    bank_side = np.where(county == RIGHT_COUNTY, "R", "L").astype(object)
    kind[front] = "front"
    kind[steep] = "green"
    islands = np.array([i[2] for i in river.islands], dtype=object)
    quarter_next = int(quarter.max()) + 1
    for n, island in enumerate(islands):
        on = shapely.contains_xy(island, inside)
        kind[on], quarter[on] = "island", quarter_next + n
    shapely.prepare(river.polygon)
    band = shapely.contains_xy(river.polygon, inside)
    kind[band] = "river"
    for surface in surfaces:
        kind[shapely.contains_xy(surface, inside)] = "brook"
    label = np.array(
        [f"{c}|{'w' if k in ('river', 'brook') else k}" for c, k in zip(county, kind, strict=True)], dtype=object
    )
    before = shapely.STRtree(faces)
    polygons = _absorb(faces, label, 350.0)
    inside = shapely.get_coordinates(shapely.point_on_surface(polygons))
    which = before.query(shapely.points(inside), predicate="within")
    source = np.zeros(len(polygons), dtype=np.int64)
    source[which[0]] = which[1]
    kind, quarter, county, bank_side = kind[source], quarter[source], county[source], bank_side[source]
    links = neighbours(polygons)
    quarter = _water_quarters(kind, quarter, county, links)
    x, y = inside[:, 0], inside[:, 1]
    ring = shapely.coverage_union_all(polygons)
    along, away = along[source], away[source]
    return Cells(polygons, kind, quarter, county, bank_side, x, y, shapely.area(polygons), density(x, y), dem.slope_deg(x, y), along, away,
                 links, ring)  # fmt: skip


def _water_quarters(kind: NDArray[np.object_], quarter: Ints, county: NDArray[np.object_], links: Adjacency) -> Ints:
    """Give each piece of water the quarter of the land (or of water that has one) beside it, in the same county."""
    quarter = quarter.copy()
    open_ = np.isin(kind, ("river", "brook"))
    for _ in range(6):
        best: dict[int, tuple[float, int]] = {}
        for a, b, shared in zip(links.a.tolist(), links.b.tolist(), links.shared_m.tolist(), strict=True):
            for wet, dry in ((a, b), (b, a)):
                if (
                    open_[wet]
                    and not open_[dry]
                    and county[wet] == county[dry]
                    and shared > best.get(wet, (0.0, -1))[0]
                ):
                    best[wet] = (shared, dry)
        if not best:
            break
        for wet, (_, dry) in best.items():
            quarter[wet] = quarter[dry]
        open_[list(best)] = False
    return quarter


def island_streets(river: River, rng: np.random.Generator) -> NDArray[np.object_]:
    """A spine and cross streets on the large island by the city."""
    island = river.islands[0][2]
    box = shapely.minimum_rotated_rectangle(island)
    corners = shapely.get_coordinates(box)[:4]
    long_edge = corners[1] - corners[0]
    short_edge = corners[3] - corners[0]
    origin = corners[0]
    if np.hypot(*long_edge) < np.hypot(*short_edge):
        long_edge, short_edge = short_edge, long_edge
    out = []
    for at in (0.36, 0.66):
        out.append(
            shapely.LineString([origin + short_edge * at - long_edge * 0.1, origin + short_edge * at + long_edge * 1.1])
        )
    for at in np.linspace(0.06, 0.94, 14) + rng.uniform(-0.015, 0.015, 14):
        out.append(
            shapely.LineString([origin + long_edge * at - short_edge * 0.1, origin + long_edge * at + short_edge * 1.1])
        )
    return np.asarray(shapely.get_parts(shapely.intersection(np.array(out, dtype=object), island)), dtype=object)
