"""A fine terrain model within a coarse one."""

import numpy as np

from gis.visibility_surface import Surface, Terrain, sample_points


def test_the_fine_model_counts_where_it_knows_and_the_coarse_one_elsewhere() -> None:
    wide = Terrain(np.full((10, 10), 50.0, dtype=np.float32), 0.0, 100.0, 10.0, 10.0)
    inner = np.full((20, 20), 7.0, dtype=np.float32)
    inner[5, 5] = np.nan
    surface = Surface(cell_m=1.0, terrain=Terrain(inner, 30.0, 60.0, 1.0, 1.0, beyond=wide))
    ground = surface.window(0, 0, 100, 100).ground
    expected = np.full((100, 100), 50.0, dtype=np.float32)
    expected[40:60, 30:50] = 7.0
    expected[54, 35] = 50.0  # row 5 from the north of the fine model
    np.testing.assert_array_equal(ground, expected)
    rows, cols = np.mgrid[0:100, 0:100]
    np.testing.assert_array_equal(sample_points(surface, rows.ravel(), cols.ravel()).reshape(100, 100), expected)
    assert surface.bounds == (0.0, 0.0, 100.0, 100.0)
    assert surface.window(95, 95, 10, 10).ground[9, 9] > 1e5, "beyond the coarse model nothing is known"
    assert surface.digest != Surface(cell_m=1.0, terrain=wide).digest
