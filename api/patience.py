"""How long the server waits for a slow client: for the head of a request, for its body, and for its taking of the answer."""

import asyncio

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

__all__ = ["HEAD_S", "Patience", "PatientProtocol"]

#: Seconds from the opening of a connection, or the first byte of a further request, to the end of its head.
HEAD_S = 20.0


class PatientProtocol(HttpToolsProtocol):
    """The server's HTTP, which by itself would wait for the head of a request for ever; many such connections are an attack (slowloris)."""

    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has come."""
        super().connection_made(transport)
        self._await_head()

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        super().on_message_begin()
        self.scope["baige.transport"] = self.transport  # type: ignore[typeddict-unknown-key]
        if self._head_timer is None:
            self._await_head()

    def on_headers_complete(self) -> None:
        """The head is there."""
        self._head_came()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone."""
        self._head_came()
        super().connection_lost(exc)

    def _await_head(self) -> None:
        self._head_timer = self.loop.call_later(HEAD_S, self.timeout_keep_alive_handler)

    def _head_came(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


class Patience:
    """ASGI middleware: 408 for a body that does not come, and an end to an answer that is not taken.

    Both would hold memory, and an answer that is streamed a database connection.

    Parameters
    ----------
    body_s : float
        Seconds for the next part of a body.
    take_s : float
        Seconds for the client to take a part of the answer.
    """

    def __init__(self, app: ASGIApp, *, body_s: float, take_s: float) -> None:
        self.app, self.body_s, self.take_s = app, body_s, take_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, within time."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        whole = False

        async def received() -> Message:
            nonlocal whole
            if whole:  # what is waited for now is the client's leaving
                return await receive()
            try:
                async with asyncio.timeout(self.body_s):
                    message = await receive()
            except TimeoutError as error:
                raise HTTPException(408, headers={"Connection": "close"}) from error
            whole = not message.get("more_body", False)
            return message

        async def sent(message: Message) -> None:
            try:
                async with asyncio.timeout(self.take_s):
                    await send(message)
            except TimeoutError as error:
                transport: asyncio.Transport | None = scope.get("baige.transport")
                if transport is not None:
                    transport.abort()
                raise ClientDisconnect from error

        await self.app(scope, received, sent)
