"""Scenarios: a named set of cameras added, moved, turned, switched or taken away, and what the register would then say."""

import tomllib
from pathlib import Path
from typing import Any, Literal

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from gis.crs import SourceCRS, transform_coordinates
from gis.errors import Conflict, InputError, NotFound, UnreadableFile
from gis.settings import CityConfig

__all__ = ["Change", "Scenario", "changed_register", "load_scenario", "parse_scenario", "stored_scenario"]

_OPTICS = (
    "azimuth_deg", "hfov_deg", "vfov_deg", "tilt_deg", "view_dist_m", "res_w_px", "mount_height_m", "ptz_type",
)  # fmt: skip
_NUMBERS = {*_OPTICS, "direction"}


class Change(BaseModel):
    """One change. ``camera`` is an ``id`` or ``device_code`` of the register; for ``add`` a name of your own.

    ``lon``, ``lat`` in degrees of the storage system; ``type`` one of the city file's ``camera_types``, which gives the optics that are
    not given.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    action: Literal["add", "move", "turn", "switch_off", "switch_on", "remove"]
    camera: str = Field(min_length=1, max_length=64)
    lon: float | None = Field(None, ge=-180, le=180)
    lat: float | None = Field(None, ge=-90, le=90)
    type: str | None = None
    azimuth_deg: float | None = Field(None, ge=0, le=360)
    hfov_deg: float | None = Field(None, gt=0, le=360)
    vfov_deg: float | None = Field(None, gt=0, le=180)
    tilt_deg: float | None = Field(None, ge=-90, le=90)
    view_dist_m: float | None = Field(None, gt=0, le=20_000)
    res_w_px: float | None = Field(None, ge=64, le=100_000)
    mount_height_m: float | None = Field(None, gt=0, le=150)
    ptz_type: int | None = Field(None, ge=1, le=7)

    @model_validator(mode="after")
    def _fits(self) -> "Change":
        placed = self.lon is not None and self.lat is not None
        if self.action in ("add", "move") and not placed:
            raise ValueError(f"{self.action} needs lon and lat")
        if self.action not in ("add", "move") and (self.lon is not None or self.lat is not None):
            raise ValueError(f"{self.action} takes no lon and lat")
        given = [name for name in (*_OPTICS, "type") if getattr(self, name) is not None]
        allowed = {
            "add": (*_OPTICS, "type"),
            "turn": ("azimuth_deg", "tilt_deg"),
            "move": ("azimuth_deg", "mount_height_m"),
        }
        extra = [name for name in given if name not in allowed.get(self.action, ())]
        if extra:
            raise ValueError(f"{self.action} takes no {extra[0]}")
        if self.action == "turn" and not given:
            raise ValueError("turn needs azimuth_deg or tilt_deg")
        return self


class Scenario(BaseModel):
    """A named set of changes, carried out in their order."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[\w.-]{1,60}$")
    title_zh: str = ""
    title_en: str = ""
    change: tuple[Change, ...] = Field(max_length=10_000)


def parse_scenario(values: dict[str, Any]) -> Scenario:
    """A scenario from plain values.

    Raises
    ------
    InputError
        Names each value that is not as expected.
    """
    try:
        return Scenario.model_validate(values)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'scenario'}: {e['msg']}" for e in error.errors()[:10])
        raise InputError(f"Scenario: {faults}", zh=f"方案有误：{faults}") from error


def load_scenario(path: Path) -> Scenario:
    """Read a scenario file (TOML).

    Raises
    ------
    UnreadableFile
        It cannot be read or is not TOML.
    InputError
        A value in it is not as expected.
    """
    try:
        return parse_scenario(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError) as error:
        raise UnreadableFile(f"{path.name} cannot be read.", zh=f"无法读取 {path.name}。") from error
    except tomllib.TOMLDecodeError as error:
        raise UnreadableFile(f"{path.name} is not TOML: {error}", zh=f"{path.name} 不是有效的 TOML：{error}") from error


def stored_scenario(connection: sa.Connection, name: str) -> Scenario:
    """The newest scenario of this name that was compared.

    Raises
    ------
    NotFound
        None has this name.
    """
    found = connection.execute(
        sa.text(
            "SELECT parameters -> 'changed' FROM baige_sys.run WHERE kind = 'scenario' AND scenario = :name AND state = 'done'"
            " ORDER BY finished_at DESC LIMIT 1"
        ),
        {"name": name},
    ).scalar_one_or_none()
    if found is None:
        raise NotFound(f"No scenario {name!r} is stored.", zh=f"没有已存方案 {name!r}。")
    return parse_scenario(found)


def changed_register(cameras: gpd.GeoDataFrame, scenario: Scenario | None, city: CityConfig) -> gpd.GeoDataFrame:
    """The register of cameras as the scenario would have it.

    Parameters
    ----------
    cameras : GeoDataFrame of points in the analysis system
        With ``id``, ``device_code`` and the columns of layer ``camera_site`` that lines of sight need; is not changed.
    scenario : Scenario or None
        None: as it is.

    Raises
    ------
    NotFound
        A camera is not among the outdoor cameras in use.
    Conflict
        A camera to be added is there already.
    InputError
        There is no such type of camera.
    """
    if scenario is None:
        return cameras
    columns: dict[str, list[Any]] = {str(name): list(cameras[name]) for name in cameras.columns}
    place = cameras.geometry.name
    ids: list[Any] = columns["id"]
    number: dict[str, int] = {}
    for name in ("device_code", "id"):
        number.update({str(value): i for i, value in enumerate(columns.get(name, [])) if value is not None})
    gone: set[int] = set()
    for change in scenario.change:
        at = number.get(change.camera)
        if change.action == "add":
            if at is not None and at not in gone:
                raise Conflict(f"There is a camera {change.camera!r} already.", zh=f"摄像机 {change.camera!r} 已存在。")
            number[change.camera] = len(ids)
            row = _added(change, city)
            for name, values in columns.items():
                values.append(row.get(name, np.nan if name in _NUMBERS else None))
            columns["id"][-1] = change.camera
            columns[place][-1] = _point(change, city)
            continue
        if at is None or at in gone:
            raise NotFound(
                f"There is no outdoor camera {change.camera!r} in use.", zh=f"没有在用的室外摄像机 {change.camera!r}。"
            )
        if change.action == "remove":
            gone.add(at)
        elif change.action in ("switch_off", "switch_on"):
            columns["net_status"][at] = change.action.removeprefix("switch_")
            if change.action == "switch_on" and "device_state" in columns:
                columns["device_state"][at] = "in_use"
        elif change.action == "move":
            columns[place][at] = _point(change, city)
        for name in ("azimuth_deg", "tilt_deg", "mount_height_m"):
            value = getattr(change, name)
            if value is not None:
                columns[name][at] = value
    frame = gpd.GeoDataFrame(columns, geometry=place, crs=cameras.crs)
    for name in _NUMBERS & set(columns):
        frame[name] = pd.to_numeric(frame[name])
    return frame.drop(index=sorted(gone)).reset_index(drop=True)


def _added(change: Change, city: CityConfig) -> dict[str, Any]:
    row: dict[str, Any] = {"net_status": "on", "device_state": "in_use"}
    if change.type is not None:
        if change.type not in city.camera_types:
            raise InputError(
                f"There is no camera type {change.type!r}; there are {', '.join(city.camera_types)}.",
                zh=f"没有摄像机类型 {change.type!r}。",
            )
        kind = city.camera_types[change.type]
        row |= {name: getattr(kind, name) for name in _OPTICS if name != "azimuth_deg"}
    return row | {name: getattr(change, name) for name in _OPTICS if getattr(change, name) is not None}


def _point(change: Change, city: CityConfig) -> shapely.Point:
    x, y = transform_coordinates(
        np.array([change.lon], dtype=float),
        np.array([change.lat], dtype=float),
        SourceCRS(str(city.storage_srid)),
        city.analysis_srid,
    )
    return shapely.Point(float(x[0]), float(y[0]))
