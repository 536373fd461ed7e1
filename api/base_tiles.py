"""A base map of another service, handed on: the key stays on the server, and only what the operator configured is ever asked."""

import asyncio
import urllib.error
import urllib.request
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from api.access import principal_of
from api.asking import reject_unknown
from api.state import State
from gis.errors import DatabaseUnavailable, InputError, NotFound

__all__ = ["get_base_tile"]

_MOST = 4_000_000
_TIMEOUT_S = 10.0
_ZOOM_MAX = 18


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        """None: an answer that leads elsewhere is not followed."""


_OPENER = urllib.request.build_opener(_NoRedirect)


async def get_base_tile(request: Request) -> Response:
    """A tile of the configured service (``BAIGE_SERVE_BASE_TILES``); 404 where there is none."""
    state: State = request.app.state.baige
    reject_unknown(request.query_params, ())
    await principal_of(request)
    template = state.serve.base_tiles.get_secret_value()
    if not template:
        raise NotFound("No base map of another service is configured.", zh="未配置外部底图。")
    try:
        z, y, x = (int(request.path_params[name]) for name in "zyx")
    except ValueError as error:
        raise InputError("z, y, x: whole numbers.", zh="z、y、x 应为整数。") from error
    if not (0 <= z <= _ZOOM_MAX and 0 <= x < 2**z and 0 <= y < 2**z):
        raise NotFound("There is no such tile.", zh="没有此瓦片。")
    url = template.replace("{z}", str(z)).replace("{y}", str(y)).replace("{x}", str(x))
    body, media = await asyncio.to_thread(_fetch, url)
    return Response(body, headers={"Cache-Control": "private, max-age=86400"}, media_type=media)


def _fetch(url: str) -> tuple[bytes, str]:
    try:
        with _OPENER.open(urllib.request.Request(url, headers={"User-Agent": "Baige"}), timeout=_TIMEOUT_S) as answer:
            media = answer.headers.get_content_type()
            body = answer.read(_MOST + 1)
    except (urllib.error.URLError, OSError, ValueError) as error:
        # the address bears the key: nothing of it is said
        raise DatabaseUnavailable("The base map's service does not answer.", zh="外部底图服务没有应答。") from error
    if not media.startswith("image/") or media == "image/svg+xml" or len(body) > _MOST:
        raise DatabaseUnavailable("The base map's service gave no picture.", zh="外部底图服务返回的不是图片。")
    return body, media
