"""Live reads: long-poll and server-sent events, each with a reader of the engine."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from starlette.types import Receive, Scope, Send

from inkstream import wire
from inkstream._errors import InkstreamError, StreamNotFound
from inkstream._types import Segment, StreamState
from inkstream.abc import Clock
from inkstream.durable.reading import Chunk, Events, in_turns, next_cursor
from inkstream.durable.renewal import Renewal
from inkstream.engine.engine import Engine
from inkstream.engine.reader import Reader, ReaderSentAway
from inkstream.http.asgi import response_body, response_start
from inkstream.http.connection import ClientGone, Connection, HTTPSettings
from inkstream.http.lifetime import jittered
from inkstream.wire import Offset


@dataclass(frozen=True, slots=True)
class LiveRead:
    """A live read, after the permission check.

    Attributes:
        state: The stream's state when the request arrived.
        position: The position at which the read starts.
        end_seen: Whether the client sent the offset after the stream's end.
        cursor: The protocol's cursor that the client sent; see ``next_cursor``.
    """

    state: StreamState
    position: int
    end_seen: bool
    cursor: int | None
    renewal: Renewal
    headers: dict[str, str]


async def open_reader(engine: Engine, read: LiveRead) -> Reader:
    """Return a reader for a live read.

    Raises:
        StreamNotFound: Since the permission check, the stream was deleted or replaced.
        OffsetGone, TooManyReaders, StoreUnavailable, ShuttingDown
    """
    state = read.state
    reader = await engine.readers.open(state.stream_id, Offset.at(state, read.position))
    if reader.tail.internal_id != state.internal_id:
        reader.close()
        raise StreamNotFound(state.stream_id)
    return reader


def _chunk(
    read: LiveRead, reader: Reader, start: int, position: int, segments: list[Segment]
) -> Chunk:
    tail = reader.tail
    at_tail = position >= tail.position
    return Chunk(
        reader.state,
        start,
        tuple(segments),
        position,
        at_tail,
        tail.end if at_tail else None,
        read.end_seen,
    )


def _wake_s(state: StreamState, wait_s: float) -> float:
    """Return how many seconds, up to ``wait_s``, a wait may last before it renews the expiry."""
    return wait_s if state.ttl_s is None else min(wait_s, max(state.ttl_s / 2, 0.25))


class LongPoll:
    """Answer with the next messages, or with 204 if no message has come within ``wait_s``.

    If the stream's ``ttl_s`` is short, the wait is shorter than ``wait_s``, because the next
    request must renew the expiry in time.
    """

    def __init__(
        self, engine: Engine, read: LiveRead, settings: HTTPSettings, wait_s: float
    ) -> None:
        self._engine = engine
        self._read = read
        self._settings = settings
        self._wait_s = wait_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response. The errors of ``open_reader`` are raised before anything is sent."""
        engine, read = self._engine, self._read
        reader = await open_reader(engine, read)
        async with Connection(receive, send, reader, engine.clock, self._settings) as connection:
            segments = await self._next(reader)
            if connection.gone:
                return
            parts = in_turns(read.state, read.position, reader.position, segments)
            chunk = _chunk(read, reader, *next(parts))
            headers = chunk.headers() | read.headers | {"cache-control": "no-store"}
            if chunk.end is None:
                headers["stream-cursor"] = next_cursor(engine.clock.wall(), read.cursor)
            body = b""
            if chunk.is_empty:
                del headers["content-type"]
            else:
                body = chunk.body()
                headers["etag"] = chunk.etag()
                headers["content-length"] = str(len(body))
            try:
                await connection.send(response_start(204 if chunk.is_empty else 200, headers))
                await connection.send(response_body(body, more=False))
            except ClientGone:
                pass

    async def _next(self, reader: Reader) -> list[Segment]:
        clock = self._engine.clock
        until = clock.monotonic() + _wake_s(self._read.state, self._wait_s)
        try:
            while clock.monotonic() < until:
                reader.alarm_at = until
                segments = await reader.segments()
                if segments or reader.end is not None:
                    return segments
        except ReaderSentAway:
            pass  # send the same response as after ``wait_s``, so that the client asks again
        return []


class EventStream:
    """Send messages after a position as events, for about ``live_s`` or until the stream ends."""

    def __init__(
        self, engine: Engine, read: LiveRead, settings: HTTPSettings, live_s: float
    ) -> None:
        self._engine = engine
        self._read = read
        self._settings = settings
        self._until = engine.clock.monotonic() + jittered(live_s)
        self._events = Events(read.state)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response. The errors of ``open_reader`` are raised before anything is sent."""
        reader = await open_reader(self._engine, self._read)
        headers = {
            **self._read.headers,
            "content-type": "text/event-stream",
            "cache-control": "private, no-cache, no-transform",
            "x-accel-buffering": "no",
        }
        if self._events.is_base64:
            headers["stream-sse-data-encoding"] = "base64"
        async with Connection(
            receive, send, reader, self._engine.clock, self._settings
        ) as connection:
            try:
                await connection.send(response_start(200, headers))
                await self._run(reader, connection)
                await connection.send(response_body(b"", more=False))
            except ClientGone:
                pass

    async def _run(self, reader: Reader, connection: Connection) -> None:
        clock: Clock = self._engine.clock
        # If the client already has all messages, send ``upToDate`` now. Otherwise the client would
        # not know that it has all messages until the next message arrives.
        if reader.position >= reader.tail.position and reader.tail.end is None:
            await connection.send(
                response_body(self._frames(reader, reader.position, reader.position, []))
            )
        sent_at = clock.monotonic()
        try:
            while clock.monotonic() < self._until:
                reader.alarm_at = min(reader.alarm_at, self._until, self._renew_at())
                start = reader.position
                segments = await reader.segments()
                if segments or reader.end is not None:
                    for part in in_turns(self._read.state, start, reader.position, segments):
                        await connection.send(response_body(self._frames(reader, *part)))
                        await asyncio.sleep(0)
                    sent_at = clock.monotonic()
                elif clock.monotonic() - sent_at >= self._settings.ping_s:
                    await connection.send(response_body(wire.PING))
                    sent_at = clock.monotonic()
                if reader.tail.end is not None and reader.position >= reader.tail.position:
                    return
                await self._read.renewal.touch()
        except (ReaderSentAway, InkstreamError):
            pass  # the client got no streamClosed, so it reconnects

    def _renew_at(self) -> float:
        return self._engine.clock.monotonic() + _wake_s(self._read.state, self._settings.ping_s)

    def _frames(self, reader: Reader, start: int, position: int, segments: list[Segment]) -> bytes:
        chunk = _chunk(self._read, reader, start, position, segments)
        data = self._events.data(chunk)
        cursor = next_cursor(self._engine.clock.wall(), self._read.cursor)
        return data + self._events.control(chunk, cursor)
