"""Sessions of browsers: a key or token is given once and a cookie comes back, which no script can read.

``POST /portal/login`` with ``{"key": "…"}`` → cookie; ``GET /portal/session`` → who one is, and the CSRF value; ``POST /portal/logout``.
"""

import secrets
import time
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from api.access import SESSION_COOKIE, check_csrf, credential_of_key, csrf_of, hash_secret, principal_of
from api.asking import language, reject_unknown
from api.problems import Challenged, problem
from api.state import State
from gis.errors import Forbidden, InputError

__all__ = ["session_routes"]

_BODY_MAX = 20_000
_PLAIN = {"Cache-Control": "no-store"}
_ADD = (
    "WITH gone AS (DELETE FROM baige_sys.session WHERE expires_at < now())"
    " INSERT INTO baige_sys.session (token_sha256, key_id, role, district, issuer, expires_at) VALUES (%s, %s, %s, %s, %s, to_timestamp(%s))"
    " RETURNING 1"
)


def _cookie(state: State, value: str, *, age_s: int) -> str:
    secure = "; Secure" if state.serve.base_url.startswith("https:") else ""
    return f"{SESSION_COOKIE}={value}; Path=/; Max-Age={age_s}; HttpOnly; SameSite=Strict{secure}"


def _described(role: str, district: str, token: str, expires: float) -> dict[str, Any]:
    ends = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(expires))
    return {"authenticated": True, "role": role, "district": district, "csrf": csrf_of(token), "expires": ends}


def _same_site(request: Request) -> None:
    """Refuse a log-in that another site makes a browser send."""
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise Forbidden("Log in from the portal itself.", zh="请在门户页面登录。")


async def _login(request: Request) -> Response:
    """Take a key, make a session, answer with its cookie."""
    state: State = request.app.state.baige
    reject_unknown(request.query_params, ("lang",))
    _same_site(request)
    if request.headers.get("content-type", "").split(";")[0].strip().lower() != "application/json":
        # what a form of another site cannot send
        return problem(415, "Content-Type: application/json", lang=language(request.query_params, request.headers))
    data = await request.body()
    try:
        body = orjson.loads(data[:_BODY_MAX])
        key = body["key"]
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise InputError('The body is {"key": "…"}.', zh='请求体应为 {"key": "…"}。') from error
    if not isinstance(key, str):
        raise InputError('The body is {"key": "…"}.', zh='请求体应为 {"key": "…"}。')
    credential = await credential_of_key(state, key.strip())
    token = secrets.token_urlsafe(32)
    expires = time.time() + state.serve.session_hours * 3600
    if credential.expires is not None:
        expires = min(expires, credential.expires)
    who = credential.principal
    await state.reader.plain(_ADD, (hash_secret(token), who.key_id, who.role, who.district, credential.issuer, expires))
    headers = {**_PLAIN, "Set-Cookie": _cookie(state, token, age_s=max(1, int(expires - time.time())))}
    return Response(orjson.dumps(_described(who.role, who.district, token, expires)), headers=headers, media_type="application/json")


async def _session(request: Request) -> Response:
    """Who the browser is to us; never an error, so that the portal can ask first."""
    state: State = request.app.state.baige
    reject_unknown(request.query_params, ("lang",))
    token = request.cookies.get(SESSION_COOKIE)
    headers = dict(_PLAIN)
    if token:
        try:
            who = await principal_of(request)
        except Challenged:
            headers["Set-Cookie"] = _cookie(state, "", age_s=0)
        else:
            rows = await state.reader.plain("SELECT extract(epoch from expires_at)::float8 FROM baige_sys.session WHERE token_sha256 = %s",
                                            (hash_secret(token),))  # fmt: skip
            if rows:
                return Response(orjson.dumps(_described(who.role, who.district, token, rows[0][0])), headers=headers, media_type="application/json")
    body = {"authenticated": False, "role": state.serve.anonymous_role, "district": state.serve.anonymous_district}
    return Response(orjson.dumps(body), headers=headers, media_type="application/json")


async def _logout(request: Request) -> Response:
    """End the session, here and in the browser."""
    state: State = request.app.state.baige
    reject_unknown(request.query_params, ("lang",))
    token = request.cookies.get(SESSION_COOKIE, "")
    if token:
        check_csrf(request, token)
        await state.reader.plain("DELETE FROM baige_sys.session WHERE token_sha256 = %s RETURNING 1", (hash_secret(token),))
    return Response(status_code=204, headers={**_PLAIN, "Set-Cookie": _cookie(state, "", age_s=0)})


def session_routes() -> list[BaseRoute]:
    """Routes that must stand before the portal's static files."""
    return [
        Route("/portal/login", _login, methods=["POST"]),
        Route("/portal/session", _session, methods=["GET"]),
        Route("/portal/logout", _logout, methods=["POST"]),
    ]
