"""The drawn city before anything is registered: ground, water, streets, cells, divisions, buildings."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from data.city.admin import Division, divide_city
from data.city.buildings import Buildings, draw_buildings
from data.city.campuses import Campuses, choose_campuses
from data.city.cells import Cells, draw_cells, island_streets
from data.city.frame import rng_for
from data.city.layout import Layout, draw_layout
from data.city.locate import Locator
from data.city.outlines import Outlines, read_outlines
from data.city.river import River, draw_river
from data.city.streets import Bank, draw_bank, subdivide
from data.city.terrain import Dem, draw_terrain
from data.city.towns import Town, draw_towns
from data.city.transport import Network, draw_network

__all__ = ["SCALES", "Plan", "Scale", "draw_plan"]

ScaleName = Literal["small", "full"]


@dataclass(frozen=True)
class Scale:
    """What differs between the small and the full city; every other register is the same."""

    cameras: int
    new_hd: int
    buildings: int
    farms: int
    poles: int
    events: int


SCALES: dict[str, Scale] = {
    "small": Scale(cameras=3_000, new_hd=350, buildings=24_000, farms=2_000, poles=2_500, events=2_000),
    "full": Scale(cameras=60_000, new_hd=7_000, buildings=200_000, farms=78_000, poles=20_000, events=20_000),
}


@dataclass(frozen=True)
class Plan:
    """Everything that registers are placed on."""

    seed: int
    scale: Scale
    outlines: Outlines
    river: River
    dem: Dem
    dem_wide: Dem
    banks: tuple[Bank, Bank]
    cells: Cells
    division: Division
    campuses: Campuses
    use: NDArray[np.object_]
    layout: Layout
    towns: tuple[Town, ...]
    network: Network
    buildings: Buildings
    locator: Locator


def draw_plan(scale: Scale, *, seed: int) -> Plan:
    """Draw a city.

    Raises
    ------
    ConfigError
        The county outlines are not installed.
    """
    outlines = read_outlines()
    river = draw_river(rng_for(seed, "river"))
    dem, dem_wide = draw_terrain(river, seed_rng=rng_for(seed, "terrain"))
    banks = (draw_bank(river, "L", rng_for(seed, "bank L")), draw_bank(river, "R", rng_for(seed, "bank R")))
    left, right = (subdivide(bank, dem, rng_for(seed, f"blocks {bank.side}")) for bank in banks)
    lanes = island_streets(river, rng_for(seed, "island"))
    cells = draw_cells(river, outlines, dem, banks, (left, right), lanes)
    division = divide_city(cells, seed=seed)
    campuses, use = choose_campuses(cells, division, seed=seed)
    towns = draw_towns(river, seed=seed)
    network = draw_network(river, cells.ring, banks, (left[1], right[1]), towns, lanes, seed=seed)
    waters = np.array([river.polygon, *(t.polygon for t in river.tributaries)], dtype=object)
    buildings = draw_buildings(
        cells, use, division.households, network, towns, waters, target=scale.buildings, farms=scale.farms, seed=seed
    )
    return Plan(
        seed, scale, outlines, river, dem, dem_wide, banks, cells, division, campuses, use, draw_layout(cells, division), towns, network,
        buildings, Locator(outlines, cells, division),
    )  # fmt: skip
