"""Zones and grids, the ring and the check of cells: ``python -m benchmarks.partition [--gerrychain-steps N]``.

10,000 blocks of uneven shape and weight (20–399) into 10 zones and 100 grids, beside METIS with contiguity (same balance,
same run) and GerryChain's ReCom. Then the proof of a ring on about 50,000 road edges and the check of 10,000 cells. Asserts
contiguity, nesting, balance, that the cut is no longer than METIS's, and planted faults.
"""

import argparse
import time
import warnings

import geopandas as gpd
import numpy as np
import shapely
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import Voronoi
from shapely.affinity import translate

from gis.gridcodes import assign_codes
from gis.layoutcheck import check_pieces, check_tiling
from gis.layoutcheck_values import check_codes, check_sequence
from gis.partition import partition_nested
from gis.partition_blocks import blocks_from_lines, borders
from gis.partition_graph import unit_graph
from gis.ring import prove_ring
from gis.roadgraph import road_graph


def blocks(count, seed=0):
    """Cells around jittered places, with the lengths of their common borders."""
    rng = np.random.default_rng(seed)
    side = round(np.sqrt(count))
    xy = np.stack(np.meshgrid(np.arange(side), np.arange(side)), -1).reshape(-1, 2) * 100.0 + rng.uniform(
        -35, 35, (side * side, 2)
    )
    frame = [(-side * 100, -side * 100), (side * 200, -side * 100), (-side * 100, side * 200), (side * 200, side * 200)]
    cells = Voronoi(np.concatenate([xy, frame]))
    pairs, lengths = [], []
    for (a, b), ridge in zip(cells.ridge_points, cells.ridge_vertices, strict=True):
        if a < len(xy) and b < len(xy) and -1 not in ridge:
            pairs.append((a, b))
            lengths.append(min(300.0, float(np.hypot(*(cells.vertices[ridge[0]] - cells.vertices[ridge[1]])))))
    weight = rng.integers(20, 400, len(xy)).astype(float)
    return unit_graph(weight, pairs, border_m=lengths, xy=xy)


def judged(graph, part, k):
    """Imbalance, cut and parts in one piece, counted apart from the engine."""
    load = np.bincount(part, weights=graph.weight, minlength=k)
    a, b = graph.pairs.T
    inside = part[a] == part[b]
    links = coo_array((np.ones(inside.sum()), (a[inside], b[inside])), shape=(graph.n, graph.n))
    piece = connected_components(links, directed=False)[1]
    whole = sum(len(np.unique(piece[part == p])) == 1 for p in range(k))
    return float(np.abs(load / load.mean() - 1).max()), float(graph.border_m[~inside].sum()), whole


def row(name, what, k, found, seconds):
    imbalance, cut, whole = found
    print(f"| {name} | {what} | {imbalance:.2%} | {whole}/{k} | {cut:,.0f} m | {seconds:.2f} s |", flush=True)


def metis(graph, k, tolerance):
    import pymetis

    ptr, idx, cost = graph.rows()
    options = pymetis.Options(contig=True, ufactor=int(tolerance * 1000), seed=0)
    began = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        _, part = pymetis.part_graph(
            k, xadj=ptr, adjncy=idx, eweights=np.maximum(1, np.rint(cost * 10)).astype(int), vweights=graph.weight.astype(int),
            options=options, recursive=False,
        )  # fmt: skip
    return np.array(part), time.perf_counter() - began


def gerrychain(graph, k, tolerance, steps):
    import networkx as nx
    from gerrychain import Graph, MarkovChain, Partition, accept, constraints, updaters
    from gerrychain.partition import recursive_tree_part
    from gerrychain.proposals import recom

    network = nx.Graph()
    network.add_nodes_from((u, {"weight": float(w)}) for u, w in enumerate(graph.weight))
    network.add_weighted_edges_from(
        (int(a), int(b), float(m)) for (a, b), m in zip(graph.pairs, graph.border_m, strict=True)
    )
    began = time.perf_counter()
    mean = float(graph.weight.sum()) / k
    start = recursive_tree_part(Graph.from_networkx(network), range(k), mean, "weight", tolerance, rng=0)
    state = Partition(
        Graph.from_networkx(network), start, updaters={"weight": updaters.Tally("weight", alias="weight")}
    )
    chain = MarkovChain(
        lambda now, rng=None: recom(now, "weight", mean, tolerance, rng=0 if rng is None else rng),
        [constraints.contiguous], accept.always_accept, state, total_steps=steps, rng=0,
    )  # fmt: skip
    best = None
    for now in chain:
        part = np.array([now.assignment[u] for u in range(graph.n)])
        found = judged(graph, part, k)
        if best is None or found[1] < best[1]:
            best = found
    return best, time.perf_counter() - began


def zones(steps):
    graph = blocks(10_000)
    warm = blocks(400)
    now = partition_nested(warm, (3, 12), effort=0.1)  # compile
    partition_nested(blocks(400, seed=1), (3, 12), current=[level.part for level in now.levels], effort=0.1)
    print("| solver | blocks → parts | imbalance | in one piece | cut | time |\n|---|---|---|---|---|---|")
    began, cpu = time.perf_counter(), time.process_time()
    nested = partition_nested(graph, (10, 100), tolerances=(0.03, 0.10))
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    zone, grid = nested.levels
    assert (nested.parent[1][grid.part] == zone.part).all()
    for level, tolerance in ((zone, 0.03), (grid, 0.10)):
        found = judged(graph, level.part, level.k)
        assert found[2] == level.k
        assert found[0] <= tolerance
        assert abs(found[1] - level.cut_m) < 1e-3
        row("baige, nested", f"10,000 → {level.k}", level.k, found, seconds)
        part, peer_seconds = metis(graph, level.k, tolerance)
        peer = judged(graph, part, level.k)
        row("METIS, contiguous, flat", f"10,000 → {level.k}", level.k, peer, peer_seconds)
        assert found[1] <= peer[1], "cut longer than METIS's"
    print(f"| (both levels together: processor time {cpu:.2f} s) | | | | | |")
    changed = graph.weight.copy()
    changed[zone.part == 3] *= 1.15
    began = time.perf_counter()
    again = partition_nested(
        unit_graph(changed, graph.pairs, border_m=graph.border_m, xy=graph.xy),
        (10, 100),
        current=[zone.part, grid.part],
    )
    seconds = time.perf_counter() - began
    for level in again.levels:
        found = (level.imbalance, level.cut_m, int((level.pieces == 1).sum()))
        row(
            "baige, redraw after one zone grew by 15 %",
            f"{len(level.moved)} of 10,000 blocks moved",
            level.k,
            found,
            seconds,
        )
    if steps:
        try:
            found, seconds = gerrychain(graph, 10, 0.03, steps)
            row(f"GerryChain, best of {steps} ReCom steps", "10,000 → 10", 10, found, seconds)
        except ImportError:
            print("| GerryChain | not installed | | | | |")


def streets(side, step):
    at = np.arange(0, side * 100 + 1, step)
    return [
        shapely.linestrings(
            np.stack([at, i * 100 + 8 * np.sin(at / 300 + i)] if flat else [i * 100 + 8 * np.sin(at / 300 + i), at], 1)
        )
        for flat in (True, False)
        for i in range(1, side)
    ]


def ring():
    lines = streets(158, 25.0)
    roads = gpd.GeoSeries(shapely.get_parts(shapely.node(shapely.multilinestrings(lines))), crs=4546)
    began = time.perf_counter()
    graph = road_graph(roads)
    built = time.perf_counter() - began
    line = shapely.Point(7900, 7900).buffer(6000, quad_segs=200)
    crossings = shapely.get_coordinates(
        shapely.get_parts(shapely.intersection(shapely.union_all(lines), line.exterior))
    )
    open_ones = 7
    began, cpu = time.perf_counter(), time.process_time()
    proof = prove_ring(graph, line, crossings[open_ones:], reach_m=0.6)
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    left = crossings[:open_ones]
    away = np.hypot(*(left[:, None] - crossings[None, open_ones:]).transpose(2, 0, 1)).min(axis=1)
    expected = int((away > 0.6).sum())
    assert proof.fewest == expected
    assert not proof.closed
    assert len(proof.leaks) == expected
    assert prove_ring(graph, line, crossings, reach_m=0.6).closed
    print(
        f"ring: {len(graph.ends):,} edges (graph {built:.2f} s), {len(proof.crossings)} crossings, {expected} unwatched found"
    )
    print(f"ring: proof {seconds:.2f} s, processor {cpu:.2f} s")


def check():
    area = shapely.box(0, 0, 10_000, 10_000)
    began = time.perf_counter()
    made = blocks_from_lines(gpd.GeoSeries([area], crs=4546), [gpd.GeoSeries(streets(100, 50.0), crs=4546)])
    cells = made.blocks.geometry.to_numpy()
    cut = time.perf_counter() - began
    began = time.perf_counter()
    found = borders(cells)
    bordered = time.perf_counter() - began
    print(f"blocks: {len(cells):,} from streets {cut:.2f} s, {len(found.pairs):,} borders {bordered:.2f} s")
    middle = shapely.get_coordinates(shapely.centroid(cells))
    parent = ((middle[:, 0] // 2000) + 5 * (middle[:, 1] // 1000)).astype(int)
    homes = np.array([shapely.union_all(cells[parent == p]) for p in range(50)], object)
    prefix = [f"420502{p + 1:06d}" for p in parent]
    codes = list(assign_codes(prefix, middle).codes)
    spoilt = cells.copy()
    spoilt[500] = translate(cells[500], 2.0, 0.0)
    swapped = codes.copy()
    swapped[900], swapped[903] = swapped[903], swapped[900]
    for name, shapes, numbers in (("clean", cells, codes), ("with planted faults", spoilt, swapped)):
        began, cpu = time.perf_counter(), time.process_time()
        faults = [
            *check_tiling(shapes, homes, parent, tolerance_m=0.005).faults, *check_codes(numbers, prefix), *check_sequence(numbers, middle),
            *check_pieces(shapes),
        ]  # fmt: skip
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
        if name == "clean":
            assert not faults, faults[0]
        else:
            kinds = {fault.kind for fault in faults}
            assert {"gap", "overlap"} <= kinds
            assert all(500 in f.units for f in faults if f.kind in ("gap", "overlap"))
            assert (prefix[900] != prefix[903] and "code_prefix" in kinds) or "sequence" in kinds
        print(
            f"check of 10,000 cells, {name}: {len(faults)} faults, {seconds:.2f} s, processor {cpu:.2f} s", flush=True
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gerrychain-steps", type=int, default=20, help="0: without GerryChain")
    given, _ = parser.parse_known_args()
    zones(given.gerrychain_steps)
    ring()
    check()


if __name__ == "__main__":
    main()
