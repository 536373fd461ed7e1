"""Who is asking: a visitor, or the holder of an access key."""

import base64
import binascii
import hashlib
import hmac
import secrets
import time
from typing import TYPE_CHECKING

from starlette.requests import Request

from gis.errors import Unauthorized
from layers.access import Principal

if TYPE_CHECKING:
    from api.state import State

__all__ = ["hash_secret", "new_key", "principal_of"]

#: How long a key that was found good is not looked up again.
_TRUSTED_S = 1.0
_KEY_SQL = (
    "SELECT secret_sha256, role, district FROM baige_sys.api_key"
    " WHERE id = %s AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())"
)
_trusted: dict[str, tuple[float, Principal]] = {}


def new_key() -> tuple[str, str]:
    """A new key: its public id, and the whole key, which is shown once and kept nowhere."""
    key_id = secrets.token_hex(6)
    return key_id, f"bg_{key_id}_{secrets.token_urlsafe(32)}"


def hash_secret(key: str) -> str:
    """What of a key is stored. Keys are random and long, so that one round of SHA-256 suffices."""
    return hashlib.sha256(key.encode()).hexdigest()


def _presented(request: Request) -> str | None:
    """The key that a request brings: ``X-API-Key``, a bearer token, or the password of HTTP Basic. Never one in the address."""
    key = request.headers.get("x-api-key")
    if key:
        return key
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and value:
        return value.strip()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(value, validate=True).decode("utf-8").partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            return ""
    return None


async def principal_of(request: Request) -> Principal:
    """On whose behalf a request runs.

    Raises
    ------
    Unauthorized
        It brings a key that does not exist, has expired or was revoked.
    """
    state: State = request.app.state.baige
    request_id = request.scope.get("baige.request_id", "")
    key = _presented(request)
    if key is None:
        return Principal(state.serve.anonymous_role, state.serve.anonymous_district, "", request_id)
    digest = hash_secret(key)
    known = _trusted.get(digest)
    if known is None or known[0] < time.monotonic():
        parts = key.split("_", 2)
        rows = await state.reader.plain(_KEY_SQL, (parts[1],)) if len(parts) == 3 and parts[0] == "bg" and len(key) < 200 else []
        if not rows or not hmac.compare_digest(_text(rows[0][0]), digest):
            _trusted.pop(digest, None)
            raise Unauthorized("The access key is not valid.", zh="访问密钥无效。")
        known = (time.monotonic() + _TRUSTED_S, Principal(_text(rows[0][1]), _text(rows[0][2]), parts[1]))  # type: ignore[arg-type]
        if len(_trusted) > 1000:
            _trusted.clear()
        _trusted[digest] = known
    found = known[1]
    return Principal(found.role, found.district, found.key_id, request_id)


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
