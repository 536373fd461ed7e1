"""Pairs of camera and place against the counts of a run."""

import numpy as np
import pytest

from gis.cameras import prepare
from gis.coverage import compute
from gis.coverage_sampling import at_points
from gis.coverage_sight import sights
from gis.errors import InputError
from tests.unit.gis.test_coverage import register, town


@pytest.mark.parametrize(
    "product", ["confirmed_installed", "possible_installed", "confirmed_online", "possible_online"]
)
@pytest.mark.parametrize("density", [20.0, 40.0])
def test_pairs_add_up_to_the_counts_of_a_run(product: str, density: float) -> None:
    surface, table = town(seed=3, buildings=40), prepare(register(seed=3, n=30))
    rng = np.random.default_rng(5)
    x, y = rng.uniform(-40, 240, (2, 3000))
    result = compute(table, surface, workers=1)
    counts = at_points(result, x, y).counts
    wanted = counts[
        :, ["confirmed_installed", "possible_installed", "confirmed_online", "possible_online"].index(product)
    ]
    found = sights(table, surface, x, y, product=product, density_px_m=density)
    assert wanted.max() > 0
    np.testing.assert_array_equal(
        np.bincount(found.place, minlength=len(x)), wanted[:, table.densities_px_m.index(density)]
    )
    assert found.placed.sum() == result.cameras


def test_the_order_of_places_does_not_matter_and_the_kernels_batches_do_not_show(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    surface, table = town(seed=4), prepare(register(seed=4, n=20))
    x, y = np.random.default_rng(6).uniform(0, 200, (2, 500))
    whole = sights(table, surface, x, y)
    monkeypatch.setattr("gis.coverage_sight.PAIRS_AT_ONCE", 37)
    turned = sights(table, surface, x[::-1], y[::-1])
    pairs = {(int(c), len(x) - 1 - int(p)) for c, p in zip(turned.camera, turned.place, strict=True)}
    assert pairs == {(int(c), int(p)) for c, p in zip(whole.camera, whole.place, strict=True)}


def test_wrong_questions_are_refused_and_empty_ones_answered() -> None:
    surface, table = town(), prepare(register(n=2))
    assert len(sights(table, surface, [], []).camera) == 0
    with pytest.raises(InputError):
        sights(table, surface, [np.nan], [0.0])
    with pytest.raises(InputError):
        sights(table, surface, [0.0], [0.0], density_px_m=33.0)
    with pytest.raises(InputError):
        sights(table, surface, [0.0], [0.0], product="everything")
