"""The map pages of ``baige map build`` under ``/maps``: to whom they may be shown, by what they were drawn from."""

import json
import logging
from pathlib import Path

from starlette.requests import Request
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

from api.access import principal_of
from gis.errors import Forbidden, NotFound, Unauthorized
from maps.gallery import ACCESS_FILE

__all__ = ["Gallery"]

log = logging.getLogger("baige.api")

_STAFF = {"officer", "planner", "admin"}


class Gallery:
    """Serves a folder of pages. Pages drawn with a planner's rights show the whole city: a key for one district does not open them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files = StaticFiles(directory=folder, html=True, check_dir=False)

    def _public(self) -> frozenset[str]:
        try:
            told = json.loads((self.folder / ACCESS_FILE).read_text(encoding="utf-8"))
            return frozenset(told["files"]) if told["role"] == "public" else frozenset()
        except FileNotFoundError:
            return frozenset()
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("%s cannot be read (%s): the maps are for staff only", ACCESS_FILE, type(error).__name__)
            return frozenset()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request for a page, where the asker may see it."""
        request = Request(scope, receive)
        name = self.files.get_path(scope)
        name = "index.html" if name in ("", ".") else name
        if name == ACCESS_FILE:
            raise NotFound("There is nothing at this address.", zh="此地址没有内容。")
        if name not in self._public():
            principal = await principal_of(request)
            if principal.role not in _STAFF or (principal.district and principal.role != "admin"):
                if not principal.key_id:
                    raise Unauthorized("These maps need an access key.", zh="查看这些地图需要访问密钥。")
                raise Forbidden("These maps show the whole city; the key is for less.", zh="这些地图涉及全市，超出此密钥的范围。")
        await self.files(scope, receive, send)
