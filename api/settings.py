"""Settings of the server, prefix ``BAIGE_SERVE_``, and of the identity provider, ``BAIGE_OIDC_``; read once."""

import ipaddress
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

    What each means stands in its description, which `docs/configuration.md` is made from.
    """

    model_config = SettingsConfigDict(env_prefix="BAIGE_SERVE_", frozen=True, extra="ignore")

    host: str = Field(
        default="127.0.0.1", description="Address to listen on; other computers reach it only when this is not a loopback address.",
    )  # fmt: skip
    port: int = Field(default=8080, ge=0, le=65535, description="Port.")
    public_url: str = Field(default="", description="Address that links begin with, behind a proxy; made of host and port where empty.")
    tls_cert: Path | None = Field(
        default=None, description="Certificate, with those that vouch for it (PEM): with its key the server speaks HTTPS itself.",
    )  # fmt: skip
    tls_key: Path | None = Field(default=None, description="The private key of that certificate (PEM, without a password).")
    workers: int = Field(default=2, ge=1, le=64, description="Server processes.")
    trusted_proxies: str = Field(default="127.0.0.1, ::1", description=(
        "Addresses or networks of reverse proxies, separated by commas, that `X-Forwarded-For` is believed from; empty for none. From everybody "
        "else it is passed over, and the address that connects is the one that is logged."
    ))  # fmt: skip
    anonymous_role: Literal["public", "viewer", "officer", "planner", "admin"] = Field(
        default="public", description="Role of a request without a key. Anything but `public` is for a demonstration on loopback.",
    )  # fmt: skip
    anonymous_district: str = Field(
        default="", pattern=r"^([0-9]{2,12})?$", description="District (prefix of the administrative code) of a request without a key.",
    )  # fmt: skip
    limit_default: int = Field(default=1000, ge=1, description="Features on a page that does not ask for a number.")
    limit_max: int = Field(default=10_000, ge=1, description="Most features on a page.")
    statement_timeout_s: float = Field(default=30.0, gt=0, description="Seconds that the database may take for a page.")
    count_timeout_s: float = Field(default=0.5, gt=0, description="Seconds for an exact count; an estimate is given after that.")
    tile_timeout_s: float = Field(default=10.0, gt=0, description="Seconds for a tile.")
    tile_cap: int = Field(default=10_000, ge=100, description="Most features in a tile.")
    tile_cache_mb: int = Field(default=64, ge=0, description="Memory of each process for tiles already made.")
    tile_store: Path | None = Field(default=None, description=(
        "Folder for tiles already made, shared by all server processes that see it, and kept over restarts; unset: none. It holds tiles of "
        "restricted layers: keep it as you keep the database."
    ))  # fmt: skip
    tile_store_mb: int = Field(default=1000, ge=1, description="What the files of that folder may take; those used longest ago go first.")
    pool_size: int = Field(default=8, ge=1, description="Database connections of each process.")
    body_max_mb: int = Field(default=16, ge=1, description="Largest body of a request.")
    key_rate_per_s: float = Field(default=0.0, ge=0, description=(
        "Requests a second that one key may make on average, exactly, over all processes and machines; 0 sets no limit. Beyond it: "
        "429 with `Retry-After`."
    ))  # fmt: skip
    key_burst: int = Field(default=200, ge=1, description="Requests that one key may make at once after a pause.")
    key_per_day: int = Field(default=0, ge=0, description=(
        "Requests that one key may make from midnight to midnight (UTC), over all processes and machines; 0 sets no limit."
    ))  # fmt: skip
    session_hours: float = Field(
        default=12.0, gt=0, le=720, description="How long a browser's session lasts at most; never longer than its key.",
    )  # fmt: skip
    cors_origins: str = Field(default="", description=(
        "Origins (`https://maps.example`) whose pages may call, separated by commas; `*` for all. Such pages send a key of their "
        "own: the browser's session never goes along."
    ))  # fmt: skip
    body_timeout_s: float = Field(
        default=30.0, gt=0, description="Seconds that a client may take for the next part of a request's body; 408 after that.",
    )  # fmt: skip
    take_timeout_s: float = Field(
        default=60.0, gt=0, description="Seconds that a client may take to accept the next part of an answer; the connection is closed after that.",
    )  # fmt: skip
    log_format: Literal["text", "json"] = Field(default="text", description="`json`: one JSON object a line, with the request's id.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="warning", description="Least severity that is logged; with `info` each request has a line.",
    )  # fmt: skip
    base_tiles: SecretStr = Field(default=SecretStr(""), description=(
        "Tiles of another service for the portal's base map, with its key: `https://…/{z}/{y}/{x}?tk=KEY`. The server asks, the "
        "key never leaves it; only this address is ever asked, and redirects are not followed."
    ))  # fmt: skip
    base_title: str = Field(default="", description="What the portal calls that base map, and whose it is.")

    @field_validator("trusted_proxies")
    @classmethod
    def _are_networks(cls, value: str) -> str:
        found = [part.strip() for part in value.split(",") if part.strip()]
        for part in found:
            try:
                ipaddress.ip_network(part)
            except ValueError as error:
                raise ValueError(f"{part[:80]!r} is no address or network of a proxy, as 10.0.0.7 or 172.16.0.0/12") from error
        return ",".join(found)

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

    What each means stands in its description, which `docs/configuration.md` is made from.
    """

    model_config = SettingsConfigDict(env_prefix="BAIGE_OIDC_", frozen=True, extra="ignore")

    issuer: str = Field(default="", description="What `iss` of a token must be.")
    audience: str = Field(default="", description="What `aud` must be or hold.")
    jwks_file: Path | None = Field(default=None, description="The provider's public keys (JSON Web Key Set); read anew when the file changes.")
    role_claim: str = Field(default="roles", description="Claim with the holder's groups; dots lead into objects, as `realm_access.roles`.")
    role_map: dict[str, str] = Field(
        default_factory=dict, description='From groups to roles, JSON: `{"gis-planning": "planner"}`. The strongest counts; without one, 403.',
    )  # fmt: skip
    district_claim: str = Field(
        default="", description="Claim with the prefix of administrative codes. Where set, a token without it is refused, save for admins.",
    )  # fmt: skip
    leeway_s: int = Field(default=30, ge=0, le=300, description="Seconds that the provider's clock may be off.")

    @field_validator("role_map")
    @classmethod
    def _known_roles(cls, value: dict[str, str]) -> dict[str, str]:
        wrong = sorted(set(value.values()) - set(OIDC_ROLES))
        if wrong:
            raise ValueError(f"no such role: {', '.join(wrong)}; roles are {', '.join(OIDC_ROLES)}")
        return value
