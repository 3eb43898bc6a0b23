"""The ASGI app of the Durable Streams protocol: routes, permissions, limits."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from dataclasses import replace
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from inkstream import wire
from inkstream._arguments import check_type
from inkstream._errors import InkstreamError, OffsetGone, StreamExists, StreamGone, StreamNotFound
from inkstream._types import (
    JSON_CONTENT,
    Kind,
    NewStream,
    Page,
    Segment,
    Status,
    StreamId,
    StreamState,
)
from inkstream.durable import creation, protocol
from inkstream.durable.appends import Appends
from inkstream.durable.live import EventStream, LiveRead, LongPoll
from inkstream.durable.paths import Target, target_of
from inkstream.durable.polling import ClosedPolls
from inkstream.durable.protocol import Marks
from inkstream.durable.quota import Quota
from inkstream.durable.reading import Chunk, cut_from, in_turns, next_cursor
from inkstream.durable.refusal import Refusal, Reply
from inkstream.durable.renewal import Renewal
from inkstream.durable.requests import (
    DEFAULT_CONTENT_TYPE,
    CreateRequest,
    ReadRequest,
    append_request,
    create_request,
    is_closing,
    media_type,
    read_request,
)
from inkstream.durable.settings import DurableSettings
from inkstream.engine.engine import Engine
from inkstream.http.asgi import Authorize, anyone, names_tag, refuse_other, require_authorize
from inkstream.http.connection import HTTPSettings
from inkstream.http.crosssite import cross_site_problem
from inkstream.http.intake import BodyRefused, Intake
from inkstream.http.problems import Problem, problem_for

HEADERS: Final = {
    "x-content-type-options": "nosniff",
    "cross-origin-resource-policy": "same-origin",
    # A client can write a stream of HTML. If a browser opens that stream as a page, the page must
    # not run with this site's rights.
    "content-security-policy": "sandbox; default-src 'none'",
}
_SMALL: Final = 64 * 1024
"""A POST's body of at most this many bytes is read before the permission check.

ASGI servers usually buffer bodies of this size in any case.
"""
_METHODS: Final = "GET, HEAD, PUT, POST, DELETE, OPTIONS"


class DurableStreams:
    """Serve the streams of an engine over the Durable Streams protocol.

    Args:
        engine: Returns the running engine.
        authorize: See ``Authorize``.
        allow_anonymous: True allows everything to everybody, if ``authorize`` is not given.
        settings: See ``DurableSettings``.
        http: See ``HTTPSettings``.
        allowed_origins: Other origins whose pages may write with this origin's cookie.

    Raises:
        TypeError: Neither ``authorize`` nor ``allow_anonymous=True`` was given.
    """

    def __init__(
        self,
        engine: Callable[[], Engine],
        *,
        authorize: Authorize | None = None,
        allow_anonymous: bool = False,
        settings: DurableSettings | None = None,
        http: HTTPSettings | None = None,
        allowed_origins: Collection[str] = (),
    ) -> None:
        if settings is not None:
            check_type("settings", settings, DurableSettings, "a DurableSettings")
        self._engine = engine
        self._settings = settings or DurableSettings()
        self._http = http or HTTPSettings()
        self._authorize = require_authorize(
            authorize, allow_anonymous, self._http.authorize_timeout_s
        )
        self._intake = Intake(
            max_bytes=self._settings.body_bytes,
            all_bytes=self._settings.bodies_bytes,
            within_s=self._settings.body_s,
        )
        self._allowed_origins = allowed_origins
        self._for: tuple[Engine, Appends, ClosedPolls, Quota] | None = None

    def _parts(self) -> tuple[Engine, Appends, ClosedPolls, Quota]:
        engine = self._engine()
        if self._for is None or self._for[0] is not engine:
            polls = ClosedPolls(
                engine.clock,
                rate=self._settings.closed_polls_per_s,
                burst=self._settings.closed_poll_burst,
            )
            quota = Quota(engine, self._settings.owner, self._settings.max_streams)
            self._for = (engine, Appends(engine), polls, quota)
        return self._for

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request below the mount."""
        if await refuse_other(scope, receive, send):
            return
        request = Request(scope, receive)
        try:
            answer = await self._answer(request)
            await answer(scope, receive, send)
        except Refusal as exc:
            await self._refuse(
                Problem(exc.status, exc.code, exc.detail, exc.headers), scope, receive, send
            )
        except BodyRefused as exc:
            await self._refuse(exc.problem, scope, receive, send)
        except InkstreamError as exc:
            await self._refuse(problem_for(exc), scope, receive, send)

    async def _refuse(self, problem: Problem, scope: Scope, receive: Receive, send: Send) -> None:
        problem.headers.update(HEADERS)
        if scope["method"] == "HEAD":
            problem.body = b""
        await problem(scope, receive, send)

    async def _answer(self, request: Request) -> ASGIApp:
        target = target_of(request.scope)
        stream_id = target.stream_id()
        match request.method:
            case "GET":
                return await self._read(request, stream_id)
            case "HEAD":
                state = (await self._allowed(request, stream_id, ("read",))).state
                return _response(protocol.head(state))
            case "PUT" | "POST" | "DELETE":
                problem = cross_site_problem(request, self._allowed_origins)
                if problem is not None:
                    return problem
                if request.method == "PUT":
                    return _response(await self._create(request, stream_id, target))
                if request.method == "POST":
                    return _response(await self._append(request, stream_id))
                return _response(await self._delete(request, stream_id))
            case "OPTIONS":
                return _response(Reply(204, {"allow": _METHODS}))
            case _:
                raise Refusal(
                    405,
                    "method_not_allowed",
                    f"Only {_METHODS} are served here.",
                    {"allow": _METHODS},
                )

    async def _present(self, stream_id: StreamId, after: int, max_bytes: int, *marks: str) -> Page:
        """Return a page of a stream. Raise ``StreamNotFound`` if the stream has expired."""
        engine, *_ = self._parts()
        page = await engine.readers.page(stream_id, after, max_bytes, marks=marks)
        if protocol.is_absent(page.state, engine.clock.now()):
            raise StreamNotFound(stream_id)
        return page

    async def _allowed(
        self,
        request: Request,
        stream_id: StreamId,
        actions: tuple[str, ...],
        *,
        after: int = 0,
        max_bytes: int = 0,
        marks: tuple[str, ...] = (),
    ) -> Page:
        """Return a page of a stream. Raise ``StreamNotFound`` if any of ``actions`` is denied."""
        try:
            page = await self._present(stream_id, after, max_bytes, *marks)
        except StreamGone as exc:
            # A stream that is gone has no state to pass to `authorize`, so it must look absent.
            if self._authorize is anyone:
                raise
            raise StreamNotFound(stream_id) from exc
        for action in actions:
            if not await self._authorize(request, page.state, action):
                raise StreamNotFound(stream_id)
        return page

    # Create ------------------------------------------------------------------------------------

    async def _create(self, request: Request, stream_id: StreamId, target: Target) -> Reply:
        forked_from = request.headers.get("stream-forked-from")
        source = None if forked_from is None else target.other(forked_from)
        await self._before_body(request, self._may_create(request, stream_id))
        async with self._intake.body(request) as body:
            return await self._create_from(request, stream_id, target, source, body)

    async def _before_body(self, request: Request, check: Awaitable[object]) -> None:
        """Await a permission check. If it fails, discard the body, and raise the check's error."""
        try:
            await check
        except (Refusal, InkstreamError):
            await self._intake.discard(request)
            raise

    async def _may_create(self, request: Request, stream_id: StreamId) -> None:
        engine, *_ = self._parts()
        draft = _draft(stream_id, self._settings.owner, engine.clock.wall())
        if not await self._authorize(request, draft, "create"):
            raise Refusal(403, "forbidden", "You may not create this stream.")

    async def _create_from(
        self,
        request: Request,
        stream_id: StreamId,
        target: Target,
        source: StreamId | None,
        body: bytes,
    ) -> Reply:
        wanted = create_request(stream_id, request.headers, source, body)
        engine, *_, quota = self._parts()
        owner = self._settings.owner
        while True:
            found = await self._find(stream_id)
            if found is not None:
                return creation.exists(found.state, found.marks, wanted)
            new = replace(await self._new(request, wanted), owner=owner)
            try:
                async with quota.place():
                    state = await engine.changes.create(new)
            except StreamExists:
                continue
            except StreamGone as exc:
                raise _source_deleted() from exc
            except OffsetGone as exc:
                raise Refusal(
                    400, "invalid_fork", "The source ends before the offset of the fork."
                ) from exc
            scheme, host = request.url.scheme, request.url.netloc
            return creation.created(state, f"{scheme}://{host}{target.path}")

    async def _find(self, stream_id: StreamId) -> Page | None:
        """Return a page of a stream, or ``None`` if it does not exist. Delete an expired stream."""
        engine, *_ = self._parts()
        try:
            page = await engine.readers.page(stream_id, 0, 0, marks=(protocol.FORK,))
        except StreamGone as exc:
            raise Refusal(
                409, "gone", "This stream was deleted, but forks of it still need its messages."
            ) from exc
        except StreamNotFound:
            return None
        now = engine.clock.now()
        if now is None or not protocol.is_absent(page.state, now):
            return page
        return None if await engine.changes.delete_due(page.state, now) else page

    async def _new(self, request: Request, wanted: CreateRequest) -> NewStream:
        engine, *_ = self._parts()
        now = engine.clock.wall()
        message_bytes = engine.limits.message_bytes
        if wanted.fork is None:
            is_json = media_type(wanted.content_type or "") == JSON_CONTENT
            await wanted.body.cut(is_json=is_json, message_bytes=message_bytes)
            return creation.create(wanted, now, engine.limits)
        try:
            source = await self._allowed(
                request, wanted.fork.source, ("read",), marks=(protocol.FORK,)
            )
        except StreamGone as exc:
            raise _source_deleted() from exc
        content_type = wanted.content_type or source.state.content_type
        is_json = media_type(content_type) == JSON_CONTENT
        await wanted.body.cut(is_json=is_json, message_bytes=message_bytes)
        return creation.fork(wanted, source.state, source.marks, now, engine.limits)

    # Append, close, delete ---------------------------------------------------------------------

    async def _append(self, request: Request, stream_id: StreamId) -> Reply:
        length = _length(request)
        if self._authorize is not anyone and (length is None or length > _SMALL):
            # A closing request without Content-Length may have an empty body, and appends nothing
            # then. So check only "close" before the body is read.
            is_certain = length is not None or not is_closing(request.headers)
            action = "append" if is_certain else "close"
            await self._before_body(request, self._allowed(request, stream_id, (action,)))
        async with self._intake.body(request) as body:
            return await self._append_from(request, stream_id, body)

    async def _append_from(self, request: Request, stream_id: StreamId, body: bytes) -> Reply:
        wanted = append_request(request.headers, body)
        actions = (["append"] if body else []) + (["close"] if wanted.closed else [])
        marks = protocol.append_marks(wanted)
        page = await self._allowed(request, stream_id, tuple(actions), marks=marks)
        _, appends, *_ = self._parts()
        return await appends.append(page, wanted)

    async def _delete(self, request: Request, stream_id: StreamId) -> Reply:
        page = await self._allowed(request, stream_id, ("delete",))
        protocol.check_deletable(page.state)
        engine, *_, quota = self._parts()
        if not await engine.changes.delete([page.state]):
            raise StreamNotFound(stream_id)
        quota.deleted(page.state.owner)
        return Reply(204)

    # Read --------------------------------------------------------------------------------------

    async def _read(self, request: Request, stream_id: StreamId) -> ASGIApp:
        wanted = read_request(request.query_params.multi_items())
        engine, _, polls, _ = self._parts()
        after = wanted.offset.position if isinstance(wanted.offset, wire.Offset) else 0
        wants_page = wanted.live != "sse" and wanted.offset != "now"
        page_bytes = engine.limits.page_bytes if wants_page else 0
        page = await self._allowed_page(request, stream_id, after, page_bytes)
        state = page.state
        start, end_seen = _start(page.state, page.marks, wanted)
        if (
            state.ended
            and start >= state.tail
            and not polls.allow(state.internal_id, _client(request))
        ):
            raise Refusal(
                429,
                "closed",
                "This stream is closed: nothing follows, stop asking.",
                protocol.tail_headers(state),
            )
        renewal = Renewal(engine, state)
        await renewal.touch()
        live = LiveRead(state, start, end_seen, wanted.cursor, renewal, HEADERS)
        if wanted.live == "sse":
            return EventStream(engine, live, self._http, self._settings.live_s)
        segments: list[Segment] = []
        if wanted.offset != "now":
            segments, state = await self._collect(page, start)
        position = segments[-1].end if segments else start
        _, position, segments = next(in_turns(state, start, position, segments))
        at_tail = position >= state.tail
        chunk = Chunk(
            state,
            start,
            tuple(segments),
            position,
            at_tail,
            state.end if at_tail else None,
            end_seen,
        )
        if wanted.live == "long-poll" and chunk.is_empty and chunk.end is None:
            return LongPoll(engine, live, self._http, self._settings.long_poll_s)
        return _chunk_response(chunk, request, wanted, engine.clock.wall())

    async def _allowed_page(
        self, request: Request, stream_id: StreamId, after: int, max_bytes: int
    ) -> Page:
        """Return a page that the caller may read.

        The page's text is read only after ``authorize`` has allowed the request. Otherwise the read
        would delay the response, and a denied caller could see from this delay that the stream
        exists.
        """
        first = 0 if self._authorize is not anyone else max_bytes
        page = await self._allowed(
            request,
            stream_id,
            ("read",),
            after=after,
            max_bytes=first,
            marks=(protocol.FORK,),
        )
        if first == max_bytes:
            return page
        allowed = page.state.internal_id
        page = await self._present(stream_id, after, max_bytes, protocol.FORK)
        if page.state.internal_id != allowed:
            raise StreamNotFound(
                stream_id
            )  # perhaps another user has created a stream with this id since the check
        return page

    async def _collect(self, page: Page, start: int) -> tuple[list[Segment], StreamState]:
        """Return the segments of about one page, and the stream's state at the last read.

        A store may end a fork's page where the inherited messages end. This method then reads the
        next page too, so that clients get pages of the usual size.
        """
        engine, *_ = self._parts()
        enough = engine.limits.page_bytes // 2
        segments = cut_from(page.segments, start)
        while page.end < page.state.tail and sum(len(s.payload) for s in segments) < enough:
            internal_id, after = page.state.internal_id, page.end
            page = await self._present(page.state.stream_id, after, engine.limits.page_bytes)
            if page.state.internal_id != internal_id:
                raise StreamNotFound(page.state.stream_id)
            segments += cut_from(page.segments, after)
        return segments, page.state


def _draft(stream_id: StreamId, owner: str, now: float) -> StreamState:
    """Return the state that ``authorize`` gets with the action ``"create"``."""
    return StreamState(
        internal_id=0,
        stream_id=stream_id,
        kind=Kind.LOG,
        content_type=DEFAULT_CONTENT_TYPE,
        status=Status.OPEN,
        epoch=0,
        worker=None,
        tail=0,
        size=0,
        owner=owner,
        group=None,
        metadata={},
        created_at=now,
    )


def _length(request: Request) -> int | None:
    given = request.headers.get("content-length", "")
    return int(given) if given.isdecimal() and len(given) < 20 else None


def _source_deleted() -> Refusal:
    return Refusal(409, "gone", "The source was deleted.")


def _start(state: StreamState, marks: Marks, wanted: ReadRequest) -> tuple[int, bool]:
    """Return the position to read from, and whether the client has seen the stream's end.

    Raises:
        OffsetGone
    """
    if wanted.offset == "now":
        return state.tail, state.ended
    if wanted.offset is None:
        return 0, False
    position = creation.position_of(state, marks, wanted.offset)
    if position is None:
        raise OffsetGone(state.stream_id, str(wanted.offset))
    return position, wanted.offset.ended


def _client(request: Request) -> str:
    host = request.client.host if request.client is not None else ""
    return f"{host} {request.headers.get('authorization', '')}"


def _response(reply: Reply) -> Response:
    headers = {**HEADERS, **reply.headers}
    headers.setdefault("cache-control", "no-store")
    return Response(status_code=reply.status, headers=headers)


def _chunk_response(chunk: Chunk, request: Request, wanted: ReadRequest, now: float) -> Response:
    headers = {**HEADERS, **chunk.headers()}
    if wanted.live == "long-poll":
        headers["cache-control"] = "no-store"
        if chunk.end is None:
            headers["stream-cursor"] = next_cursor(now, wanted.cursor)
        if chunk.is_empty:
            del headers["content-type"]
            return Response(status_code=204, headers=headers)
    elif wanted.offset == "now":
        headers["cache-control"] = "no-store"
        return Response(chunk.body(), headers=headers)
    else:
        # The messages between two offsets of one stream never change, so the client may cache them.
        # Any other response may change.
        fixed = not chunk.at_tail and wanted.offset is not None and not wanted.offset.is_start
        headers["cache-control"] = "private, max-age=60" if fixed else "private, no-cache"
        headers["etag"] = chunk.etag()
        if names_tag(request.headers.get("if-none-match", ""), headers["etag"]):
            del headers["content-type"]
            return Response(status_code=304, headers=headers)
    return Response(chunk.body(), headers=headers)
