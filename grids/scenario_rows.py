"""Scenarios as they are kept: rows of the layer ``camera_plan``, one for each camera of a scenario."""

from typing import Any

import pandas as pd
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from gis.errors import NotFound
from grids.scenario_changes import Scenario, parse_scenario
from layers.frames import read_frame

__all__ = ["kept_scenario", "scenario_of"]

_OPTICS = ("hfov_deg", "vfov_deg", "view_dist_m", "res_w_px", "mount_height_m", "ptz_type")
_COLUMNS = ("scenario", "camera", "action", "camera_type", "azimuth_deg", "tilt_deg", *_OPTICS)


def scenario_of(rows: list[dict[str, Any]], name: str) -> Scenario:
    """A scenario from rows with the fields of ``camera_plan`` and ``lon``, ``lat``.

    What an action does not take (the place of a camera that is only switched off) is left out.

    Raises
    ------
    InputError
        A row says something that cannot be.

    Examples
    --------
    >>> scenario_of([{"camera": "a", "action": "turn", "azimuth_deg": 90.0, "lon": 111.3, "lat": 30.7}], "x").change[0].azimuth_deg
    90.0
    """
    changes = []
    for row in rows:
        action = row.get("action")
        change = {"action": action, "camera": row.get("camera")}
        taken: tuple[str, ...] = ()
        if action == "add":
            taken = ("lon", "lat", "azimuth_deg", "tilt_deg", *_OPTICS)
            change["type"] = row.get("camera_type")
        elif action == "move":
            taken = ("lon", "lat", "azimuth_deg", "mount_height_m")
        elif action == "turn":
            taken = ("azimuth_deg", "tilt_deg")
        change |= {key: row.get(key) for key in taken}
        changes.append({key: value for key, value in change.items() if value is not None and not pd.isna(value)})
    return parse_scenario({"name": name, "change": changes})


def kept_scenario(connection: Connection, name: str) -> Scenario:
    """The scenario of that name.

    Raises
    ------
    NotFound
        None has this name.
    """
    frame = read_frame(
        connection, "camera_plan", columns=_COLUMNS, where=sa.text("scenario = :scenario").bindparams(scenario=name)
    )
    if frame.empty:
        raise NotFound(f"No scenario {name!r} is kept.", zh=f"没有名为 {name!r} 的方案。")
    rows = frame.drop(columns="geom").assign(lon=frame.geometry.x, lat=frame.geometry.y).to_dict("records")
    return scenario_of(rows, name)
