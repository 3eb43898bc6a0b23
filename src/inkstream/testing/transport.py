"""Read a response while the ASGI application sends it, without a server.

``httpx.ASGITransport`` returns the response of a live stream only after the stream has ended.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeAlias

import httpx
from starlette.types import Message, Receive, Scope, Send

# Each framework has its own types for ASGI messages, so a more exact type would not fit them all.
_Application: TypeAlias = Callable[..., Awaitable[None]]

_LEAVE_S = 5.0
"""How many seconds an application may still run after its client has disconnected."""


class StreamingTransport(httpx.AsyncBaseTransport):
    """Let ``httpx.AsyncClient`` call an application, and get a response's pieces as they are sent.

    If the application raises an error, the request or the reading of the response's body raises the
    same error. If the client closes a response early, the application gets a disconnect. The
    transport does not run the application's lifespan, because the fixture ``streams`` already has
    a running instance.

    Example::

        async with httpx.AsyncClient(
            transport=StreamingTransport(app), base_url="http://test"
        ) as http:
            async for item in AsyncReader(http, f"/streams/{stream_id}"):
                ...
    """

    def __init__(self, app: _Application) -> None:
        self._app = app

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Call the application. Return when the application has begun its response."""
        exchange = _Exchange(await request.aread())
        exchange.run(self._app, _scope_of(request))
        try:
            start = await exchange.next()
        except BaseException:
            await exchange.aclose()
            raise
        if start is None:
            raise RuntimeError("the application returned without a response")
        return httpx.Response(start["status"], headers=start.get("headers", []), stream=exchange)


class _Exchange(httpx.AsyncByteStream):
    """One call of the application. This object is also the body of the response."""

    def __init__(self, body: bytes) -> None:
        self._request: list[Message] = [{"type": "http.request", "body": body}]
        self._gone = asyncio.Event()
        self._sent: asyncio.Queue[Message | None] = asyncio.Queue(1)
        self._task: asyncio.Task[None] | None = None

    def run(self, app: _Application, scope: Scope) -> None:
        receive: Receive = self._receive
        send: Send = self._send

        async def call() -> None:
            try:
                await app(scope, receive, send)
            finally:
                if not self._gone.is_set():
                    await self._sent.put(None)

        self._task = asyncio.get_running_loop().create_task(call())

    async def next(self) -> Message | None:
        """Return the next ASGI message; ``None`` when the application has returned."""
        message = await self._sent.get()
        if message is None and self._task is not None:
            await self._task  # raises the application's exception
        return message

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while (message := await self.next()) is not None:
            if body := message.get("body", b""):
                yield body
            if not message.get("more_body", False):
                return

    async def aclose(self) -> None:
        self._gone.set()
        while not self._sent.empty():
            self._sent.get_nowait()
        if self._task is not None and not self._task.done():
            await asyncio.wait([self._task], timeout=_LEAVE_S)
            self._task.cancel()
        if self._task is not None:
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await self._task

    async def _receive(self) -> Message:
        if self._request:
            return self._request.pop()
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        if not self._gone.is_set():
            await self._sent.put(message)


def _scope_of(request: httpx.Request) -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": request.url.scheme,
        "path": request.url.path,
        "raw_path": request.url.raw_path.partition(b"?")[0],
        "query_string": request.url.query,
        "root_path": "",
        "headers": [(name.lower(), value) for name, value in request.headers.raw],
        "client": ("127.0.0.1", 123),
        "server": (request.url.host, request.url.port),
        "state": {},
    }
