"""Districting against all partitions of a small grid, and what must hold of every division."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from gis.errors import InputError
from gis.partition import partition, partition_nested
from gis.partition_graph import unit_graph


def grid(columns, rows, *, weight=None, seed=None, **options):
    cells = np.arange(columns * rows).reshape(rows, columns)
    pairs = np.concatenate(
        [
            np.stack([cells[:, :-1].ravel(), cells[:, 1:].ravel()], 1),
            np.stack([cells[:-1].ravel(), cells[1:].ravel()], 1),
        ]
    )
    if weight is None:
        weight = (
            np.ones(columns * rows) if seed is None else np.random.default_rng(seed).integers(5, 40, columns * rows)
        )
    xy = np.stack([np.tile(np.arange(columns), rows), -np.repeat(np.arange(rows), columns)], 1) * 100.0
    return unit_graph(weight, pairs, border_m=np.full(len(pairs), 100.0), xy=xy, **options)


def pieces(graph, part, label):
    """Connected pieces of a part by scipy, walls respected."""
    units = np.flatnonzero(part == label)
    place = np.full(graph.n, -1)
    place[units] = np.arange(len(units))
    pairs = place[graph.pairs[~graph.wall]]
    pairs = pairs[(pairs >= 0).all(axis=1)]
    matrix = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(len(units), len(units)))
    return connected_components(matrix, directed=False)[0]


def cut(graph, part):
    return float(sum(m for (a, b), m in zip(graph.pairs, graph.border_m, strict=True) if part[a] != part[b]))


def test_equals_the_best_of_all_partitions_of_a_small_grid():
    graph = grid(4, 3)
    best = min(
        cut(graph, part)
        for inside in itertools.combinations(range(1, 12), 5)
        if (part := np.isin(np.arange(12), [0, *inside]).astype(int)) is not None
        and pieces(graph, part, 0) == 1
        and pieces(graph, part, 1) == 1
    )
    result = partition(graph, 2, tolerance=0.0)
    assert result.weight.tolist() == [6, 6]
    assert result.contiguous and result.cut_m == pytest.approx(best)


def test_equals_the_best_three_parts_of_a_small_grid():
    graph = grid(4, 3)
    best = np.inf
    for labels in itertools.product(range(3), repeat=11):
        part = np.array((0, *labels))
        if (np.bincount(part, minlength=3) == 4).all() and all(pieces(graph, part, p) == 1 for p in range(3)):
            best = min(best, cut(graph, part))
    result = partition(graph, 3, tolerance=0.0)
    assert result.imbalance == 0 and result.contiguous and result.cut_m == pytest.approx(best)


@settings(max_examples=60, deadline=None)
@given(
    columns=st.integers(1, 9),
    rows=st.integers(1, 9),
    k=st.integers(1, 12),
    seed=st.integers(0, 999),
    walls=st.floats(0, 0.5),
    zero=st.booleans(),
)
def test_a_partition_partitions(columns, rows, k, seed, walls, zero):
    rng = np.random.default_rng(seed)
    n = columns * rows
    weight = rng.integers(0, 40, n) * (0 if zero else 1)
    graph = grid(columns, rows, weight=weight)
    graph = unit_graph(
        weight, graph.pairs, border_m=graph.border_m, walls=rng.random(len(graph.pairs)) < walls, xy=graph.xy
    )
    if k > n:
        with pytest.raises(InputError):
            partition(graph, k)
        return
    result = partition(graph, k, tolerance=0.1, effort=0.1)
    assert result.part.shape == (n,)
    assert set(result.part.tolist()) == set(range(k))
    counted = weight if weight.sum() else np.ones(n)
    assert result.weight == pytest.approx(np.bincount(result.part, weights=counted, minlength=k))
    assert result.weight.sum() == pytest.approx(counted.sum())
    assert result.cut_m == pytest.approx(cut(graph, result.part))
    assert result.pieces.tolist() == [pieces(graph, result.part, p) for p in range(k)]
    kinds = {note.kind for note in result.notes}
    assert ("detached" in kinds) == (not result.contiguous)
    assert ("unbalanced" in kinds) == (result.imbalance > 0.1 + 1e-9)
    if walls == 0:
        assert result.contiguous


@settings(max_examples=60, deadline=None)
@given(
    k=st.integers(1, 8),
    seed=st.integers(0, 9999),
    walls=st.floats(0, 0.4),
    heavy=st.integers(0, 3),
    pins=st.integers(0, 4),
)
def test_a_redraw_partitions_too(k, seed, walls, heavy, pins):
    rng = np.random.default_rng(seed)
    graph = grid(7, 6)
    weight = rng.integers(0, 40, 42).astype(float)
    weight[rng.choice(42, heavy, replace=False)] += 2000
    graph = unit_graph(
        weight, graph.pairs, border_m=graph.border_m, walls=rng.random(len(graph.pairs)) < walls, xy=graph.xy
    )
    current = rng.integers(-1, k, 42)
    pinned = {int(u): int(rng.integers(k)) for u in rng.choice(42, pins, replace=False)}
    for old in (current, None):
        result = partition(graph, k, tolerance=0.1, current=old, pinned=pinned, effort=0.1)
        assert set(result.part.tolist()) == set(range(k))
        assert all(result.part[unit] == label for unit, label in pinned.items())
        assert result.pieces.tolist() == [pieces(graph, result.part, p) for p in range(k)]
        expected = [] if old is None else np.flatnonzero((old >= 0) & (old != result.part)).tolist()
        assert result.moved.tolist() == expected


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 999))
def test_nested_levels_nest(seed):
    graph = grid(12, 10, seed=seed)
    nested = partition_nested(graph, (3, 12), tolerances=(0.05, 0.25), effort=0.2)
    zones, grids = nested.levels
    assert set(grids.part.tolist()) == set(range(12))
    assert (nested.parent[1][grids.part] == zones.part).all()
    assert zones.contiguous and grids.contiguous
    assert zones.imbalance <= 0.05


def test_ten_zones_of_a_hundred_grids_are_balanced():
    nested = partition_nested(grid(40, 40, seed=1), (10, 100), effort=0.3)
    zones, grids = nested.levels
    assert zones.imbalance <= 0.03 and grids.imbalance <= 0.10
    assert zones.contiguous and grids.contiguous
    assert np.bincount(nested.parent[1], minlength=10).tolist() == [10] * 10


def test_same_seed_same_parts():
    graph = grid(15, 15, seed=2)
    first, second = partition(graph, 7, seed=3), partition(graph, 7, seed=3)
    assert (first.part == second.part).all()


def test_parts_are_numbered_from_the_north_west():
    result = partition(grid(8, 8), 4, tolerance=0.0)
    assert result.part[0] == 0 and result.part[7] == 1 and result.part[56] == 2 and result.part[63] == 3


def test_walls_are_not_crossed():
    cells = np.arange(64).reshape(8, 8)
    river = [(int(a), int(b)) for a, b in zip(cells[3], cells[4], strict=True)]
    graph = grid(8, 8, walls=river)
    result = partition(graph, 4, tolerance=0.05)
    assert result.contiguous and result.imbalance == 0
    assert not set(result.part[:32].tolist()) & set(result.part[32:].tolist())


def test_a_wall_that_makes_balance_impossible_is_said():
    cells = np.arange(24).reshape(4, 6)
    river = [(int(a), int(b)) for a, b in zip(cells[0], cells[1], strict=True)]
    result = partition(grid(6, 4, walls=river), 2, tolerance=0.05)
    assert result.contiguous
    assert sorted(result.weight.tolist()) == [6, 18]
    assert [note.kind for note in result.notes] == ["unbalanced"]


def test_a_stray_piece_is_joined_and_named():
    graph = grid(6, 6)
    graph = unit_graph(
        np.r_[graph.weight, 1.0], graph.pairs, border_m=graph.border_m, xy=np.r_[graph.xy, [[900.0, 0.0]]]
    )
    result = partition(graph, 3, tolerance=0.1)
    note = next(note for note in result.notes if note.kind == "detached")
    assert note.units == (36,)
    assert result.part[36] == result.part[5]
    assert result.imbalance <= 0.1


def test_a_unit_heavier_than_a_part_is_named_and_the_rest_is_done():
    weight = np.ones(64)
    weight[27] = 40.0
    result = partition(grid(8, 8, weight=weight), 4, tolerance=0.1)
    note = next(note for note in result.notes if note.kind == "unit_too_heavy")
    assert note.units == (27,) and "40" in note.text and "27" in note.zh
    own = result.part[27]
    assert (result.part == own).sum() == 1 and note.parts == (own,)
    others = np.delete(result.weight, own)
    assert others == pytest.approx(21, rel=0.1)
    assert result.contiguous


def test_what_hangs_on_a_heavy_unit_alone_goes_with_it():
    graph = unit_graph([1, 1, 1, 50, 0.2], [(0, 1), (1, 2), (2, 3), (3, 4)], border_m=[1, 1, 1, 1])
    result = partition(graph, 3, tolerance=0.1)
    assert result.part[3] == result.part[4] and result.contiguous


def test_all_weights_zero_counts_units():
    result = partition(grid(6, 6, weight=np.zeros(36)), 4, tolerance=0.0)
    assert result.weight.tolist() == [9, 9, 9, 9]
    assert result.notes[0].kind == "weights_zero"


def test_pinned_units_stay_and_their_parts_hang_together():
    pins = {0: 2, 7: 2, 63: 0, 56: 1}
    result = partition(grid(8, 8), 4, tolerance=0.1, pinned=pins)
    assert all(result.part[unit] == label for unit, label in pins.items())
    assert result.contiguous and result.imbalance <= 0.1


def test_pins_that_cannot_be_joined_are_said():
    graph = unit_graph(np.ones(5), [(0, 1), (1, 2), (2, 3), (3, 4)])
    result = partition(graph, 2, tolerance=0.5, pinned={0: 0, 2: 1, 4: 0})
    assert "pins_apart" in {note.kind for note in result.notes}
    assert [result.part[unit] for unit in (0, 2, 4)] == [0, 1, 0]


def test_as_many_parts_as_units():
    assert partition(grid(3, 3), 9).weight.tolist() == [1] * 9


@pytest.mark.parametrize("k", [0, -1, 10, 10_000])
def test_impossible_numbers_of_parts_are_refused(k):
    with pytest.raises(InputError) as caught:
        partition(grid(3, 3), k)
    assert str(k) in caught.value.message and str(k) in caught.value.zh


@pytest.mark.parametrize(
    "call",
    [
        lambda: unit_graph([], []),
        lambda: unit_graph([1, -1], [(0, 1)]),
        lambda: unit_graph([1, np.nan], [(0, 1)]),
        lambda: unit_graph([1, 1], [(0, 2)]),
        lambda: unit_graph([1, 1], [(0, 1)], border_m=[1, 2]),
        lambda: unit_graph([1, 1], [(0, 1)], xy=[(0, 0)]),
        lambda: partition(grid(3, 3), 2, pinned={9: 0}),
        lambda: partition(grid(3, 3), 2, pinned={0: 2}),
        lambda: partition(grid(3, 3), 2, current=[0, 1]),
        lambda: partition(grid(3, 3), 2, current=[5] * 9),
        lambda: partition(grid(3, 3), 2, tolerance=-0.1),
        lambda: partition_nested(grid(4, 4), (4, 2)),
        lambda: partition_nested(grid(4, 4), (2, 4), tolerances=(0.1,)),
    ],
)
def test_bad_input_is_refused(call):
    with pytest.raises(InputError):
        call()


def test_a_division_that_holds_is_not_touched():
    graph = grid(20, 20, seed=4)
    now = partition_nested(graph, (4, 16), tolerances=(0.03, 0.1))
    again = partition_nested(graph, (4, 16), tolerances=(0.03, 0.1), current=[level.part for level in now.levels])
    assert all(len(level.moved) == 0 for level in again.levels)
    assert all((a.part == b.part).all() for a, b in zip(now.levels, again.levels, strict=True))


def test_a_redraw_moves_little_and_says_what():
    graph = grid(20, 20, seed=4)
    now = partition(graph, 8, tolerance=0.03)
    weight = graph.weight.copy()
    weight[now.part == 0] *= 1.3
    changed = grid(20, 20, weight=weight)
    again = partition(changed, 8, tolerance=0.05, current=now.part)
    assert again.contiguous and again.imbalance <= 0.05
    assert sorted(again.moved) == np.flatnonzero(again.part != now.part).tolist()
    fresh = partition(changed, 8, tolerance=0.05)
    assert 0 < len(again.moved) < 0.25 * graph.n < (fresh.part != now.part).sum()


def test_a_redraw_takes_in_new_units_and_mends_broken_parts():
    graph = grid(10, 10)
    now = partition(graph, 4, tolerance=0.05).part.copy()
    now[[0, 55]] = -1
    now[99] = now[9]
    again = partition(graph, 4, tolerance=0.05, current=now)
    assert again.contiguous and again.imbalance <= 0.05
    assert len(again.moved) <= 15


def test_a_redraw_with_one_part_more_splits_the_heaviest():
    graph = grid(10, 10)
    now = partition(graph, 3, tolerance=0.05).part
    again = partition(graph, 4, tolerance=0.1, current=now)
    assert set(again.part.tolist()) == {0, 1, 2, 3} and again.contiguous and again.imbalance <= 0.1


def test_cancel_returns_a_valid_division():
    result = partition(grid(20, 20, seed=1), 5, cancelled=lambda: True)
    assert set(result.part.tolist()) == set(range(5)) and result.contiguous
