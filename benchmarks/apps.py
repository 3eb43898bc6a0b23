"""The servers that the benchmarks compare.

``static`` and ``archive`` send a stored text. All other servers send streams of tokens. A token
contains the time of its creation, so that a client can compute the token's delay. The generators
begin after the last follower has connected. They begin one after the other, so that not all yield
at the same time.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from sse_starlette import EventSourceResponse
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from inkstream import End, Limits, PersistentTextStreaming, Status, StreamId, Timing
from inkstream.abc import Store
from inkstream.engine.settings import FinerLimits
from inkstream.facade.databases import open_database

_START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"text/event-stream")],
}


@dataclass
class Load:
    """The load of a server, and the time at which the load begins."""

    streams: int = 1
    followers: int = 1
    rate: float = 50.0
    tokens: int = 0
    seconds: float = 3600.0
    go: asyncio.Event = field(default_factory=asyncio.Event)
    began: float = 0.0
    _arrived: int = 0

    def arrive(self) -> None:
        self._arrived += 1
        if self._arrived == self.streams * self.followers:
            self.began = time.monotonic() + 0.2
            self.go.set()

    async def source(self, number: int) -> AsyncIterator[str]:
        """Yield a stream's tokens, each at its time or as soon as possible after that time."""
        await self.go.wait()
        at = self.began + number / self.streams / self.rate
        for i in range(self.tokens):
            wait = at + i / self.rate - time.monotonic()
            if wait > 0:
                await asyncio.sleep(wait)
            now = time.monotonic()
            if now > self.began + self.seconds:
                return
            yield f"{now:.6f} "


def raw(load: Load) -> ASGIApp:
    """Store nothing, and call ``send`` once for each token, directly from the generator."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await lifespan(receive, send)
            return
        load.arrive()
        await send(_START)
        async for token in load.source(number_of(scope)):
            body = b'data: "%b"\n\n' % token.encode()
            await send({"type": "http.response.body", "body": body, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    return app


def starlette(load: Load) -> ASGIApp:
    """Return a ``StreamingResponse`` over the generator, as many applications do."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await lifespan(receive, send)
            return

        async def body() -> AsyncIterator[str]:
            async for token in load.source(number_of(scope)):
                yield f'data: "{token}"\n\n'

        load.arrive()
        response = StreamingResponse(body(), media_type="text/event-stream")
        await response(scope, receive, send)

    return app


def sse_starlette(load: Load) -> ASGIApp:

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await lifespan(receive, send)
            return

        async def body() -> AsyncIterator[dict[str, str]]:
            async for token in load.source(number_of(scope)):
                yield {"data": f'"{token}"'}

        load.arrive()
        await EventSourceResponse(body())(scope, receive, send)

    return app


def queues(load: Load) -> ASGIApp:
    """Broadcast in the usual way: one queue per follower, and nothing is stored."""
    followers: dict[int, list[asyncio.Queue[str | None]]] = {}
    tasks: set[asyncio.Task[None]] = set()

    async def pump(number: int) -> None:
        async for token in load.source(number):
            for queue in followers[number]:
                queue.put_nowait(token)
        for queue in followers[number]:
            queue.put_nowait(None)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await lifespan(receive, send)
            return
        number = number_of(scope)
        if number not in followers:
            followers[number] = []
            tasks.add(asyncio.create_task(pump(number)))
        queue: asyncio.Queue[str | None] = asyncio.Queue()
        followers[number].append(queue)

        async def body() -> AsyncIterator[str]:
            while (token := await queue.get()) is not None:
                yield f'data: "{token}"\n\n'

        load.arrive()
        response = StreamingResponse(body(), media_type="text/event-stream")
        await response(scope, receive, send)

    return app


class TimedStore:
    """Pass every call to a store, and record when each commit began and returned."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.commits: list[tuple[float, float]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def commit(self, groups: Any, *, connection: object | None = None) -> Any:
        began = time.monotonic()
        outcomes = await self._store.commit(groups, connection=connection)
        self.commits.append((began, time.monotonic()))
        return outcomes


def inkstream(
    load: Load, database: str, window_s: float | None = None, tail_bytes: int | None = None
) -> ASGIApp:
    """Store each token before a client gets the token.

    ``GET /{n}`` follows a stream. ``GET /commits`` returns the times at which each commit began and
    returned. If ``window_s`` is given, at least that many seconds pass between two commits.
    Otherwise inkstream itself chooses this time, which grows under load.
    """
    timing = Timing() if window_s is None else Timing(latency_window_s=window_s)
    limits = Limits() if tail_bytes is None else FinerLimits(tail_bytes=tail_bytes)
    store, notifier = open_database(database)
    timed = TimedStore(store)
    streams = PersistentTextStreaming((timed, notifier), limits=limits, timing=timing)
    ids = [StreamId.generate() for _ in range(load.streams)]

    async def begin() -> None:
        for number, stream_id in enumerate(ids):
            await streams.create(stream_id=stream_id)
            streams.start(stream_id, lambda number=number: load.source(number))

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            async with contextlib.AsyncExitStack() as stack:

                async def start() -> None:
                    await stack.enter_async_context(streams)
                    await begin()

                await lifespan(receive, send, start)
            return
        if scope["path"] == "/commits":
            lines = "".join(f"{a:.6f} {b:.6f}\n" for a, b in timed.commits)
            await send(_START)
            await send({"type": "http.response.body", "body": lines.encode()})
            return
        load.arrive()
        response = streams.response(Request(scope, receive), ids[number_of(scope)])
        await response(scope, receive, send)

    return app


def static(load: Load, size: int) -> ASGIApp:
    """Send a finished text as one body from memory, for comparison with ``archive``."""
    text = _prose(size)
    frames = b"".join(
        b'data: "%b"\n\n' % text[at : at + 65536].encode() for at in range(0, size, 65536)
    )

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await lifespan(receive, send)
            return
        await Response(frames, media_type="text/event-stream")(scope, receive, send)

    return app


def archive(load: Load, database: str, size: int) -> ASGIApp:
    """Serve a text of one size twice: as an ended stream, ``/0``, and as a live stream, ``/1``.

    The segments of ``/0`` are merged. ``/ready`` answers when both streams have all their text.
    """
    streams = PersistentTextStreaming(database)
    text = _prose(size)
    ids = [StreamId.generate(), StreamId.generate()]
    ready = asyncio.Event()

    async def fill() -> None:
        for number, stream_id in enumerate(ids):
            await streams.create(stream_id=stream_id)
            writer = await streams.engine.claims.claim(stream_id)
            for at in range(0, size, 1024):
                await writer.append(text[at : at + 1024])
                await writer.flush()
            if number == 0:
                await streams.engine.writers.finish(writer, End(Status.DONE))
        while await streams.engine.store.tidy(0.0, 1 << 20):
            pass
        ready.set()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            async with contextlib.AsyncExitStack() as stack:

                async def start() -> None:
                    await stack.enter_async_context(streams)
                    await fill()

                await lifespan(receive, send, start)
            return
        if scope["path"] == "/ready":
            await ready.wait()
            await Response(b"ready")(scope, receive, send)
            return
        response = streams.response(Request(scope, receive), ids[number_of(scope)])
        await response(scope, receive, send)

    return app


def _prose(size: int) -> str:
    return ("the quick brown fox jumps over the lazy dog " * (size // 44 + 1))[:size]


def number_of(scope: Scope) -> int:
    return int(scope["path"][1:])


async def lifespan(receive: Receive, send: Send, start: Any = None) -> None:
    await receive()
    if start is not None:
        await start()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})
