"""The response that follows a stream: as events, text, one JSON document, or in a ``Format``."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping
from typing import Final

from starlette.background import BackgroundTask
from starlette.datastructures import MutableHeaders
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from inkstream import wire
from inkstream._errors import InkstreamError, StoreUnavailable, StreamNotFound
from inkstream._types import Status
from inkstream.engine.reader import Reader, ReaderSentAway
from inkstream.http.asgi import names_tag, response_body
from inkstream.http.connection import ClientGone, Connection
from inkstream.http.encoded import Encoded, encoded
from inkstream.http.follow import Follow
from inkstream.http.formats import FORMATS, Format, choose_format, why_ends_are_hidden
from inkstream.http.lifetime import RETRY, Lifetime
from inkstream.http.problems import Problem, problem_for
from inkstream.http.snapshot import Snapshot
from inkstream.wire import Offset

_NO_FORMAT: Final = (
    "This stream is served as text/event-stream, application/json or text/plain: accept one of "
    "them, or name it: ?format=events, json or text."
)
_VARY: Final = "Accept, Last-Event-ID"
"""Request headers on which the response depends.

``Cookie`` and ``Authorization`` may be absent here, because ``cache-control: private`` already
keeps shared caches from giving one user's response to another user.
"""
_EXPECTED: Final = (ClientGone, ReaderSentAway, StreamNotFound, StoreUnavailable)
"""Errors that end a response and need no log, because they show no bug in a format's code."""

_log = logging.getLogger("inkstream")


class StreamResponse(Response):
    """Follow a stream from the request's offset. ``streams.response`` returns such a response.

    Set headers and cookies before you return the response. As the ``response_class`` of a FastAPI
    route, this class documents the route's media type.
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
        # The format decides these headers later.
        for name in ("content-type", "content-length"):
            if name in self.headers:
                del self.headers[name]
        self._content: Follow | Problem | None = content

    def _take(self) -> Follow | Problem:
        """Return the content, and forget it, so that the request does not stay in memory."""
        content, self._content = self._content, None
        if content is None:
            raise RuntimeError("a StreamResponse can be sent only once: create one per request")
        return content

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response."""
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
        """Copy this response's headers to ``answer``.

        A header such as ``Set-Cookie`` may occur twice, so copy pairs, and not a dict.
        """
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
        if follow.has_seen_end(reader):
            # After status 204, an EventSource does not reconnect (WHATWG HTML, 9.2).
            reader.close()
            seen = Response(status_code=204, headers={"cache-control": "no-store"})
            await self._dressed(seen)(scope, receive, send)
            return
        if scope["method"] == "HEAD":
            await self._send_head(reader, form, send)
            return
        clock, sends, settings = follow.engine.clock, follow.engine.sends, follow.settings
        answer: Encoded | None = None
        if isinstance(form, Format):
            answer = await self._encoded(form, follow, reader)
        lifetime = follow.lifetime(
            reader,
            cut_by_age=form.cut_by_age if isinstance(form, Format) else form == "events",
        )
        first = b"retry: %d\n" % round(follow.settings.retry_s * 1000)
        if follow.offset == "now":
            # Without this id, a client that reconnects before its first event would start at a
            # later "now", and miss the messages before that place.
            first += b"id: %b\n" % str(reader.offset).encode()
        del follow
        async with Connection(receive, send, reader, clock, settings, sends) as connection:
            try:
                if answer is not None:
                    assert isinstance(form, Format)
                    await self._send_encoded(form, answer, reader, connection, lifetime)
                elif form == "events":
                    await self._send_events(first, reader, connection, lifetime)
                else:
                    await self._send_text(reader, connection, lifetime)
            except (ClientGone, ReaderSentAway, InkstreamError) as exc:
                # The response ends before the stream's end. Plain text ends without HTTP's last
                # chunk, so that the client sees a broken response. For events, the terminal event
                # is missing, so that the client reconnects.
                if not isinstance(exc, _EXPECTED):
                    _log.error("a response to a reader broke off", exc_info=exc)
                if form == "events" and not connection.gone:
                    last = RETRY if lifetime.is_over else b""
                    with contextlib.suppress(ClientGone):
                        await connection.send(response_body(last, more=False))
            finally:
                await lifetime.stop()

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

    async def _send_events(
        self, first: bytes, reader: Reader, connection: Connection, lifetime: Lifetime
    ) -> None:
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
            if connection.sent_at >= lifetime.due_at:
                lifetime.check()

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
        self,
        form: Format,
        answer: Encoded,
        reader: Reader,
        connection: Connection,
        lifetime: Lifetime,
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
            else:
                connection.idle()
            if connection.sent_at >= lifetime.due_at:
                lifetime.check()

    async def _send_text(self, reader: Reader, connection: Connection, lifetime: Lifetime) -> None:
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
            else:
                connection.idle()
            if connection.sent_at >= lifetime.due_at:
                lifetime.check()

    async def _send_snapshot(
        self, follow: Follow, scope: Scope, receive: Receive, send: Send
    ) -> None:
        state, reader = await follow.open(fresh=True)
        here = Offset.at(state, state.tail, ended=state.ended)
        # A stopped stream may get its result after its end. This changes the epoch. So the ETag
        # contains the epoch: otherwise a client would keep the document without the result.
        etag = f'"{reader.position}-{here}-{state.status}-{state.epoch}"'
        self.headers["etag"] = etag
        self.headers.setdefault("cache-control", "private, no-cache")
        if names_tag(follow.request.headers.get("if-none-match", ""), etag):
            reader.close()
            await self._dressed(Response(status_code=304))(scope, receive, send)
            return
        if scope["method"] == "HEAD":
            await self._send_head(reader, "json", send)
            return
        clock, sends, settings = follow.engine.clock, follow.engine.sends, follow.settings
        del follow
        async with Connection(receive, send, reader, clock, settings, sends) as connection:
            # An incomplete JSON document is invalid, so a client that parses it sees the error.
            with contextlib.suppress(ClientGone, ReaderSentAway, InkstreamError):
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
