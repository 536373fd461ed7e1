"""Settings of the server, prefix ``BAIGE_SERVE_``, and of the identity provider, ``BAIGE_OIDC_``; read once."""

import re
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

__all__ = ["OIDC_ROLES", "OidcSettings", "ServeSettings"]

#: As browsers send it: no path, no slash at the end.
_ORIGIN = re.compile(r"https?://[A-Za-z0-9.\[\]:-]+")
#: Roles that a provider's token may stand for, the weakest first.
OIDC_ROLES = ("viewer", "officer", "planner", "admin")


class ServeSettings(BaseSettings):
    """How the server listens and what it allows.

    Attributes
    ----------
    host, port : str, int
        Address to listen on; other computers reach it only when this is not a loopback address.
    public_url : str
        Address that links in answers begin with; made of host and port where empty.
    tls_cert, tls_key : Path or None
        Certificate (with those that vouch for it) and private key, PEM files; with both the server speaks HTTPS itself, without a proxy.
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
    key_rate_per_s, key_burst : float, int
        Requests a second that one key may make on average, and at once after a pause, over all processes; a rate of 0 sets no limit.
    key_per_day : int
        Requests that one key may make from midnight to midnight (UTC), over all processes; 0 sets no limit.
    session_hours : float
        How long a browser's session lasts at most; never longer than its key.
    cors_origins : str
        Origins that browsers may call from, separated by commas; ``*`` for all; empty for none.
    body_timeout_s, take_timeout_s : float
        Seconds that a client may take for the next part of its request's body (408 after that), and for taking the next part of an answer.
    log_format : str
        ``text``, or ``json``: one object a line.
    log_level : str
        Least severity that is logged; with ``info`` each request has a line.
    base_tiles : SecretStr
        Address of another service's tiles with ``{z}``, ``{y}``, ``{x}`` and its key, handed on by the server; empty for none.
    base_title : str
        What the portal calls it, and whose it is.
    """

    model_config = SettingsConfigDict(env_prefix="BAIGE_SERVE_", frozen=True, extra="ignore")

    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65535)
    public_url: str = ""
    tls_cert: Path | None = None
    tls_key: Path | None = None
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
    key_rate_per_s: float = Field(default=0.0, ge=0)
    key_burst: int = Field(default=200, ge=1)
    key_per_day: int = Field(default=0, ge=0)
    session_hours: float = Field(default=12.0, gt=0, le=720)
    cors_origins: str = ""
    body_timeout_s: float = Field(default=30.0, gt=0)
    take_timeout_s: float = Field(default=60.0, gt=0)
    log_format: Literal["text", "json"] = "text"
    log_level: Literal["debug", "info", "warning", "error"] = "warning"
    base_tiles: SecretStr = SecretStr("")
    base_title: str = ""

    @field_validator("cors_origins")
    @classmethod
    def _are_origins(cls, value: str) -> str:
        for origin in filter(None, map(str.strip, value.split(","))):
            if origin != "*" and not _ORIGIN.fullmatch(origin):
                raise ValueError(f"{origin[:80]!r} is no origin: scheme, host and port only, as https://maps.example or http://127.0.0.1:5173")
        return value

    @property
    def origins(self) -> list[str]:
        """Origins that browsers may call from."""
        found = [origin.strip().lower() for origin in self.cors_origins.split(",") if origin.strip()]
        return ["*"] if "*" in found else found

    @property
    def base_url(self) -> str:
        """Address without a slash at its end."""
        return self.public_url.rstrip("/") or f"{'https' if self.tls_cert else 'http'}://{self.host}:{self.port}"


class OidcSettings(BaseSettings):
    """Which provider's tokens are taken, and what their claims mean here. Prefix ``BAIGE_OIDC_``.

    Attributes
    ----------
    issuer, audience : str
        What ``iss`` and ``aud`` of a token must be. Without them no token is taken.
    jwks_file : Path
        The provider's public keys, as a JSON Web Key Set.
    role_claim : str
        Claim with the asker's group or role, a text or a list; dots lead into objects (``realm_access.roles``).
    role_map : dict
        From values of that claim to roles of Baige, as JSON: ``{"gis-planning": "planner"}``. Of several the strongest counts.
    district_claim : str
        Claim with the prefix of administrative codes; empty where every holder works for the whole city. Where it is set, a token without it is
        refused, save for the role admin.
    leeway_s : int
        How far the provider's clock may be off.
    """

    model_config = SettingsConfigDict(env_prefix="BAIGE_OIDC_", frozen=True, extra="ignore")

    issuer: str = ""
    audience: str = ""
    jwks_file: Path | None = None
    role_claim: str = "roles"
    role_map: dict[str, str] = Field(default_factory=dict)
    district_claim: str = ""
    leeway_s: int = Field(default=30, ge=0, le=300)

    @field_validator("role_map")
    @classmethod
    def _known_roles(cls, value: dict[str, str]) -> dict[str, str]:
        wrong = sorted(set(value.values()) - set(OIDC_ROLES))
        if wrong:
            raise ValueError(f"no such role: {', '.join(wrong)}; roles are {', '.join(OIDC_ROLES)}")
        return value
