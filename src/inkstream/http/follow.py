"""The response that follows a stream: as events, as text, or as one JSON snapshot."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import Final, TypeVar

from starlette.background import BackgroundTask
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from inkstream import wire
from inkstream._errors import InkstreamError, StreamNotFound
from inkstream._types import Status, StreamId, StreamState
from inkstream.engine.engine import Engine
from inkstream.engine.reader import Reader, ReaderCut
from inkstream.http.asgi import response_body, tags
from inkstream.http.connection import ClientGone, Connection, HTTPSettings
from inkstream.http.encoded import Encoded, encoded, split_cursor
from inkstream.http.formats import FORMATS, Format, choose_format, why_ends_are_hidden
from inkstream.http.problems import Problem, problem_for
from inkstream.http.snapshot import Snapshot
from inkstream.wire import Offset

ABSENT_WAIT_S: Final = 1.0
"""How long an unknown id is waited for: the application's transaction may be about to commit."""

_NO_FORMAT: Final = (
    "This stream is served as text/event-stream, application/json or text/plain: accept one of "
    "them, or name it: ?format=events, json or text."
)
_VARY: Final = "Accept, Last-Event-ID"
"""What of a request decides the answer; who asks does too, which ``private`` says."""

_LAST_ID_PARAMETERS: Final = ("lasteventid", "evslasteventid")
"""How polyfills of ``EventSource`` that cannot set a header name it, without case and ``-_``."""

Allow = Callable[[StreamState], Awaitable[bool]]
Found = TypeVar("Found")


@dataclass(frozen=True, slots=True, kw_only=True)
class Follow:
    """What is to be followed, for whom.

    Attributes:
        engine: Where the stream is read.
        stream_id: The stream.
        request: Whose offset and format count.
        settings: How the connection is kept.
        format: The format, whatever the request says.
        allow: Whether this caller may read the stream; ``None``: yes.
        started: What must have succeeded first: the claim of a stream that this request starts.
    """

    engine: Engine
    stream_id: StreamId
    request: Request
    settings: HTTPSettings
    format: str | Format | None = None
    allow: Allow | None = None
    started: Awaitable[object] | None = None

    @property
    def offset(self) -> str | None:
        """The offset that the request gives, without the state of a format object."""
        return self.cursor[0]

    @property
    def cursor(self) -> tuple[str | None, str | None]:
        """The offset and the encoder's state that the request gives.

        Raises:
            InvalidOffset: It is too long.
        """
        given = self.request.headers.get("last-event-id") or _last_id(self.request)
        if given is None or not isinstance(self.format, Format):
            return given, None
        return split_cursor(given)

    async def when_allowed(
        self, read: Callable[[], Awaitable[Found]], state_of: Callable[[Found], StreamState]
    ) -> Found:
        """Return what was read of a stream that this caller may read; wait a little for a new one.

        The text may come with the state that is judged: it goes no further if that is denied.
        """
        denied = False
        clock = self.engine.clock
        until = clock.monotonic() + ABSENT_WAIT_S
        pause = 0.02
        while True:
            try:
                found = await read() if not denied else None
                if denied:  # a denied stream must look like an absent one, in time too
                    await self.engine.readers.state(self.stream_id)
            except StreamNotFound:
                pass
            else:
                if found is not None and (self.allow is None or await self.allow(state_of(found))):
                    return found
                denied = True
            left = until - clock.monotonic()
            if left <= 0:
                raise StreamNotFound(self.stream_id)
            await asyncio.sleep(min(pause, left))
            pause = min(pause * 2, 0.2)

    async def open(self, *, fresh: bool = False) -> tuple[StreamState, Reader]:
        """Return the stream's state, and a reader from the request's offset.

        That state may be a moment old; one that is ``fresh`` was read from the store.
        """
        offset = self.offset
        if offset is not None and offset != "now":
            Offset.parse(offset)  # a malformed one is refused at once, found or not
        state, page = await self.when_allowed(
            lambda: self.engine.readers.look(self.stream_id, offset, fresh=fresh), itemgetter(0)
        )
        reader = await self.engine.readers.open(self.stream_id, offset, page)
        if reader.tail.internal_id != state.internal_id:
            reader.close()  # created anew since it was authorised, perhaps by somebody else
            raise StreamNotFound(self.stream_id)
        return state, reader


def _last_id(request: Request) -> str | None:
    """Return the offset in a request's query, the newest one of them."""
    # A polyfill adds its own parameter to a URL that may have the offset of its first connection.
    for name, value in request.query_params.multi_items():
        if value and name.lower().replace("-", "").replace("_", "") in _LAST_ID_PARAMETERS:
            return value
    return request.query_params.get("offset")


class StreamResponse(Response):
    """Follow a stream from the request's offset to its end; made by ``streams.response``.

    A Starlette response: headers may be set and cookies added before it is returned. As
    ``response_class`` of a FastAPI route it documents the media type.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        content: Follow | Problem | None = None,
        status_code: int = 200,
        headers: Mapping[str, str] | None = None,
        media_type: str | None = None,
        background: BackgroundTask | None = None,
    ) -> None:
        if not isinstance(content, Follow | Problem):
            raise TypeError(
                "a StreamResponse is made by streams.response(request, id) or "
                "streams.stream(request, id, source): return what they return"
            )
        super().__init__(None, status_code, headers, media_type, background)
        # Set when the answer is known: it may be a problem, or another format.
        for name in ("content-type", "content-length"):
            if name in self.headers:
                del self.headers[name]
        self._content: Follow | Problem | None = content

    def _take(self) -> Follow | Problem:
        """Return what to answer, once: the request it holds is not kept as long as the stream."""
        content, self._content = self._content, None
        if content is None:
            raise RuntimeError("a StreamResponse is sent once: make another for another request")
        return content

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request."""
        try:
            await self._answer(self._take(), scope, receive, send)
        except InkstreamError as exc:
            await self._refuse(problem_for(exc), scope, receive, send)
        if self.background is not None:
            await self.background()

    async def _refuse(self, problem: Problem, scope: Scope, receive: Receive, send: Send) -> None:
        names = {name for name, _ in problem.raw_headers}
        problem.raw_headers += [pair for pair in self.raw_headers if pair[0] not in names]
        await problem(scope, receive, send)

    def _dressed(self, answer: Response) -> Response:
        """Give an answer in place of this one the headers set here: pairs, for cookies repeat."""
        names = {name for name, _ in self.raw_headers}
        answer.raw_headers = [pair for pair in answer.raw_headers if pair[0] not in names]
        answer.raw_headers += self.raw_headers
        MutableHeaders(raw=answer.raw_headers).add_vary_header(_VARY)
        return answer

    async def _answer(
        self, follow: Follow | Problem, scope: Scope, receive: Receive, send: Send
    ) -> None:
        if isinstance(follow, Problem):
            await self._refuse(follow, scope, receive, send)
            return
        form = choose_format(follow.request, follow.format)
        if form is None:
            problem = Problem(406, "not_acceptable", _NO_FORMAT)
            await self._refuse(problem, scope, receive, send)
            return
        hidden = why_ends_are_hidden(scope, receive, send) if form == "text" else None
        if hidden is not None:
            problem = Problem(406, "not_acceptable", hidden)
            await self._refuse(problem, scope, receive, send)
            return
        if follow.started is not None:
            await follow.started
        if form == "json":
            await self._send_snapshot(follow, scope, receive, send)
            return
        _, reader = await follow.open()
        tail = reader.tail
        if tail.end is not None and follow.offset == str(
            Offset.at(tail, tail.position, ended=True)
        ):
            # Whoever has seen the end is told in the way that stops an EventSource for good.
            reader.close()
            last = Response(status_code=204, headers={"cache-control": "no-store"})
            await self._dressed(last)(scope, receive, send)
            return
        if scope["method"] == "HEAD":
            await self._send_head(reader, form, send)
            return
        clock, observer, settings = follow.engine.clock, follow.engine.observer, follow.settings
        answer: Encoded | None = None
        if isinstance(form, Format):
            answer = await self._encoded(form, follow, reader)
        first = b"retry: %d\n" % round(follow.settings.retry_s * 1000)
        if follow.offset == "now":
            # "now" would be later for a client that reconnects before it got an event.
            first += b"id: %b\n" % str(reader.offset).encode()
        del follow
        async with Connection(receive, send, reader, clock, settings, observer) as connection:
            try:
                if answer is not None:
                    assert isinstance(form, Format)
                    await self._send_encoded(form, answer, reader, connection)
                elif form == "events":
                    await self._send_events(first, reader, connection)
                else:
                    await self._send_text(reader, connection)
            except (ClientGone, ReaderCut, InkstreamError):
                # Text is left without its last chunk, so that the client sees it broken: an end
                # that is not the stream's end must not look like one. Events say so themselves.
                if form == "events" and not connection.gone:
                    with contextlib.suppress(ClientGone):
                        await connection.send(response_body(b"", more=False))

    def _start(self, form: str | Format) -> Message:
        headers = MutableHeaders(raw=list(self.raw_headers))
        if isinstance(form, Format):
            headers["content-type"] = form.media_type
            for name, value in form.headers.items():
                headers.setdefault(name, value)
        else:
            media_type = FORMATS[form]
            headers["content-type"] = media_type + ("; charset=utf-8" if form == "text" else "")
        headers.setdefault("cache-control", "private, no-cache, no-transform")
        headers.add_vary_header(_VARY)
        headers.setdefault("x-accel-buffering", "no")
        headers.setdefault("x-content-type-options", "nosniff")
        return {"type": "http.response.start", "status": self.status_code, "headers": headers.raw}

    async def _send_head(self, reader: Reader, form: str | Format, send: Send) -> None:
        reader.close()
        await send(self._start(form))
        await send(response_body(b"", more=False))

    async def _send_events(self, first: bytes, reader: Reader, connection: Connection) -> None:
        await connection.send(self._start("events"))
        await connection.send(response_body(first + wire.PING))
        while True:
            frames = await reader.frames()
            if frames:
                await connection.send(response_body(frames))
            elif reader.end is not None:
                last = wire.end_frame(reader.offset, reader.end)
                await connection.send(response_body(last, more=False))
                return
            else:
                await connection.send(response_body(wire.PING))

    @staticmethod
    async def _encoded(form: Format, follow: Follow, reader: Reader) -> Encoded:
        try:
            return await encoded(
                form, follow.engine.readers, reader.tail, reader.position, follow.cursor[1]
            )
        except BaseException:
            reader.close()
            raise

    async def _send_encoded(
        self, form: Format, answer: Encoded, reader: Reader, connection: Connection
    ) -> None:
        await connection.send(self._start(form))
        await connection.send(response_body(form.ping))
        while True:
            segments = await reader.segments()
            if segments:
                chunks = answer.chunks(segments)
                if chunks:
                    await connection.send(response_body(chunks))
            elif reader.end is not None:
                await connection.send(response_body(answer.end(reader.end), more=False))
                return
            elif form.ping:
                await connection.send(response_body(form.ping))

    async def _send_text(self, reader: Reader, connection: Connection) -> None:
        await connection.send(self._start("text"))
        while True:
            segments = await reader.segments()
            text = wire.text_of(segments)
            if text:
                await connection.send(response_body(text))
            elif reader.end is not None:
                if reader.end.status is Status.DONE:
                    await connection.send(response_body(b"", more=False))
                return

    async def _send_snapshot(
        self, follow: Follow, scope: Scope, receive: Receive, send: Send
    ) -> None:
        state, reader = await follow.open(fresh=True)
        here = Offset.at(state, state.tail, ended=state.ended)
        # The epoch moves when a stopped stream gets its result.
        etag = f'"{reader.position}-{here}-{state.status}-{state.epoch}"'
        self.headers["etag"] = etag
        self.headers.setdefault("cache-control", "private, no-cache")
        if etag in tags(follow.request.headers.get("if-none-match", "")):
            reader.close()
            await self._dressed(Response(status_code=304))(scope, receive, send)
            return
        if scope["method"] == "HEAD":
            await self._send_head(reader, "json", send)
            return
        clock, observer, settings = follow.engine.clock, follow.engine.observer, follow.settings
        del follow
        async with Connection(receive, send, reader, clock, settings, observer) as connection:
            # One that is broken off is no JSON: nobody takes it for a whole one.
            with contextlib.suppress(ClientGone, ReaderCut, InkstreamError):
                await self._send_parts(Snapshot(state, here), reader, state.tail, connection)

    async def _send_parts(
        self, snapshot: Snapshot, reader: Reader, until: int, connection: Connection
    ) -> None:
        await connection.send(self._start("json"))
        await connection.send(response_body(snapshot.begin()))
        while reader.position < until:
            pieces = [wire.cut(segment, 0, until) for segment in await reader.segments()]
            await connection.send(response_body(snapshot.parts(filter(None, pieces))))
        await connection.send(response_body(snapshot.end(), more=False))
