"""Calls an ASGI app without a server.

The test decides when ``send`` blocks and when the client leaves.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import unquote

from starlette.types import ASGIApp, Message

from inkstream.facade.lifespan import SystemClock
from tests.http.sse import Heard, Parser

DEADLINE_S = 8.0


class ShiftedClock(SystemClock):
    """The machine's clock, with a monotonic time that is ``ahead_s`` seconds ahead."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead_s


class Call:
    """A request, and the response that has arrived so far.

    Attributes:
        takes: While this event is clear, ``send`` blocks, as for a client that reads nothing.
        finished: Whether the app has sent the last message of the body.
    """

    def __init__(self, app: ASGIApp, scope: dict[str, Any], body: bytes = b"") -> None:
        self._request_body = body
        self.takes = asyncio.Event()
        self.takes.set()
        self.finished = False
        self.messages: list[Message] = []
        self.body = b""
        self.heard = Heard()
        self.parser = Parser()
        self._news = asyncio.Condition()
        self._gone = asyncio.Event()
        self._asked = False
        self.task = asyncio.create_task(self._run(app, scope))

    async def _run(self, app: ASGIApp, scope: dict[str, Any]) -> None:
        try:
            await app(scope, self._receive, self._send)
        finally:
            async with self._news:
                self._news.notify_all()

    async def _receive(self) -> Message:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": self._request_body, "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        await self.takes.wait()
        assert not self.finished, f"sent after the end: {message}"
        async with self._news:
            self.messages.append(message)
            if message["type"] == "http.response.body":
                data = message.get("body", b"")
                self.body += data
                self.finished = not message.get("more_body", False)
                if self.headers.get("content-type") == "text/event-stream":
                    self.hear(data)
            self._news.notify_all()

    def hear(self, data: bytes) -> None:
        for event in self.parser.feed(data):
            self.heard.take(event)

    def disconnect(self) -> None:
        self._gone.set()

    @property
    def status(self) -> int:
        status: int = self.messages[0]["status"]
        return status

    @property
    def headers(self) -> Mapping[str, str]:
        return {k.decode("latin-1"): v.decode("latin-1") for k, v in self.messages[0]["headers"]}

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        assert self.headers["content-type"] == "application/problem+json", self.headers
        document = self.json
        assert document["status"] == self.status
        assert document["title"]
        code: str = document["code"]
        return code

    async def until(self, condition: Any) -> None:
        """Wait until ``condition()`` is true. Fail if the app returns first."""
        async with asyncio.timeout(DEADLINE_S), self._news:
            while not condition():
                assert not self.task.done(), f"the call ended too early: {self.messages}"
                await self._news.wait()

    async def started(self) -> None:
        await self.until(lambda: self.messages)

    async def text(self, expected: str) -> None:
        await self.until(lambda: len(self.heard.text) >= len(expected))
        assert self.heard.text == expected

    async def answered(self) -> Call:
        async with asyncio.timeout(DEADLINE_S):
            await self.task
        return self


def scope_of(
    method: str,
    path: str,
    headers: Mapping[str, str] | None = None,
    root_path: str = "",
    query: str = "",
) -> dict[str, Any]:
    if not query:
        path, _, query = path.partition("?")
    pairs = {"host": "app.example", **(headers or {})}
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": method,
        "scheme": "https",
        "path": unquote(path),
        "raw_path": path.encode(),
        "root_path": root_path,
        "query_string": query.encode(),
        "headers": [(k.lower().encode(), v.encode("latin-1")) for k, v in pairs.items()],
        "client": ("192.0.2.1", 4711),
        "server": ("app.example", 443),
        "state": {},
    }


@asynccontextmanager
async def calling(
    app: ASGIApp,
    path: str,
    *,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    root_path: str = "",
    body: bytes = b"",
) -> AsyncIterator[Call]:
    """Make a request. The client disconnects at the end of the block."""
    call = Call(app, scope_of(method, path, headers, root_path), body)
    try:
        yield call
    finally:
        call.disconnect()
        call.takes.set()
        async with asyncio.timeout(DEADLINE_S):
            await asyncio.gather(call.task, return_exceptions=True)


async def ask(
    app: ASGIApp,
    path: str,
    *,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    root_path: str = "",
) -> Call:
    async with calling(app, path, method=method, headers=headers, root_path=root_path) as call:
        await call.answered()
    return call


class Gate:
    """A source that yields the items that a test passes to ``say``."""

    def __init__(self) -> None:
        self.items: asyncio.Queue[Any] = asyncio.Queue()
        self.calls = 0
        self.closed = asyncio.Event()

    async def __call__(self) -> AsyncIterator[Any]:
        self.calls += 1
        try:
            while (item := await self.items.get()) is not None:
                if isinstance(item, Exception):
                    raise item
                yield item
        finally:
            self.closed.set()

    def say(self, *items: Any) -> None:
        """Let the source yield these items next.

        An item ``None`` ends the source. The source raises an item that is an exception.
        """
        for item in items:
            self.items.put_nowait(item)
