"""Settings of the server, prefix ``BAIGE_SERVE_``; read once in the command or the application factory."""

from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

__all__ = ["ServeSettings"]


class ServeSettings(BaseSettings):
    """How the server listens and what it allows.

    Attributes
    ----------
    host, port : str, int
        Address to listen on; other computers reach it only when this is not a loopback address.
    public_url : str
        Address that links in answers begin with; made of host and port where empty.
    anonymous_role : str
        Role of a request without a key. ``public`` sees public rows only; another one is for a demonstration on loopback.
    anonymous_district : str
        District of a request without a key.
    limit_default, limit_max : int
        Features on a page.
    statement_timeout_s, count_timeout_s, tile_timeout_s : float
        Time that the database may take for a page, a count, a tile.
    tile_cap : int
        Most features in one tile.
    tile_cache_mb : int
        Memory of each worker for tiles already made.
    pool_size : int
        Database connections of each worker.
    body_max_mb : int
        Largest body of a request.
    session_hours : float
        How long a browser's session lasts at most; never longer than its key.
    cors_origins : str
        Origins that browsers may call from, separated by commas; ``*`` for all; empty for none.
    """

    model_config = SettingsConfigDict(env_prefix="BAIGE_SERVE_", frozen=True, extra="ignore")

    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65535)
    public_url: str = ""
    workers: int = Field(default=2, ge=1, le=64)
    anonymous_role: Literal["public", "viewer", "officer", "planner", "admin"] = "public"
    anonymous_district: str = Field(default="", pattern=r"^([0-9]{2,12})?$")
    limit_default: int = Field(default=1000, ge=1)
    limit_max: int = Field(default=10_000, ge=1)
    statement_timeout_s: float = Field(default=30.0, gt=0)
    count_timeout_s: float = Field(default=0.5, gt=0)
    tile_timeout_s: float = Field(default=10.0, gt=0)
    tile_cap: int = Field(default=10_000, ge=100)
    tile_cache_mb: int = Field(default=64, ge=0)
    pool_size: int = Field(default=8, ge=1)
    body_max_mb: int = Field(default=16, ge=1)
    session_hours: float = Field(default=12.0, gt=0, le=720)
    cors_origins: str = ""

    @property
    def base_url(self) -> str:
        """Address without a slash at its end."""
        return self.public_url.rstrip("/") or f"http://{self.host}:{self.port}"
