"""What all routes share: settings, database access, catalogue, counters, and who is asking."""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response

from api.audit import Reads
from api.crs import ApiCRS, layer_crs
from api.limits import Limits
from api.live import Counters, LiveCatalogue
from api.reader import Reader
from api.settings import ServeSettings
from gis.errors import Cancelled
from gis.settings import CityConfig, Settings
from layers.access import Principal
from layers.database import Database
from layers.query.source import Source

if TYPE_CHECKING:
    from api.access import Credential
    from api.tile_store import TileStore
    from api.tokens import Tokens

__all__ = ["ClientLeft", "Recent", "State", "etag_of", "matches", "scope_of", "while_connected"]


class ClientLeft(Cancelled):
    """The client closed the connection; nobody waits for the answer."""


class Recent(OrderedDict[Any, Any]):
    """The values used last, up to a number of them or of bytes."""

    def __init__(self, *, count: int = 0, size: int = 0) -> None:
        super().__init__()
        self._count, self._size, self._used = count, size, 0

    def recall(self, key: Any) -> Any:
        """The value of a key, or None."""
        value = self.get(key)
        if value is not None:
            self.move_to_end(key)
        return value

    def keep(self, key: Any, value: Any) -> None:
        """Keep a value, forgetting those not used for longest."""
        old = self.pop(key, None)
        if self._size:
            self._used += len(value) - (len(old) if old is not None else 0)
        self[key] = value
        while self and ((self._count and len(self) > self._count) or (self._size and self._used > self._size)):
            _, gone = self.popitem(last=False)
            if self._size:
                self._used -= len(gone)


@dataclass
class State:
    """Made once in each server process."""

    settings: Settings
    serve: ServeSettings
    city: CityConfig
    database: Database
    reader: Reader
    catalogue: LiveCatalogue
    counters: Counters
    counts: Recent = field(default_factory=lambda: Recent(count=4096))
    extents: dict[Any, Any] = field(default_factory=dict)
    pages: Recent = field(default_factory=lambda: Recent(count=512))
    tiles: Recent = field(default_factory=Recent)
    reads: Reads = field(init=False)
    limits: Limits = field(init=False)
    tokens: "Tokens | None" = None
    tile_files: "TileStore | None" = None
    credentials: dict[str, "tuple[int, Credential]"] = field(default_factory=dict)
    counting: dict[Any, "asyncio.Task[int | None]"] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.reads = Reads(self.reader, self.database)
        self.limits = Limits(self.reader, rate_per_s=self.serve.key_rate_per_s, burst=self.serve.key_burst, per_day=self.serve.key_per_day)

    def crs(self, source: Source) -> dict[str, ApiCRS]:
        """Reference systems offered for a layer."""
        return layer_crs(source.srid, self.city.analysis_srid)


def scope_of(principal: Principal) -> str:
    """What a principal may see, as a key of caches."""
    return f"{principal.role}:{principal.district}"


def etag_of(*parts: object) -> str:
    """A weak entity tag of whatever the answer hangs on."""
    return f'W/"{hashlib.blake2b(repr(parts).encode(), digest_size=12).hexdigest()}"'


def matches(request: Request, etag: str) -> bool:
    """Whether ``If-None-Match`` of the request names the tag (weak comparison, RFC 9110)."""
    header = request.headers.get("if-none-match")
    if not header:
        return False
    plain = etag.removeprefix("W/")
    return header.strip() == "*" or any(part.strip().removeprefix("W/") == plain for part in header.split(","))


def not_modified(etag: str, headers: dict[str, str]) -> Response:
    """304."""
    return Response(status_code=304, headers={"ETag": etag, **headers})


async def while_connected[T](request: Request, work: Awaitable[T]) -> T:
    """Do the work; stop it when the client leaves. Work that is done at once is not watched.

    Raises
    ------
    ClientLeft
        The client closed the connection first; the work was cancelled, and with it its statement in the database.
    """
    task = asyncio.ensure_future(work)
    done, _ = await asyncio.wait({task}, timeout=0.1)
    if done:
        return task.result()

    async def left() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    watcher = asyncio.create_task(left())
    try:
        await asyncio.wait({task, watcher}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientLeft("The client left.", zh="客户端已断开。")
        return task.result()
    finally:
        watcher.cancel()
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
