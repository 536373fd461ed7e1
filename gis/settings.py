"""Settings by concern, read from the environment (prefix ``BAIGE_``) once, in the CLI root or the application factory, and handed down."""

import tomllib
from datetime import date
from functools import cached_property
from importlib import resources
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from gis.errors import ConfigError

__all__ = [
    "CameraDefaults",
    "CameraType",
    "CityConfig",
    "CoverageConfig",
    "InspectionConfig",
    "LayoutConfig",
    "Settings",
    "WaterQuality",
    "load_city",
]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class LayoutConfig(_Frozen):
    """Counts and tolerances of the ring–zone–grid–point layout."""

    rings: int = Field(1, ge=0)
    zones: int = Field(10, ge=0)
    grids: int = Field(100, ge=0)
    points: int = Field(1000, ge=0)
    points_per_grid_min: int = Field(3, ge=0)
    zone_imbalance_max: float = Field(0.03, ge=0)
    grid_imbalance_max: float = Field(0.10, ge=0)


class CoverageConfig(_Frozen):
    """Cell size, target height and pixel densities of coverage analysis."""

    cell_m: float = Field(1.0, gt=0)
    target_height_m: float = Field(0.0, ge=0)
    densities_px_m: tuple[float, ...] = (20.0, 40.0, 80.0)
    range_max_m: float = Field(400.0, gt=0)
    refraction: float = Field(0.13, ge=0, lt=1)
    railway_fence_m: float = Field(8.0, ge=1, le=100)


class CameraDefaults(_Frozen):
    """What is assumed of a camera where its register says nothing. Degrees, metres, pixels."""

    mount_height_m: float = 6.0
    hfov_deg: float = 60.0
    vfov_deg: float = 35.0
    tilt_deg: float = 15.0
    view_dist_m: float = 100.0
    res_w_px: int = 1920


class CameraType(_Frozen):
    """A kind of camera that may be proposed; ``cost`` in thousand yuan."""

    cost: float
    hfov_deg: float
    vfov_deg: float
    res_w_px: int
    view_dist_m: float
    mount_height_m: float
    tilt_deg: float
    ptz_type: int


class InspectionConfig(_Frozen):
    """How often outfalls are inspected, and how long what was seen there holds. Days, hours."""

    interval_days: dict[str, int] = Field({"default": 90}, description="by category (cat1) of the outfall, or ``default``")
    exempt_stages: tuple[str, ...] = ("closed",)
    state_valid_days: int = Field(30, gt=0)
    monitor_valid_hours: int = Field(24, gt=0)

    @model_validator(mode="after")
    def _has_default(self) -> "InspectionConfig":
        if "default" not in self.interval_days or min(self.interval_days.values()) < 1:
            raise ValueError("interval_days needs 'default', and whole days from 1 on")
        return self


class WaterQuality(_Frozen):
    """Limits of the classes I to V of surface water for one pollutant, and where they are written."""

    pollutant: str
    unit: str
    limits: tuple[float, float, float, float, float]
    source: str
    valid_from: date | None = None
    valid_to: date | None = None
    verified: bool = False


class CityConfig(_Frozen):
    """What differs from city to city; the contents of a city file (TOML).

    ``bounds`` are west, south, east, north in degrees of the storage system's datum.
    """

    name_zh: str
    name_en: str
    admin_prefix: str = Field(pattern=r"^[0-9]{2,6}$")
    storage_srid: int = 4490
    analysis_srid: int = 4546
    bounds: tuple[float, float, float, float]
    river_zh: str = ""
    river_en: str = ""
    layout: LayoutConfig = LayoutConfig()
    coverage: CoverageConfig = CoverageConfig()
    camera_defaults: CameraDefaults = CameraDefaults()
    gap_weights: dict[str, float] = {}
    rules: dict[str, float] = {}
    camera_types: dict[str, CameraType] = {}
    inspection: InspectionConfig = InspectionConfig()
    water_quality: tuple[WaterQuality, ...] = ()


def load_city(path: Path | None = None) -> CityConfig:
    """Read a city file; without ``path`` the one of Yichang that comes with Baige.

    Raises
    ------
    ConfigError
        The file is missing, is not TOML, or a value in it is not as expected (the message names it).
    """
    try:
        if path is None:
            text = resources.files("gis").joinpath("cities", "yichang.toml").read_text(encoding="utf-8")
        else:
            text = Path(path).read_text(encoding="utf-8")
        return CityConfig.model_validate(tomllib.loads(text))
    except OSError as error:
        raise ConfigError(f"City file {path} cannot be read.", zh=f"无法读取城市文件 {path}。") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(
            f"City file {path} is not valid TOML: {error}", zh=f"城市文件 {path} 不是有效的 TOML：{error}"
        ) from error
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise ConfigError(f"City file: {faults}", zh=f"城市文件有误：{faults}") from error


class Settings(BaseSettings):
    """Where things are. What each setting means stands in its description, which `docs/configuration.md` is made from."""

    model_config = SettingsConfigDict(env_prefix="BAIGE_", frozen=True, extra="ignore")

    home: Path = Field(default=Path(".baige"), description=(
        "Folder of this installation: the embedded database, rasters, caches. Relative to where the command is called."
    ))  # fmt: skip
    database_url: SecretStr | None = Field(default=None, description=(
        "A PostGIS database of your own, `postgresql://user:password@host:5432/database`; unset: the embedded one. See "
        "[install.md](install.md)."
    ))  # fmt: skip
    database_read_url: SecretStr | None = Field(default=None, description=(
        "A streaming replica of that database, from which the server reads what users ask for; an answer is never older than the request. "
        "Unset: none. See [scale.md](scale.md)."
    ))  # fmt: skip
    city: Path | None = Field(default=None, description="City file (TOML); unset: the one of Yichang that comes with Baige.")
    scheduler: str | None = Field(
        default=None, description="Dask scheduler, `tcp://host:8786`, that analysis is spread over; unset: processes of this machine.",
    )  # fmt: skip
    lang: str = Field(default="en", description="Language of messages, `en` or `zh`; the option `--lang` goes before.")

    @cached_property
    def city_config(self) -> CityConfig:
        """The city file that ``city`` names, or the built-in one."""
        return load_city(self.city)
