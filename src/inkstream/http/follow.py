"""The response that follows a stream: as events, as text, or as one JSON snapshot."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from starlette.background import BackgroundTask
from starlette.datastructures import MutableHeaders
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from inkstream import wire
from inkstream._errors import InkstreamError, OffsetGone, StreamNotFound
from inkstream._types import Page, Status, StreamId, StreamState
from inkstream.engine.engine import Engine
from inkstream.engine.reader import Reader, ReaderCut
from inkstream.http.connection import ClientGone, Connection
from inkstream.http.problems import Problem, problem_for
from inkstream.wire import Offset

FORMATS: Final = {
    "events": "text/event-stream",
    "json": "application/json",
    "text": "text/plain",
}

ABSENT_WAIT_S: Final = 1.0
"""How long an unknown id is waited for: the application's transaction may be about to commit."""

Allow = Callable[[StreamState], Awaitable[bool]]


@dataclass(frozen=True, slots=True, kw_only=True)
class HTTPSettings:
    """How connections are kept, in seconds.

    Attributes:
        ping_s: A comment is sent after so long without anything else; proxies cut silent ones.
        send_timeout_s: A client that takes nothing for so long is given up.
        retry_s: What a browser's ``EventSource`` is told to wait before it reconnects.
    """

    ping_s: float = 15.0
    send_timeout_s: float = 30.0
    retry_s: float = 1.0


class StreamResponse(Response):
    """Follow a stream from the request's offset to its end; made by ``streams.response``.

    A Starlette response: headers may be set and cookies added before it is returned. As
    ``response_class`` of a FastAPI route it documents the media type.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        content: Any = None,
        status_code: int = 200,
        headers: Mapping[str, str] | None = None,
        media_type: str | None = None,
        background: BackgroundTask | None = None,
        *,
        engine: Engine | None = None,
        stream_id: StreamId | None = None,
        request: Request | None = None,
        settings: HTTPSettings | None = None,
        format: str | None = None,  # noqa: A002 - the word on the wire
        allow: Allow | None = None,
        started: Awaitable[object] | None = None,
        problem: Problem | None = None,
    ) -> None:
        if problem is None and (engine is None or stream_id is None or request is None):
            raise TypeError(
                "a StreamResponse is made by streams.response(request, id) or "
                "streams.stream(request, id, source): return what they return"
            )
        super().__init__(None, status_code, headers, media_type, background)
        del self.headers["content-type"]
        self._engine = engine
        self._stream_id = stream_id
        self._request = request
        self._settings = settings or HTTPSettings()
        self._format = format
        self._allow = allow
        self._started = started
        self._problem = problem

    def init_headers(self, headers: Mapping[str, str] | None = None) -> None:
        """Set the application's headers; those of the answer itself are set when it is known."""
        super().init_headers(headers)
        if "content-length" in self.headers:
            del self.headers["content-length"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request."""
        if self._problem is not None:
            await self._refuse(self._problem, scope, receive, send)
            return
        try:
            await self._answer(scope, receive, send)
        except InkstreamError as exc:
            await self._refuse(problem_for(exc), scope, receive, send)
        if self.background is not None:
            await self.background()

    async def _refuse(self, problem: Problem, scope: Scope, receive: Receive, send: Send) -> None:
        for name, value in self.headers.items():
            problem.headers.setdefault(name, value)
        await problem(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert self._engine is not None and self._request is not None
        name = choose_format(self._request, self._format)
        if name is None:
            await self._refuse(
                Problem(
                    406,
                    "not_acceptable",
                    "This stream is served as text/event-stream, application/json or text/plain: "
                    "accept one of them, or name it: ?format=events, json or text.",
                ),
                scope,
                receive,
                send,
            )
            return
        if name == "text" and _ends_are_hidden(scope, send):
            await self._refuse(
                Problem(
                    406,
                    "not_acceptable",
                    "A middleware built on BaseHTTPMiddleware would turn the broken end of a failed "
                    "stream into a clean one, so plain text is not served here: use ?format=events, "
                    "or make that middleware a pure ASGI one.",
                ),
                scope,
                receive,
                send,
            )
            return
        if self._started is not None:
            await self._started
        offset = self._request.headers.get("last-event-id") or self._request.query_params.get(
            "offset"
        )
        if name == "json":
            await self._send_snapshot(offset, scope, receive, send)
            return
        reader = await self._open(offset)
        if reader.tail.end is not None and offset == str(
            Offset(reader.tail.internal_id, reader.tail.position, ended=True)
        ):
            # Whoever has seen the end is told in the way that stops an EventSource for good.
            reader.close()
            await Response(status_code=204, headers=dict(self.headers))(scope, receive, send)
            return
        if scope["method"] == "HEAD":
            reader.close()
            await send(self._start(name))
            await send({"type": "http.response.body", "body": b""})
            return
        async with Connection(
            receive,
            send,
            reader,
            self._engine.clock,
            self._settings.ping_s,
            self._settings.send_timeout_s,
        ) as connection:
            try:
                if name == "events":
                    await self._send_events(reader, connection)
                else:
                    await self._send_text(reader, connection)
            except (ClientGone, ReaderCut, InkstreamError):
                # Left without the last chunk, so that the client sees a broken connection, and
                # reconnects: an end that is not the stream's end must not look like one.
                if name == "events" and not connection.gone:
                    await _finish(connection)

    async def _open(self, offset: str | None) -> Reader:
        assert self._engine is not None and self._stream_id is not None
        engine, stream_id = self._engine, self._stream_id
        if offset is not None and offset != "now":
            Offset.parse(offset)  # a malformed one is refused at once, found or not
        state = await self._authorised(engine, stream_id)
        reader = await engine.open_reader(stream_id, offset)
        if reader.tail.internal_id != state.internal_id:
            reader.close()  # created anew since it was authorised, perhaps by somebody else
            raise StreamNotFound(stream_id)
        return reader

    async def _authorised(self, engine: Engine, stream_id: StreamId) -> StreamState:
        """Return the state of a stream that this caller may read; wait a little for a new one."""
        denied = False
        until = engine.clock.monotonic() + ABSENT_WAIT_S
        pause = 0.02
        while True:
            try:
                state = await engine.state(stream_id)
            except StreamNotFound:
                pass
            else:
                if self._allow is None or (not denied and await self._allow(state)):
                    return state
                # A denied stream must look like an absent one, in time too.
                denied = True
            left = until - engine.clock.monotonic()
            if left <= 0:
                raise StreamNotFound(stream_id)
            await asyncio.sleep(min(pause, left))
            pause = min(pause * 2, 0.2)

    def _start(self, name: str) -> Message:
        headers = MutableHeaders(raw=list(self.raw_headers))
        media_type = FORMATS[name]
        headers["content-type"] = media_type + ("; charset=utf-8" if name == "text" else "")
        headers.setdefault("cache-control", "no-cache, no-transform")
        headers.setdefault("x-accel-buffering", "no")
        headers.setdefault("x-content-type-options", "nosniff")
        return {"type": "http.response.start", "status": self.status_code, "headers": headers.raw}

    async def _send_events(self, reader: Reader, connection: Connection) -> None:
        await connection.send(self._start("events"))
        retry = b"retry: %d\n" % round(self._settings.retry_s * 1000)
        await connection.send(_body(retry + wire.PING))
        while True:
            frames = await reader.frames()
            if frames:
                await connection.send(_body(frames))
            elif reader.end is not None:
                last = wire.end_frame(reader.offset, reader.end)
                await connection.send(_body(last, more=False))
                return
            else:
                await connection.send(_body(wire.PING))

    async def _send_text(self, reader: Reader, connection: Connection) -> None:
        await connection.send(self._start("text"))
        while True:
            segments = await reader.segments()
            text = "".join(m for m in wire.decode_messages(segments) if isinstance(m, str))
            if text:
                await connection.send(_body(text.encode()))
            elif reader.end is not None:
                if reader.end.status is Status.DONE:
                    await connection.send(_body(b"", more=False))
                return

    async def _send_snapshot(
        self, offset: str | None, scope: Scope, receive: Receive, send: Send
    ) -> None:
        assert self._engine is not None and self._stream_id is not None
        after = Offset.parse(offset) if offset is not None and offset != "now" else wire.START
        await self._authorised(self._engine, self._stream_id)
        pages = await self._engine.pages(self._stream_id, after.position, at_tail=offset == "now")
        state = pages[-1].state
        if not after.is_start and (
            after.internal_id != state.internal_id or after.position > state.tail
        ):
            raise OffsetGone(self._stream_id, str(after))
        here = Offset(state.internal_id, pages[-1].end, ended=pages[-1].closed)
        etag = f'"{after.position}-{here}-{state.status}"'
        headers = {
            "etag": etag,
            "cache-control": "no-cache",
            "x-content-type-options": "nosniff",
            **self.headers,
        }
        if etag in [tag.strip() for tag in _if_none_match(self._request)]:
            await Response(status_code=304, headers=headers)(scope, receive, send)
            return
        body = snapshot_json(pages, after.position, here)
        await Response(body, self.status_code, headers, "application/json")(scope, receive, send)


def snapshot_json(pages: list[Page], after: int, here: Offset) -> bytes:
    """Return the JSON snapshot of what pages hold after a position; see docs/http.md."""
    state = pages[-1].state
    pieces = (wire.cut(segment, after) for page in pages for segment in page.segments)
    parts = wire.join_parts(wire.decode_messages(p for p in pieces if p is not None))
    encoded = b",".join(
        part.raw if isinstance(part, wire.RawJSON) else wire.dump_json(part) for part in parts
    )
    fields = {
        "id": state.stream_id,
        "kind": state.kind.value,
        "status": state.status.value,
        "offset": str(here),
        "code": state.code,
        "message": state.message,
        "result": state.result,
        "created_at": state.created_at,
        "started_at": state.started_at,
        "ended_at": state.ended_at,
    }
    return json.dumps(fields)[:-1].encode() + b', "parts": [' + encoded + b"]}"


def choose_format(request: Request, fixed: str | None) -> str | None:
    """Return the format to answer in: fixed by the app, asked for by query, or by ``Accept``."""
    wanted = fixed or request.query_params.get("format")
    if wanted is not None:
        return wanted if wanted in FORMATS else None
    accept = request.headers.get("accept", "*/*")
    ranges = [entry.partition(";")[0].strip().lower() for entry in accept.split(",")]
    for name, media_type in FORMATS.items():
        if media_type in ranges:
            return name
    if any(r in ("*/*", "text/*", "application/*", "") for r in ranges):
        return "json" if "application/*" in ranges and "*/*" not in ranges else "events"
    return None


def _if_none_match(request: Request | None) -> list[str]:
    return [] if request is None else request.headers.get("if-none-match", "").split(",")


def _ends_are_hidden(scope: Scope, send: Send) -> bool:
    if getattr(send, "__module__", "") == BaseHTTPMiddleware.__module__:
        return True
    stack = getattr(scope.get("app"), "user_middleware", ())
    return any(
        isinstance(entry.cls, type) and issubclass(entry.cls, BaseHTTPMiddleware)
        for entry in stack
    )


def _body(data: bytes, *, more: bool = True) -> Message:
    return {"type": "http.response.body", "body": data, "more_body": more}


async def _finish(connection: Connection) -> None:
    try:
        await connection.send(_body(b"", more=False))
    except ClientGone:
        pass
