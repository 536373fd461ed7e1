"""Who is asking: a visitor, the holder of an access key or of a provider's token, or a browser with a session.

Whether a key still holds is asked of the database with each request, by way of a counter that every new, changed or revoked key and
session raises (`layers/sql/credentials.sql`); many requests share one reading. What a key stands for is looked up only when the counter has moved.
"""

import base64
import binascii
import hashlib
import hmac
import re
import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from starlette.requests import Request

from api.problems import Challenged
from api.reader import as_text
from gis.errors import Forbidden
from layers.access import Principal, RoleName

if TYPE_CHECKING:
    from api.state import State

__all__ = ["SESSION_COOKIE", "Credential", "check_csrf", "credential_of_key", "csrf_of", "hash_secret", "key_in_address", "new_key", "principal_of"]

SESSION_COOKIE = "baige_session"
CSRF_HEADER = "x-csrf-token"
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_KEY_SQL = (
    "SELECT secret_sha256, role, district, extract(epoch from expires_at)::float8 FROM baige_sys.api_key"
    " WHERE id = %s AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())"
)
_SESSION_SQL = (
    "SELECT s.key_id, s.role, s.district, extract(epoch from least(s.expires_at, k.expires_at))::float8 FROM baige_sys.session AS s"
    " LEFT JOIN baige_sys.api_key AS k ON k.id = s.key_id WHERE s.token_sha256 = %s AND s.expires_at > now()"
    " AND (s.issuer <> '' OR (k.id IS NOT NULL AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now())))"
)
#: A key of ours wherever it stands, or a parameter that is only ever used for one.
_IN_ADDRESS = re.compile(rb"bg_[0-9a-f]{12}_|(?:^|[&;?])(?:x-)?(?:api[-_]?key|access[-_]token|id[-_]token)=", re.IGNORECASE)
_KNOWN_MOST = 5000


@dataclass(frozen=True, slots=True)
class Credential:
    """What a key, token or session stands for, and until when (seconds since 1970; None for ever)."""

    principal: Principal
    expires: float | None
    issuer: str = ""

    @property
    def holds(self) -> bool:
        """Whether it has not expired."""
        return self.expires is None or self.expires > time.time()


def new_key() -> tuple[str, str]:
    """A new key: its public id, and the whole key, which is shown once and kept nowhere."""
    key_id = secrets.token_hex(6)
    return key_id, f"bg_{key_id}_{secrets.token_urlsafe(32)}"


def hash_secret(key: str) -> str:
    """What of a key is stored. Keys are random and long, so that one round of SHA-256 suffices."""
    return hashlib.sha256(key.encode()).hexdigest()


def csrf_of(token: str) -> str:
    """The value that a browser with session ``token`` must send with each request that changes something."""
    return hmac.new(token.encode(), b"baige csrf", hashlib.sha256).hexdigest()


def key_in_address(query: bytes) -> bool:
    """Whether a query string brings a key or token: it would end in histories and logs, and is refused."""
    return _IN_ADDRESS.search(query) is not None


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
        It brings a key, token or session that does not exist, has expired or was revoked.
    Forbidden
        It comes from a browser with a session, would change something, and does not bring the session's CSRF value.
    TooMany
        Its key has used up what it may ask in this time.
    """
    state: State = request.app.state.baige
    request_id = request.scope.get("baige.request_id", "")
    key = _presented(request)
    if key is not None:
        credential = await _known(state, "key", key)
    elif SESSION_COOKIE in request.cookies:
        token = request.cookies[SESSION_COOKIE]
        credential = await _known(state, "session", token)
        if request.method not in _SAFE:
            check_csrf(request, token)
    else:
        return Principal(state.serve.anonymous_role, state.serve.anonymous_district, "", request_id)
    found = credential.principal
    if not request.scope.get("baige.counted"):  # some routes ask twice who is asking
        request.scope["baige.counted"] = True
        await state.limits.take(found.key_id)
    query = request.url.query
    return Principal(found.role, found.district, found.key_id, request_id, f"{request.url.path}?{query}"[:2000] if query else request.url.path)


def check_csrf(request: Request, token: str) -> None:
    """Refuse a request of a session that another site may have made the browser send.

    Raises
    ------
    Forbidden
        The header is missing or not the session's.
    """
    sent = request.headers.get(CSRF_HEADER, "")
    if not hmac.compare_digest(sent.encode(), csrf_of(token).encode()) or request.headers.get("sec-fetch-site", "same-origin") != "same-origin":
        raise Forbidden(
            "A browser with a session sends the header X-CSRF-Token (see GET /portal/session).",
            zh="带会话的浏览器须发送 X-CSRF-Token 请求头（见 GET /portal/session）。",
        )


async def _known(state: "State", kind: str, secret: str) -> Credential:
    digest = kind + hash_secret(secret)
    epoch = await state.counters.credentials()
    known = state.credentials.get(digest)
    if known is not None and known[0] == epoch and known[1].holds:
        return known[1]
    if kind == "session":
        found = await _session(state, secret)
    else:
        found = await credential_of_key(state, secret)
    if len(state.credentials) > _KNOWN_MOST:
        state.credentials.clear()
    state.credentials[digest] = (epoch, found)
    return found


async def credential_of_key(state: "State", key: str) -> Credential:
    """What a key, or a token of the provider, stands for.

    Raises
    ------
    Unauthorized, Forbidden
    """
    if not key.startswith("bg_") and key.count(".") == 2 and state.tokens is not None:
        return state.tokens.credential(key)
    parts = key.split("_", 2)
    rows = await state.reader.plain(_KEY_SQL, (parts[1],)) if len(parts) == 3 and parts[0] == "bg" and len(key) < 200 and "\x00" not in key else []
    if not rows or not hmac.compare_digest(as_text(rows[0][0]), hash_secret(key)):
        raise Challenged("The access key is not valid.", zh="访问密钥无效。")
    _, role, district, expires = rows[0]
    return Credential(Principal(cast(RoleName, as_text(role)), as_text(district), parts[1]), expires)


async def _session(state: "State", token: str) -> Credential:
    rows = await state.reader.plain(_SESSION_SQL, (hash_secret(token),)) if len(token) < 200 else []
    if not rows:
        raise Challenged("The session has ended; log in again.", zh="会话已结束，请重新登录。", forget=SESSION_COOKIE)
    key_id, role, district, expires = rows[0]
    return Credential(Principal(cast(RoleName, as_text(role)), as_text(district), as_text(key_id)), expires)
