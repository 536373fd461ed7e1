"""Reads of restricted layers, noted in the audit: gathered while requests run, written once every half second.

Changes need nothing here: their entry is written in the transaction of the change itself (`layers/sql/audit.sql`).
"""

import asyncio
import datetime as dt
import logging
import re
from collections import deque
from collections.abc import Mapping
from typing import Any

import orjson

from api.reader import Reader
from gis.errors import BackendError
from layers.access import Principal
from layers.database import Database
from layers.declaration import LayerDeclaration

__all__ = ["Reads"]

log = logging.getLogger("baige.audit")

_EVERY_S = 0.5
#: Rounds after which the chain is sealed though nothing was read: changes that others were sealing may wait.
_SEAL_ROUNDS = 10
_KEPT_MOST = 100_000


class Reads:
    """Notes who read restricted layers.

    What a reading touches is taken from its SQL, so that no route can forget it; routes add only what they answer from memory.
    """

    def __init__(self, reader: Reader, database: Database) -> None:
        self._reader, self._database = reader, database
        self._names: re.Pattern[str] | None = None
        self._waiting: deque[dict[str, Any]] = deque()  # threads add to it
        self._task: asyncio.Task[None] | None = None
        self._rounds = 0

    def watch(self, layers: Mapping[str, LayerDeclaration]) -> None:
        """Take the restricted ones of these layers for those to be watched."""
        names = [name for name, layer in layers.items() if layer.classification == "restricted"]
        self._names = re.compile(rf'\bbaige(?:_history)?\."?({"|".join(map(re.escape, sorted(names)))})\b') if names else None

    def start(self) -> None:
        """Begin to write in the background, and be told of each reading."""
        self._reader.on_read = self._database.on_read = self.seen
        self._task = asyncio.create_task(self._follow())

    async def stop(self) -> None:
        """Write what is left."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._write()

    def seen(self, principal: Principal, sql: str, rows: int | None) -> None:
        """A statement was answered for the holder of a key."""
        if self._names is None:
            return
        for layer in set(self._names.findall(sql)):
            self.note(principal, layer, rows=rows)

    def note(self, principal: Principal, layer: str, *, rows: int | None = None) -> None:
        """Note a reading of a layer, where it is restricted; ``rows`` is None where they were not counted."""
        if self._names is None or not principal.key_id or self._names.fullmatch(f"baige.{layer}") is None:
            return
        detail: dict[str, Any] = {"asked": principal.asked}
        if rows is not None:
            detail["rows"] = rows
        self._waiting.append(
            {
                "at": dt.datetime.now(dt.UTC).isoformat(), "layer": layer, "actor": principal.key_id, "role": principal.role,
                "district": principal.district, "request_id": principal.request_id, "detail": detail,
            }
        )  # fmt: skip

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(_EVERY_S)
            await self._write()

    async def _write(self) -> None:
        self._rounds += 1
        if not self._waiting and self._rounds % _SEAL_ROUNDS:
            return
        batch = [self._waiting.popleft() for _ in range(len(self._waiting))]
        try:
            await self._reader.plain("SELECT baige_sys.audit_reads(%s::jsonb)", (orjson.dumps(batch).decode(),))
        except BackendError as error:
            self._waiting.extendleft(reversed(batch))
            log.warning("%d reads wait for the audit: %s", len(self._waiting), error.message)
            if len(self._waiting) > _KEPT_MOST:
                while self._waiting:
                    log.error("read not in the audit: %s", orjson.dumps(self._waiting.popleft()).decode())
