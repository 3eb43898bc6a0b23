"""One response that follows many streams: as events, or as one JSON batch."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final, TypeAlias

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from inkstream import wire
from inkstream._errors import InkstreamError, InvalidInput, InvalidStreamId
from inkstream._types import StreamId, StreamState
from inkstream.engine.bundle import TURN_BYTES, Bundle
from inkstream.engine.engine import Engine
from inkstream.engine.reader import Reader, ReaderSentAway
from inkstream.http.asgi import response_body, response_start
from inkstream.http.connection import ClientGone, Connection, HTTPSettings
from inkstream.http.follow import Allow, Follow
from inkstream.http.formats import choose_format
from inkstream.http.lifetime import Lifetime
from inkstream.http.problems import Problem, problem_for
from inkstream.http.snapshot import Snapshot
from inkstream.wire import Offset

MAX_STREAMS: Final = 64
"""How many streams one request may follow."""

FOLLOW_HEADER: Final = "stream-follow"
"""The response header that tells clients the path for following many streams."""

MAX_BODY: Final = 64 * 1024
"""The largest request body, in bytes: 64 offsets and 64 ids of 512 ASCII letters fit into it."""

Refusal: TypeAlias = Mapping[str, str | int]
"""The fields of an event ``refused``, without the stream's id."""

_log = logging.getLogger("inkstream")

_NO_FORMAT: Final = (
    "Many streams are served as text/event-stream or application/json: accept one of them, or name "
    "it: ?format=events or json."
)


def _refusal(status: int, code: str, headers: Mapping[str, str] | None = None) -> Refusal:
    refusal: dict[str, str | int] = {"status": status, "code": code}
    after = Headers(headers).get("retry-after")
    return refusal if after is None else refusal | {"retry_after": after}


_NOT_FOUND: Final = _refusal(404, "not_found")
_UNCHECKED: Final = _refusal(503, "check_failed", {"retry-after": "1"})
"""The refusal of a stream whose repeated permission check raised an unexpected error.

After this refusal, clients ask for the stream again.
"""

_HEADERS: Final = {
    "cache-control": "private, no-cache, no-transform",
    "vary": "Accept",
    "x-accel-buffering": "no",
    "x-content-type-options": "nosniff",
}


def parse_wanted(body: bytes) -> dict[str, str | None]:
    """Return the streams in a request's body, each with its offset.

    Raises:
        InvalidInput: The body is not ``{"streams": {"<id>": "<offset>" or null, …}}``.
    """
    try:
        given = json.loads(body)
    except (ValueError, RecursionError) as exc:
        raise InvalidInput("the body is not JSON") from exc
    wanted = given.get("streams") if isinstance(given, dict) else None
    if not isinstance(wanted, dict):
        raise InvalidInput('the body must be {"streams": {"<id>": "<offset>" or null, …}}')
    check_wanted(wanted)
    return wanted


def check_wanted(wanted: Mapping[str, str | None]) -> None:
    """Check the ids and offsets that a client wants to follow.

    Raises:
        InvalidInput: ``wanted`` is empty, has more than ``MAX_STREAMS`` ids, or has an id that is
            not a string, or an offset that is neither a string nor ``None``.
    """
    if not 0 < len(wanted) <= MAX_STREAMS:
        raise InvalidInput(f"one request follows 1 to {MAX_STREAMS} streams, not {len(wanted)}")
    for name, offset in wanted.items():
        if not isinstance(name, str) or not isinstance(offset, str | None):
            raise InvalidInput(f"{name!r:.80} is followed from an offset (a string) or null")


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowMany:
    """Streams to follow in one response.

    Attributes:
        request: The request. Its ``?format=`` and ``Accept`` are used.
        follow: Returns the ``Follow`` for a stream id and an offset.
        wanted: The streams' ids, each with the offset to continue from.
    """

    engine: Engine
    request: Request
    settings: HTTPSettings
    follow: Callable[[StreamId, str | None], Follow]
    wanted: Mapping[str, str | None]


def _refusal_for(error: Exception, name: str) -> Refusal | None:
    """Return what a response for one stream would say after this error.

    Return ``None`` for an unexpected error, which this function logs.
    """
    if isinstance(error, InkstreamError):
        problem = problem_for(error)
        return _refusal(problem.status_code, problem.code, problem.headers)
    if isinstance(error, HTTPException):
        status = error.status_code
        known = status in HTTPStatus.__members__.values()
        code = HTTPStatus(status).name.lower() if known else "refused"
        return _refusal(status, code, error.headers)
    _log.error("stream %r could not be opened or checked", name, exc_info=error)
    return None


@dataclass(slots=True)
class _Opening:
    """Open the streams of a bundle, all at the same time."""

    bundle: Bundle
    fresh: bool = False
    found: dict[str, tuple[Reader, StreamState, Follow]] = field(default_factory=dict)
    news: list[bytes] = field(default_factory=list)
    refused: dict[str, Refusal] = field(default_factory=dict)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    lost: dict[str, Refusal] = field(default_factory=dict)

    def begin(self, many: FollowMany) -> None:
        for name, offset in many.wanted.items():
            task = asyncio.create_task(self._open(many, name, offset))
            self.tasks.add(task)
            task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        self.bundle.interrupt()

    async def _open(self, many: FollowMany, name: str, offset: str | None) -> None:
        try:
            follow = many.follow(StreamId(name), offset)
            state, reader = await follow.open(fresh=self.fresh)
        except InvalidStreamId:
            self.refuse(name, _NOT_FOUND)
        except Exception as exc:
            self.refuse(name, _refusal_for(exc, name) or _refusal(500, "internal"))
        else:
            if not self.fresh and follow.has_seen_end(reader):
                reader.close()
                self.refuse(name, _refusal(204, "ended"))
                return
            self.found[name] = reader, state, follow
            self.bundle.add(reader)
            self.news.append(_event("stream", {"stream_id": name, "offset": str(reader.offset)}))

    def refuse(self, name: str, refusal: Refusal) -> None:
        self.refused[name] = refusal
        self.news.append(_event("refused", {"stream_id": name, **refusal}))

    async def check_again(self) -> bool:
        """Call ``allow`` for the streams that are still followed, if their ``ask_again`` is true.

        The result is always ``True``, because a denied stream must not end the whole connection.
        """
        checks = [
            self._check(name, follow.allow, reader.state)
            for name, (reader, _, follow) in self.found.items()
            if reader in self.bundle.readers and follow.ask_again and follow.allow is not None
        ]
        await asyncio.gather(*checks)
        return True

    async def _check(self, name: str, allow: Allow, state: StreamState) -> None:
        try:
            if not await allow(state):
                self._lose(name, _NOT_FOUND)
        except Exception as exc:
            self._lose(name, _refusal_for(exc, name) or _UNCHECKED)

    def _lose(self, name: str, refusal: Refusal) -> None:
        self.lost[name] = refusal
        self.bundle.interrupt()

    def end_lost(self) -> None:
        """End the streams that this client may no longer read.

        Do not call this method while the bundle's ``turns`` run.
        """
        while self.lost:
            name, refusal = self.lost.popitem()
            reader = self.found[name][0]
            if reader in self.bundle.readers:
                self.bundle.remove(reader)
                self.refuse(name, refusal)

    async def stop(self) -> None:
        for task in self.tasks:
            task.cancel()
        if self.tasks:
            await asyncio.wait(self.tasks)


class ManyResponse(Response):
    """Follow many streams. ``streams.response_many`` returns such a response."""

    media_type = "text/event-stream"

    def __init__(
        self,
        content: FollowMany | Problem,
        status_code: int = 200,  # FastAPI reads this default
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(None, status_code, headers)
        for name in ("content-type", "content-length"):
            if name in self.headers:
                del self.headers[name]
        self._content = content

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response."""
        many = self._content
        if isinstance(many, Problem):
            await many(scope, receive, send)
            return
        form = choose_format(many.request, None)
        if form not in ("events", "json"):
            await Problem(406, "not_acceptable", _NO_FORMAT)(scope, receive, send)
            return
        bundle = many.engine.readers.bundle()
        opening = _Opening(bundle, fresh=form == "json")
        lifetime = Lifetime(
            many.engine.clock,
            many.settings,
            cut_by_age=True,
            allowed=opening.check_again,
            interrupt=bundle.interrupt,
        )
        connection = Connection(receive, send, bundle, many.engine.clock, many.settings)
        async with connection:
            opening.begin(many)
            try:
                if form == "json":
                    await self._send_batch(opening, connection, list(many.wanted))
                else:
                    await self._send_events(opening, connection, lifetime)
            except ClientGone:
                pass
            except (ReaderSentAway, InkstreamError):
                # An incomplete JSON batch is invalid, so clients see the error. If events end
                # without a terminal event, clients reconnect.
                if form == "events" and not connection.gone:
                    with contextlib.suppress(ClientGone):
                        await connection.send(response_body(b"", more=False))
            finally:
                await lifetime.stop()
                await opening.stop()

    def _start(self, media_type: str) -> dict[str, str]:
        return {"content-type": media_type, **_HEADERS, **dict(self.headers)}

    async def _send_events(
        self, opening: _Opening, connection: Connection, lifetime: Lifetime
    ) -> None:
        bundle = opening.bundle
        await connection.send(response_start(self.status_code, self._start("text/event-stream")))
        await connection.send(response_body(wire.PING))
        named = _Named(opening.news)
        while True:
            opening.end_lost()
            is_pinging = bundle.alarm_at == math.inf
            async with contextlib.aclosing(bundle.turns()) as turns:
                async for reader, frames in turns:
                    if frames is None:
                        name = reader.tail.stream_id
                        opening.refuse(name, _NOT_FOUND)
                        continue
                    named.put(reader, frames or _last(reader))
                    if named.size >= TURN_BYTES:
                        await connection.send(response_body(named.take()))
                    if opening.lost:
                        break
            out = named.take()
            if not opening.tasks and not bundle.readers:
                await connection.send(response_body(out, more=False))
                return
            if out or is_pinging:
                await connection.send(response_body(out or wire.PING))
            if connection.sent_at >= lifetime.due_at:
                lifetime.check()
            await bundle.wait()

    async def _send_batch(
        self, opening: _Opening, connection: Connection, names: list[str]
    ) -> None:
        while opening.tasks:
            await asyncio.wait(opening.tasks)
        await connection.send(response_start(self.status_code, self._start("application/json")))
        before = b'{"streams": {'
        for name in names:
            if name not in opening.found:
                continue
            reader, state, _ = opening.found[name]
            snapshot = Snapshot(state, Offset.at(state, state.tail, ended=state.ended))
            key = json.dumps(name).encode() + b": "
            await connection.send(response_body(before + key + snapshot.begin()))
            while reader.position < state.tail:
                pieces = [wire.cut(part, 0, state.tail) for part in await reader.segments()]
                await connection.send(response_body(snapshot.parts(filter(None, pieces))))
            before = snapshot.end() + b", "
        end = before.removesuffix(b", ") + b'}, "refused": '
        refused = json.dumps(opening.refused).encode()
        await connection.send(response_body(end + refused + b"}", more=False))


class _Named:
    """The bytes to send next. An event with a stream's id precedes the events of that stream.

    ``news`` are events about streams that were opened or refused. ``put`` and ``take`` add these
    events to the bytes.
    """

    def __init__(self, news: list[bytes]) -> None:
        self.size = 0
        self._news = news
        self._out: list[bytes] = []
        self._current: Reader | None = None

    def put(self, reader: Reader, frames: bytes) -> None:
        self._put_news()
        if reader is not self._current:
            self._current = reader
            self._out.append(_event("stream", {"stream_id": reader.tail.stream_id}))
        self._out.append(frames)
        self.size += len(frames)

    def _put_news(self) -> None:
        if self._news:
            self._out += self._news
            self._news.clear()
            self._current = None

    def take(self) -> bytes:
        self._put_news()
        out, self._out, self.size = self._out, [], 0
        return b"".join(out)


def _last(reader: Reader) -> bytes:
    assert reader.end is not None
    return wire.end_frame(reader.offset, reader.end)


def _event(name: str, data: Mapping[str, str | int]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), json.dumps(data).encode())
