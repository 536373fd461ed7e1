"""Which blocks are school and hospital grounds."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.city.admin import Division
from data.city.cells import Cells
from data.city.frame import rng_for

__all__ = ["HOSPITALS", "SCHOOLS", "Campuses", "choose_campuses"]

SCHOOLS, HOSPITALS = 85, 22


@dataclass(frozen=True)
class Campuses:
    """Cells that are campuses, in order of their number."""

    school_cell: NDArray[np.int64]
    hospital_cell: NDArray[np.int64]


def choose_campuses(cells: Cells, division: Division, *, seed: int) -> tuple[Campuses, NDArray[np.object_]]:
    """Pick grounds where people live, apart from each other, and mark their use."""
    rng = rng_for(seed, "campuses")
    use = division.use.copy()
    fit = (
        np.isin(use, ("residential", "public"))
        & (cells.area_m2 > 9_000.0)
        & (cells.area_m2 < 90_000.0)
        & (cells.kind == "block")
    )
    index = np.flatnonzero(fit)
    weight = (division.population[index] + 60.0) * cells.density[index] ** 0.3
    order = index[np.argsort(-(np.log(weight) + rng.gumbel(size=len(index))), kind="stable")]
    school = _apart(cells, order, SCHOOLS, 420.0)
    taken = set(school.tolist())
    hospital = _apart(cells, np.array([c for c in order if c not in taken]), HOSPITALS, 900.0)
    use[school], use[hospital] = "school", "medical"
    return Campuses(school, hospital), use


def _apart(cells: Cells, order: NDArray[np.int64], count: int, distance_m: float) -> NDArray[np.int64]:
    """The first ``count`` of ``order`` that keep a distance, which is relaxed until there are enough."""
    while True:
        chosen: list[int] = []
        for c in order.tolist():
            near = np.hypot(cells.x[chosen] - cells.x[c], cells.y[chosen] - cells.y[c])
            if not len(near) or near.min() > distance_m:
                chosen.append(c)
                if len(chosen) == count:
                    return np.array(chosen)
        distance_m *= 0.7
