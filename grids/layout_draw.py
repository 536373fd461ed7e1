"""Zones and grids on the ground of a ring: anew, or changed as little as needed, what is pinned left alone."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import csgraph
from scipy.spatial import cKDTree

from gis.errors import InputError
from gis.partition import Partition, PartitionNote, partition
from gis.partition_graph import UnitGraph, unit_graph
from gis.partition_shape import best_balance, seats
from grids.layout_ground import Ground, loosened, spread_over, water_way

__all__ = ["Drawn", "Present", "draw_zones_and_grids"]

type Ints = NDArray[np.int64]
type Floats = NDArray[np.float64]

#: A piece of land with less than this share of the weight is an island: it is no zone of its own.
_ISLAND_SHARE = 0.05
#: How long to search (1: the engine's own measure); while bridges are compared; on grids.
_EFFORT, _TRY, _EFFORT_GRIDS = 4.0, 0.5, 2.0
#: Bridges that are tried for a zone on both sides of the river.
_BRIDGES = 8


@dataclass(frozen=True)
class Present:
    """The layout before, on the blocks: zone and grid of each (-1: none), zone of each grid, which may not move, whether the rest is kept."""

    zone: Ints
    grid: Ints
    home: Ints
    zones: int
    closed_zones: frozenset[int]
    closed_grids: frozenset[int]
    keep: bool


@dataclass(frozen=True)
class Drawn:
    """Zone and grid of every block, zone of every grid, weights; ``bound``: no zones that keep to the river are more even.

    ``old_zone`` and ``old_grid`` say which unit of the layout before each continues (-1: none).
    """

    zone: Ints
    grid: Ints
    home: Ints
    zone_weight: Floats
    grid_weight: Floats
    zone_target: float
    grid_target: float
    bound: float
    side_share: tuple[float, ...]
    across: tuple[int, ...]
    notes: tuple[PartitionNote, ...]


def draw_zones_and_grids(
    ground: Ground,
    zones: int,
    grids: int,
    *,
    tolerances: tuple[float, float],
    across: bool = False,
    present: Present | None = None,
) -> Drawn:
    """Divide the land into zones and these into grids.

    Parameters
    ----------
    across : bool
        Where the river does not leave the zones balance, one may lie on both sides, joined by a bridge.

    Raises
    ------
    InputError
        Fewer than one zone, fewer grids than zones, more grids than blocks.
    """
    if zones < 1 or grids < zones:
        raise InputError(
            f"At least 1 zone, and a grid for each, is needed; asked for are {zones} zones and {grids} grids.",
            zh=f"至少须有 1 个片，每片至少 1 个格；要求 {zones} 片、{grids} 格。",
        )
    bridged, bare = _islands(ground)
    fine = _tied(ground.graph, bridged).part_of(ground.land)
    graph = _tied(_tied(ground.graph, bridged), bare).part_of(ground.land)
    if grids > graph.n:
        raise InputError(
            f"{grids} grids asked for, but there are only {graph.n} blocks.",
            zh=f"要求 {grids} 个格，但只有 {graph.n} 个街区。",
        )
    notes: list[PartitionNote] = []
    if not graph.weight.sum() > 0:
        notes.append(
            PartitionNote(
                "weights_zero", "All weights are 0; blocks were counted instead.", "权重全为 0，改按街区个数平衡。"
            )
        )
        graph, fine = replace(graph, weight=np.ones(graph.n)), replace(fine, weight=np.ones(graph.n))
    place = np.full(ground.graph.n, -1, np.int64)
    place[ground.land] = np.arange(graph.n)
    now = None if present is None else replace(present, zone=present.zone[ground.land], grid=present.grid[ground.land])
    zone, bound, found = _zones(ground, graph, place, zones, tolerances[0], across, now)
    notes += found
    grid, home, found = _grids(fine, zone, zones, grids, tolerances[1], now)
    notes += found
    ties = [(int(a), int(b)) for a, b in [*bare, *ground.links]]  # an island has no other way
    links = [(a, b) for a, b in ties if zone[place[a]] == zone[place[b]]]
    # the water under a bridge first, for zones on both sides; then grids take what their zone has
    whole_zone = spread_over(ground, zone, links)
    grid = np.where(whole_zone[ground.land] == zone, grid, -1)  # what went to another zone finds a grid there
    whole_grid = _grids_over(ground, whole_zone, grid, ties)
    side = _pieces(graph)
    sides = np.bincount(side, weights=graph.weight)
    target = float(graph.weight.sum()) / zones
    split = tuple(int(z) for z in range(zones) if len(np.unique(side[zone == z])) > 1)
    return Drawn(
        whole_zone, whole_grid, home, np.bincount(whole_zone[ground.land], weights=graph.weight, minlength=zones),
        np.bincount(whole_grid[ground.land], weights=graph.weight, minlength=grids), target, float(graph.weight.sum()) / grids, bound,
        tuple((np.sort(sides)[::-1] / target).round(3).tolist()), split, tuple(notes),
    )  # fmt: skip


def _tied(graph: UnitGraph, ties: Ints) -> UnitGraph:
    """The graph with further neighbours that share no border."""
    if not len(ties):
        return graph
    return unit_graph(
        graph.weight, np.concatenate([graph.pairs, ties]), border_m=np.concatenate([graph.border_m, np.zeros(len(ties))]),
        cost=np.concatenate([graph.cost, np.zeros(len(ties))]), walls=np.concatenate([graph.wall, np.zeros(len(ties), np.bool_)]), xy=graph.xy,
    )  # fmt: skip


def _islands(ground: Ground) -> tuple[Ints, Ints]:
    """Ties of pieces of land too light for a zone: by their bridges, and of those that have none to the nearest block of another piece."""
    graph, side = ground.graph, ground.side
    load = np.bincount(side[ground.land], weights=graph.weight[ground.land])
    small = np.flatnonzero((load < _ISLAND_SHARE * load.sum()) & (np.arange(len(load)) != int(np.argmax(load))))
    bridged, bare = [], []
    for piece in small:
        mine = ground.links[(side[ground.links] == piece).any(axis=1)] if len(ground.links) else ground.links
        if len(mine):  # to one bank only: by way of an island no zone crosses the river
            others = np.where(side[mine[:, 0]] == piece, side[mine[:, 1]], side[mine[:, 0]])
            bank = int(np.bincount(others).argmax())
            bridged += mine[others == bank].tolist()
            continue
        own, other = (
            np.flatnonzero(side == piece),
            np.flatnonzero((side >= 0) & (side != piece) & ~np.isin(side, small)),
        )
        if graph.xy is None or not len(other):
            continue
        away, at = cKDTree(graph.xy[other]).query(graph.xy[own])
        bare.append((int(own[np.argmin(away)]), int(other[at[np.argmin(away)]])))
    return np.array(bridged, np.int64).reshape(-1, 2), np.array(bare, np.int64).reshape(-1, 2)


def _pieces(graph: UnitGraph) -> Ints:
    kept = graph.pairs[~graph.wall]
    matrix = sparse.coo_array((np.ones(len(kept)), (kept[:, 0], kept[:, 1])), shape=(graph.n, graph.n))
    label: Ints = csgraph.connected_components(matrix, directed=False)[1].astype(np.int64)
    return label


def _zones(
    ground: Ground, graph: UnitGraph, place: Ints, count: int, tolerance: float, across: bool, now: Present | None
) -> tuple[Ints, float, list[PartitionNote]]:
    side = _pieces(graph)
    load = np.bincount(side, weights=graph.weight)
    target = float(graph.weight.sum()) / count
    alone = load > target / 2  # a lighter side goes with another
    joined = np.where(np.arange(len(load)) == int(np.argmax(load)), load + load[~alone].sum(), load)[
        alone | (load == load.max())
    ]
    bound, share = best_balance(joined, count, target)
    bound = bound if np.isfinite(bound) else 0.0
    notes: list[PartitionNote] = []
    if bound > tolerance:
        parts = "; ".join(f"{w / target:.2f} → {n}" for w, n in zip(joined, share, strict=True))
        how = (
            "A zone may lie on both sides where a bridge joins them."
            if across
            else "With zones across bridges it can be had."
        )
        how_zh = "允许片区经桥梁跨河。" if across else "允许片区经桥梁跨河即可达到。"
        notes.append(
            PartitionNote(
                "walls_forbid",
                f"The river leaves no balance of {tolerance:.0%}: its sides weigh so many zones → have so many: {parts}; "
                f"at best one differs by {bound:.1%}. {how}",
                f"受河道分隔，无法达到 {tolerance:.0%} 的均衡：两岸折合片数 → 分得片数：{parts}；最优偏差 {bound:.1%}。{how_zh}",
            )
        )
    if now is None:
        if across and bound > tolerance:
            split = _split_zone(ground, graph, place, side, load, count, target, tolerance)
            if split is not None:
                return split, bound, notes
        found = partition(graph, count, tolerance=tolerance, effort=_EFFORT)
        return found.part, bound, notes + _told(found)
    zone, more = _zones_kept(ground, graph, place, count, target, tolerance, now)
    return zone, bound, notes + more


def _told(found: Partition) -> list[PartitionNote]:
    return list(found.notes)


def _split_zone(
    ground: Ground, graph: UnitGraph, place: Ints, side: Ints, load: Floats, count: int, target: float, tolerance: float
) -> Ints | None:
    """Zones of which one lies on the two heaviest sides, at the bridge that gives the shortest boundaries; None where there is no way."""
    first, second = (int(s) for s in np.argsort(-load, kind="stable")[:2])
    ends = place[ground.links]
    ends = ends[(side[ends] == first).any(axis=1) & (side[ends] == second).any(axis=1)] if len(ends) else ends
    if not len(ends) or len(load) != 2:
        return None
    whole = int(load[second] / target)
    rest = float(load[second] / target - whole)
    numbers = {first: count - 1 - whole, second: whole}
    shares = {
        first: [1.0] * numbers[first] + [float(load[first] / target) - numbers[first]],
        second: [1.0] * whole + [rest],
    }
    if min(shares[first][-1], rest) <= 0:
        return None

    def drawn(pair: Ints, effort: float) -> tuple[tuple[float, float], Ints]:
        zone = np.full(graph.n, -1, np.int64)
        offset = {first: 0, second: numbers[first]}
        cut, worst = 0.0, 0.0
        for s in (first, second):
            units = np.flatnonzero(side == s)
            head = int(pair[0] if side[pair[0]] == s else pair[1])
            last = numbers[s]
            found = partition(
                graph.part_of(units), last + 1, tolerance=tolerance, target=target, shares=shares[s],
                pinned={int(np.searchsorted(units, head)): last}, effort=effort,
            )  # fmt: skip
            zone[units] = np.where(found.part == last, count - 1, found.part + offset[s])
            cut += found.cut_m
        weight = np.bincount(zone, weights=graph.weight, minlength=count)
        worst = float(np.abs(weight / target - 1).max())
        return (round(max(worst - tolerance, 0.0), 4), cut), zone

    tried = sorted(((drawn(pair, _TRY)[0], k) for k, pair in enumerate(ends[:_BRIDGES])), key=lambda t: t[0])
    return drawn(ends[tried[0][1]], _EFFORT)[1]


def _zones_kept(
    ground: Ground, graph: UnitGraph, place: Ints, count: int, target: float, tolerance: float, now: Present
) -> tuple[Ints, list[PartitionNote]]:
    """Zones as they are but for what must move; those that may not move are left out of the search."""
    closed = sorted(now.closed_zones)
    if len(closed) > count:
        raise InputError(
            f"{len(closed)} zones are pinned, {count} asked for.", zh=f"固定的片有 {len(closed)} 个，要求 {count} 个。"
        )
    label = np.full(max(now.zones, count) + 1, -1, np.int64)
    open_old = [z for z in range(now.zones) if z not in now.closed_zones]
    weight = np.bincount(now.zone[now.zone >= 0], weights=graph.weight[now.zone >= 0], minlength=now.zones)
    kept = sorted(sorted(open_old, key=lambda z: -weight[z])[: count - len(closed)])
    for k, z in enumerate([*kept, *closed]):
        label[z] = k
    is_closed = np.isin(now.zone, closed)
    free = np.flatnonzero(~is_closed)
    zone = np.where(is_closed, label[now.zone], -1)
    if count == len(closed):
        if len(free):
            raise InputError(
                "All zones are pinned, and some blocks lie in none.", zh="所有片均已固定，但有街区不属于任何片。"
            )
        return zone, []
    # a zone that lies on both sides of the river by a bridge stays one
    ties = place[ground.links] if len(ground.links) else np.zeros((0, 2), np.int64)
    ties = ties[(now.zone[ties[:, 0]] == now.zone[ties[:, 1]]) & (now.zone[ties[:, 0]] >= 0)] if len(ties) else ties
    tied = _tied(graph, ties)
    inside = tied.part_of(free)
    number = count - len(closed)
    pinned = {
        k: int(label[now.zone[u]])
        for k, u in enumerate(free)
        if int(now.grid[u]) in now.closed_grids and 0 <= label[now.zone[u]] < number
    }
    old = label[now.zone[free]]
    old = np.where((now.zone[free] >= 0) & (old >= 0) & (old < number), old, -1)
    found = partition(
        inside, number, tolerance=tolerance, pinned=pinned, current=old if now.keep else None, effort=_EFFORT
    )
    zone[free] = found.part
    return zone, [note for note in _told(found) if note.kind != "detached"]


def _grids(
    graph: UnitGraph, zone: Ints, zones: int, count: int, tolerance: float, now: Present | None
) -> tuple[Ints, Ints, list[PartitionNote]]:
    """Grids inside the zones: label of each block, zone of each label."""
    load = np.bincount(zone, weights=graph.weight, minlength=zones)
    size = np.bincount(zone, minlength=zones)
    target = float(graph.weight.sum()) / count
    owner, closed = _owners(graph, zone, zones, count, tolerance, target, load, size, now)
    grid = np.full(graph.n, -1, np.int64)
    notes: list[PartitionNote] = []
    for z in range(zones):
        units = np.flatnonzero(zone == z)
        labels = np.flatnonzero(owner == z)
        shut = np.isin(labels, list(closed))
        if now is not None and shut.any():
            hold = np.isin(now.grid[units], labels[shut])
            grid[units[hold]] = now.grid[units[hold]]
            units, labels = units[~hold], labels[~shut]
            if not len(labels) and len(units):  # blocks around a pinned grid that have no other to join
                labels, near = np.array([count - 1]), now.grid[np.flatnonzero(zone == z)]
                grid[units] = int(np.bincount(near[near >= 0]).argmax())
                notes.append(PartitionNote("pins_apart", "A pinned grid fills its zone; the rest of the zone was added to it.",
                                           "固定的格占满所在片，片内其余街区并入该格。"))  # fmt: skip
                continue
        if not len(labels):
            continue
        old = None
        if now is not None and now.keep:
            where = np.full(count + 1, -1, np.int64)
            where[labels] = np.arange(len(labels))
            given = now.grid[units]
            old = np.where((given >= 0) & (given < count), where[np.clip(given, 0, count)], -1)
        found = partition(
            graph.part_of(units),
            len(labels),
            tolerance=tolerance,
            target=target,
            current=old,
            effort=_EFFORT_GRIDS,
            seed=z,
        )
        grid[units] = labels[found.part]
        notes += [
            replace(
                note, units=tuple(int(units[u]) for u in note.units), parts=tuple(int(labels[p]) for p in note.parts)
            )
            for note in _told(found)
        ]
    return grid, owner, notes


def _owners(
    graph: UnitGraph,
    zone: Ints,
    zones: int,
    count: int,
    tolerance: float,
    target: float,
    load: Floats,
    size: Ints,
    now: Present | None,
) -> tuple[Ints, set[int]]:
    """Zone of every grid label, and labels that may not move."""
    cut = graph.wall | (zone[graph.pairs[:, 0]] != zone[graph.pairs[:, 1]])
    piece = _pieces(replace(graph, wall=cut))
    home = zone[np.unique(piece, return_index=True)[1]]
    weights, sizes = np.bincount(piece, weights=graph.weight), np.bincount(piece)
    if now is not None:  # a pinned grid is one grid, however many blocks it has
        held = np.isin(now.grid, [g for g in now.closed_grids if g < count])
        first = np.unique(now.grid[held], return_index=True)[1]
        one = np.flatnonzero(held)[first]
        sizes = np.bincount(piece[~held], minlength=len(weights)) + np.bincount(piece[one], minlength=len(weights))
        size = np.bincount(zone[~held], minlength=zones) + np.bincount(zone[one], minlength=zones)
    apart = weights > target / 2  # a lighter piece goes with another of its zone
    bound, parts = best_balance(weights[apart], count, target, most=sizes[apart])
    share = np.bincount(home[apart], weights=parts, minlength=zones).astype(np.int64)
    if not np.isfinite(bound) or (share < 1).any() or (share > size).any():
        share = seats(load, size, count, least=np.ones(zones, np.int64))
    owner = np.full(count, -1, np.int64)
    if now is None:
        owner[:] = np.repeat(np.arange(zones), share)
        return owner, set()
    closed = {g for g in now.closed_grids if g < count}
    votes = np.zeros((count, zones))
    known = (now.grid >= 0) & (now.grid < count)
    np.add.at(votes, (now.grid[known], zone[known]), graph.weight[known] + 1e-9)
    present = np.bincount(np.argmax(votes, axis=1)[votes.max(axis=1) > 0], minlength=zones)
    if (
        now.keep
        and present.sum() == count
        and (present > 0).all()
        and (np.abs(load / np.maximum(present, 1) / target - 1) <= tolerance).all()
    ):
        share = present  # as many grids in each zone as there are
    least = np.bincount([int(np.argmax(votes[g])) for g in closed], minlength=zones).astype(np.int64)
    if (least > share).any():
        share = seats(load, size, count, least=np.maximum(least, 1))
    room = share.copy()
    order = sorted(range(count), key=lambda g: (g not in closed, -votes[g].max(), g))
    for g in order:
        if votes[g].max() <= 0 or (not now.keep and g not in closed):
            continue
        for best in np.argsort(-votes[g], kind="stable"):
            if votes[g, best] > 0 and room[best] > 0:
                owner[g] = int(best)
                room[best] -= 1
                break
    for left in np.flatnonzero(owner < 0):
        roomy = int(np.argmax(room))
        owner[left] = roomy
        room[roomy] -= 1
    return owner, closed


def _grids_over(ground: Ground, zone: Ints, grid: Ints, ties: list[tuple[int, int]]) -> Ints:
    """Grids of all blocks: water and islands join a grid of their own zone."""
    graph = ground.graph
    label = np.full(graph.n, -1, np.int64)
    label[ground.land] = grid
    for a, b in ties:
        if label[a] == label[b]:
            water_way(graph, label, a, b, among=zone == zone[a])
    _spread_inside(graph, zone, label)
    for _ in range(3):  # what is cut off on the map goes to a neighbour
        if not loosened(graph, label):
            break
        _spread_inside(graph, zone, label)
    return label


def _spread_inside(graph: UnitGraph, zone: Ints, label: Ints) -> None:
    """Blocks without a grid join, one after another, the grid of their zone they share the longest border with."""
    both = np.concatenate([graph.pairs, graph.pairs[:, ::-1]])
    both_border = np.tile(graph.border_m, 2)
    same = zone[both[:, 0]] == zone[both[:, 1]]
    both, border = both[same], both_border[same]
    while True:
        at = np.flatnonzero((label[both[:, 0]] < 0) & (label[both[:, 1]] >= 0))
        if not len(at):
            break
        best: dict[int, dict[int, float]] = {}
        for a, b, length in zip(both[at, 0].tolist(), both[at, 1].tolist(), border[at].tolist(), strict=True):
            best.setdefault(a, {})[int(label[b])] = best.setdefault(a, {}).get(int(label[b]), 0.0) + length
        for block, parts in best.items():
            label[block] = max(parts, key=lambda p: (parts[p], -p))
