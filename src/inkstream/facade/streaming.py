"""The facade that an application holds: ``PersistentTextStreaming``."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import os
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal, Self, TypeAlias
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response

from inkstream import wire
from inkstream._arguments import (
    as_items,
    check_async,
    check_count,
    check_kind,
    check_names,
    check_object,
    check_seconds,
    check_storable,
    one_of,
)
from inkstream._errors import (
    InvalidInput,
    InvalidStreamId,
    NotRunning,
    ShuttingDown,
    StoreUnavailable,
    StreamGone,
    StreamNotFound,
    TooManyStreams,
)
from inkstream._types import (
    JSON,
    End,
    Kind,
    NewStream,
    Query,
    Segment,
    Status,
    StreamBody,
    StreamId,
    StreamState,
)
from inkstream.abc import Clock
from inkstream.durable.app import DurableStreams
from inkstream.durable.settings import DurableSettings
from inkstream.engine.engine import Engine
from inkstream.engine.generation import Source
from inkstream.engine.identity import new_worker
from inkstream.engine.observer import Observer
from inkstream.engine.settings import Limits, Timing
from inkstream.facade.databases import DEFAULT_DATABASE, name_of, open_database
from inkstream.facade.handles import Following, Listing, StreamWriter, body_of
from inkstream.facade.running import Running
from inkstream.http.asgi import Authorize, require_authorize
from inkstream.http.connection import HTTPSettings
from inkstream.http.crosssite import cross_site_problem, origins
from inkstream.http.doctor_probe import AuthorizeProbe, DoctorProbe
from inkstream.http.follow import Allow, Follow, requested_offset
from inkstream.http.formats import Format, check_format
from inkstream.http.health import HealthRoutes
from inkstream.http.many import FollowMany, ManyResponse, check_wanted
from inkstream.http.problems import Problem, problem_for
from inkstream.http.response import StreamResponse
from inkstream.http.routes import StreamRoutes
from inkstream.inspector.app import AuthorizeOperator, Inspector
from inkstream.operations.describe import describe
from inkstream.operations.description import StreamDescription
from inkstream.operations.health import NOT_STARTED, Health, check_health

if TYPE_CHECKING:
    from fastapi import APIRouter

OnEnd: TypeAlias = Callable[[StreamBody], Awaitable[None]]
OnDisconnect: TypeAlias = Literal["continue", "cancel"]

STREAM_ID_HEADER: Final = "stream-id"
"""Header with the stream's id, in each answer that follows a stream, so that clients can return."""

_UNRESERVED: Final = "!$&'()*+,;=:@/"
_DEFAULT: Final[Any] = object()
_RETRY_S: Final = 1.0
_CURSOR: Final = re.compile(r"[0-9]{1,18}")


class SystemClock:
    """The clocks of the operating system."""

    # These are not methods, because monotonic() is called for every token.
    monotonic = staticmethod(time.monotonic)
    wall = staticmethod(time.time)


class PersistentTextStreaming:
    """Stream text to its readers while storing it in a database.

    Create one instance per application, at import. It does nothing until it is started, by
    ``lifespan=streams.lifespan`` or ``async with streams:``. Its methods belong to the event loop
    on which it was started.

    Args:
        database: The database: a URL (see ``open_database``), a pool or an engine; by default
            ``INKSTREAM_DATABASE``, or else ``sqlite:///inkstream.db``. Pass a pair of ``Store`` and
            ``Notifier`` for a database of your own.
        on_end: Called with the ``StreamBody`` of each stream that has ended, for whatever reason,
            and whichever process noticed. It is called at least once for each stream that was
            created while ``on_end`` was set, in one process that has an ``on_end``. If it raises,
            it is called again a few times.
        allowed_origins: Other sites whose pages may start and cancel streams with this site's
            cookie, such as ``"https://app.example"``.
        limits: See ``Limits``.
        timing: See ``Timing``.
        http: See ``HTTPSettings``.
        clock: For tests and simulations.
        observer: Metrics and traces: ``inkstream.telemetry.OpenTelemetry()``, or an ``Observer`` of
            your own.
    """

    def __init__(
        self,
        database: Any = None,
        *,
        on_end: OnEnd | None = None,
        allowed_origins: Collection[str] = (),
        limits: Limits | None = None,
        timing: Timing | None = None,
        http: HTTPSettings | None = None,
        clock: Clock | None = None,
        observer: Observer | None = None,
    ) -> None:
        if on_end is not None:
            check_async("on_end", on_end, "body")
        if limits is not None:
            check_kind("limits", limits, Limits, "a Limits(…)")
        if timing is not None:
            check_kind("timing", timing, Timing, "a Timing(…)")
        if http is not None:
            check_kind("http", http, HTTPSettings, "an HTTPSettings(…)")
        if database is None:
            database = os.environ.get("INKSTREAM_DATABASE") or DEFAULT_DATABASE
        self._database = database
        self._on_end = on_end
        self._allowed_origins = origins(allowed_origins)
        self._limits = limits or Limits()
        self._timing = timing or Timing()
        self._http = http or HTTPSettings()
        self._clock = clock or SystemClock()
        self._observer = observer
        self._running = Running(self._make_engine)
        try:
            open_database(database)  # a wrong URL must raise here
        except BaseException:
            self._database = None
            del database  # a traceback may show this variable, which contains the password
            raise

    def __repr__(self) -> str:
        state = "running" if self._running.is_running else "not running"
        return f"<PersistentTextStreaming on {name_of(self._database)}, {state}>"

    # Life --------------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def lifespan(self, app: object = None) -> AsyncIterator[None]:
        """Run as long as the application runs: ``FastAPI(lifespan=streams.lifespan)``."""
        async with self:
            yield

    async def __aenter__(self) -> Self:
        """Start, or join the running engine of this event loop. Under a server, SIGTERM drains it.

        Raises:
            NotRunning: It runs on another event loop of this process.
            StoreUnavailable, SchemaOutdated: The database is unavailable, or has other tables.
        """
        await self._running.enter()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Drain and stop, if this was the last user."""
        await self._running.leave(hurry=error is not None)

    @property
    def engine(self) -> Engine:
        """The running engine, for code that builds on it.

        Raises:
            NotRunning: It is not started, or runs on another event loop or in another process.
        """
        return self._running.engine

    def _make_engine(self) -> Engine:
        store, notifier = open_database(self._database)
        return Engine(
            store,
            notifier,
            worker=new_worker(),
            clock=self._clock,
            limits=self._limits,
            timing=self._timing,
            on_end=None if self._on_end is None else self._report,
            observer=self._observer,
        )

    # Writing -----------------------------------------------------------------------------------

    async def create(
        self,
        stream_id: str | None = None,
        *,
        owner: str | None = None,
        group: str | None = None,
        metadata: Mapping[str, JSON] | None = None,
        kind: Kind | Literal["text", "log"] = Kind.TEXT,
        start_within_s: float | None = None,
        retain_s: float | None = _DEFAULT,
        takeover_within_s: float | None = None,
        begin: Sequence[str | Mapping[str, JSON]] = (),
        connection: object | None = None,
    ) -> StreamId:
        """Create a stream and return its id. Durable on return, or with the caller's transaction.

        Args:
            stream_id: An id of your own; by default 128 random bits.
            owner: The stream's owner. ``Limits.live_streams_per_owner`` counts streams by owner,
                and ``response(…, owner=…)`` compares it.
            group: The chat or other object that it belongs to. ``response(…, group=…)`` compares
                it.
            metadata: The application's own JSON object; never sent to clients.
            kind: ``"text"`` for one writer and an end, ``"log"`` for many writers.
            start_within_s: Replaces ``Timing.start_within_s``.
            retain_s: Replaces ``Timing.retain_s``; ``None`` keeps the stream for ever.
            takeover_within_s: Replaces ``Timing.takeover_within_s``.
            begin: The stream's first messages, after which its writer continues.
            connection: The application's own open connection or session. The stream then exists
                only if its transaction commits.

        Raises:
            StreamExists: The id is taken.
            TooManyStreams: The owner has as many live streams as ``Limits`` allows.
            InvalidStreamId, InvalidMessage, LimitExceeded, StoreUnavailable
        """
        engine, timing = self.engine, self._timing
        kind = one_of("kind", Kind, kind)
        check_names(owner=owner, group=group)
        check_storable(owner=owner, group=group)
        check_object("metadata", metadata)
        if start_within_s is not None:
            check_seconds("start_within_s", start_within_s)
        if takeover_within_s is not None:
            check_seconds("takeover_within_s", takeover_within_s)
        if retain_s is not _DEFAULT:
            check_seconds("retain_s", retain_s, none=True)
        now = engine.clock.wall()
        wire.dump_json(dict(metadata or {}))
        within = timing.start_within_s if start_within_s is None else start_within_s
        name = StreamId.generate() if stream_id is None else StreamId(stream_id)
        new = NewStream(
            stream_id=name,
            kind=kind,
            owner=owner,
            group=group,
            metadata=dict(metadata or {}),
            created_at=now,
            due_at=now + within if kind is Kind.TEXT else None,
            retain_s=timing.retain_s if retain_s is _DEFAULT else retain_s,
            takeover_within_s=(
                timing.takeover_within_s if takeover_within_s is None else takeover_within_s
            ),
            report=self._on_end is not None,
            append=self._first(name, begin),
            max_live=(
                self._limits.live_streams_per_owner
                if owner is not None and kind is Kind.TEXT
                else None
            ),
        )
        return (await engine.changes.create(new, connection=connection)).stream_id

    def _first(
        self, stream_id: StreamId, messages: Sequence[str | Mapping[str, JSON]]
    ) -> Segment | None:
        encoded = [
            message if isinstance(message, str) else wire.dump_object(message)
            for message in as_items("begin", messages)
        ]
        for message in encoded:
            self._limits.check_message(stream_id, wire.size_of(message))
        segment = wire.encode_whole(encoded)
        self._limits.check_stream(stream_id, 0 if segment is None else len(segment.payload))
        return segment

    def start(
        self,
        stream_id: str,
        source: Source,
        *,
        on_disconnect: OnDisconnect = "continue",
    ) -> asyncio.Task[None]:
        """Let a source write a stream, in a task of its own that continues after the request (G6).

        If the stream is already claimed, the source is not called (G4). If the store is
        unavailable, the start waits for it, at most ``Timing.patience_s``. Then the stream ends
        ``error``, code ``store_unavailable``, as soon as the store accepts that.

        Args:
            stream_id: The id of a stream whose creation has been committed.
            source: See ``Source``.
            on_disconnect: ``"cancel"`` ends the stream ``cancelled`` after it had no reader in any
                process for ``Timing.disconnect_grace_s``. It may take twice as long if the last
                reader was in another process, because readers there are found through the store.

        Returns:
            A task that ends with the stream. If the claim fails, the task raises the error, which
            is also logged: ``StreamNotFound``, ``StoreUnavailable``. Cancelling the task ends the
            stream ``error``. Before the claim, cancelling it leaves the stream ``pending``: another
            start may claim it until ``start_within_s`` has passed.

        Raises:
            TypeError: The source has a wrong type.
            TooManyStreams: This process has as many streams as ``Limits.live_streams`` allows.
            ShuttingDown: This process is draining. After these two errors, the stream is still
                ``pending``.
        """
        cancels = _cancels(on_disconnect)
        return self.engine.starts.start(StreamId(stream_id), source, cancel_without_readers=cancels)

    @contextlib.asynccontextmanager
    async def write(self, stream_id: str, *, takeover: bool = False) -> AsyncIterator[StreamWriter]:
        """Write a stream from a job or another process: claim it, and end it with the block.

        It ends ``done`` when the block ends, and ``error`` when the block raises. Call ``finish``
        or ``release`` inside the block for another end.

        Args:
            stream_id: The stream.
            takeover: Also take over a stream whose writer died or released it, with its text so
                far.

        Raises:
            NotClaimed: The stream has a writer, or has ended.
            StreamNotFound, ShuttingDown, TooManyStreams, StoreUnavailable
        """
        engine = self.engine
        writer = await engine.claims.claim(StreamId(stream_id), takeover=takeover)
        engine.observer.running(writer.state, contextvars.copy_context())
        handle = StreamWriter(engine, writer)
        try:
            yield handle
            if writer.active:
                await engine.writers.finish(writer, End(Status.DONE))
        except BaseException as exc:
            if writer.active:
                await asyncio.shield(engine.writers.finish_failed(writer, exc))
            raise
        finally:
            engine.writers.part_from(writer)

    async def post(
        self,
        stream_id: str,
        *messages: str | Mapping[str, JSON],
        owner: str | None = None,
        group: str | None = None,
        connection: object | None = None,
    ) -> str:
        """Append messages to a log. Durable on return, or with the caller's transaction.

        Returns:
            The offset after the last message, as this process knows it.

        Raises:
            StreamNotFound: No such stream, or it has another owner or group than given.
            StreamEnded, StreamConflict, InvalidMessage, StoreUnavailable
        """
        await self._check_belongs(stream_id, owner, group, connection)
        offset = await self.engine.changes.append(
            StreamId(stream_id), messages, connection=connection
        )
        return str(offset)

    async def close(
        self,
        stream_id: str,
        *,
        owner: str | None = None,
        group: str | None = None,
        connection: object | None = None,
    ) -> bool:
        """Close a log, so that nothing more can be posted. Return whether this call did it.

        Raises:
            StreamNotFound: No such stream, or it has another owner or group than given.
            StreamConflict: It is a text stream.
        """
        await self._check_belongs(stream_id, owner, group, connection)
        return await self.engine.changes.close(StreamId(stream_id), connection=connection)

    async def cancel(
        self,
        stream_id: str,
        *,
        owner: str | None = None,
        group: str | None = None,
        connection: object | None = None,
    ) -> bool:
        """End a text stream ``cancelled``, in whatever process its writer runs.

        The text that readers have seen stays. The end is durable on return. The writer's task is
        cancelled within a second.

        Returns:
            Whether this call ended it. A stream that has ended does not change.

        Raises:
            StreamNotFound: No such stream, or it has another owner or group than given.
            StreamConflict: It is a log.
        """
        state = await self._state(stream_id, owner, group, connection)
        return await self.engine.changes.cancel(state, connection=connection)

    async def delete(
        self,
        stream_id: str,
        *,
        owner: str | None = None,
        group: str | None = None,
        connection: object | None = None,
    ) -> bool:
        """Delete a stream with its text. Its writer is stopped, and its readers are disconnected.

        Returns:
            Whether it existed (for the owner and group given).
        """
        try:
            state = await self._state(stream_id, owner, group, connection)
        except StreamNotFound:
            return False
        return await self.engine.changes.delete([state], connection=connection) > 0

    async def delete_all(
        self,
        *,
        owner: str | None = None,
        group: str | None = None,
        connection: object | None = None,
    ) -> int:
        """Delete all streams of an owner, a group, or both, in batches; return how many.

        With the application's own ``connection``, the streams are deleted only if its transaction
        commits, together with the application's rows.
        """
        check_names(owner=owner, group=group)
        if owner is None and group is None:
            raise ValueError("pass owner=…, group=…, or both: whose streams to delete?")
        deleted = 0
        readers, changes = self.engine.readers, self.engine.changes
        query = Query(owner=owner, group=group, limit=200)
        while states := await readers.find(query, connection=connection):
            deleted += await changes.delete(states, connection=connection)
        return deleted

    # Reading -----------------------------------------------------------------------------------

    async def read(
        self, stream_id: str, *, owner: str | None = None, group: str | None = None
    ) -> StreamBody:
        """Return a stream as it is stored now.

        Raises:
            StreamNotFound: No such stream, or it has another owner or group than given.
        """
        pages = await self.engine.readers.pages(StreamId(stream_id))
        if not _belongs(pages[-1].state, owner, group):
            raise StreamNotFound(stream_id)
        return body_of(pages)

    async def read_many(
        self, stream_ids: Collection[str], *, owner: str | None = None, group: str | None = None
    ) -> dict[str, StreamBody]:
        """Return the streams that exist (for the owner and group given), by id."""
        check_names(owner=owner, group=group)
        ids = [StreamId(stream_id) for stream_id in as_items("stream_ids", stream_ids)]
        found = await self.engine.readers.pages_of(ids)
        return {
            stream_id: body_of(pages)
            for stream_id, pages in found.items()
            if _belongs(pages[-1].state, owner, group)
        }

    async def list(
        self,
        *,
        owner: str | None = None,
        group: str | None = None,
        status: Status | str | None = None,
        cursor: str | None = None,
        limit: int = 100,
    ) -> Listing:
        """Return streams without their text, newest first, a page at a time.

        Args:
            owner: Only streams of this owner.
            group: Only streams of this group.
            status: Only streams with this status.
            cursor: ``Listing.cursor`` of the page before.
            limit: The largest number of streams to return.
        """
        check_names(owner=owner, group=group)
        check_count("limit", limit)
        if cursor is not None and not (isinstance(cursor, str) and _CURSOR.fullmatch(cursor)):
            raise ValueError(f"{cursor!r:.80} is not a cursor: pass Listing.cursor")
        states = await self.engine.readers.find(
            Query(
                owner=owner,
                group=group,
                statuses=None if status is None else (one_of("status", Status, status),),
                before=None if cursor is None else int(cursor),
                limit=limit + 1,
            )
        )
        more = len(states) > limit
        states = states[:limit]
        return Listing(states, str(states[-1].internal_id) if more else None)

    async def describe(
        self, stream_id: str, *, owner: str | None = None, group: str | None = None
    ) -> StreamDescription:
        """Return everything known about a stream except its text, and why it is in this condition.

        For operators: its writer and whether that is alive, its readers, the time of the last
        piece, and what is due. It also works in a process that started after a fault, because it
        reads the database, to which every worker reports its condition with each beat.

        Raises:
            StreamNotFound: No such stream, or it has another owner or group than given.
            StoreUnavailable
        """
        state = await self._state(stream_id, owner, group, None)
        return await describe(self.engine.store, state, self.engine.condition)

    async def latest(
        self, *, owner: str | None = None, group: str | None = None
    ) -> StreamState | None:
        """Return the newest text stream of an owner, a group, or both, without its text.

        For a chat whose answer is still being written, this is that answer. It is read from the
        store, so that a stream just created in another process is found.
        """
        check_names(owner=owner, group=group)
        if owner is None and group is None:
            raise ValueError("pass owner=…, group=…, or both: whose latest stream?")
        before: int | None = None
        while states := await self.engine.readers.find(
            Query(owner=owner, group=group, before=before, limit=10)
        ):
            for state in states:
                if state.kind is Kind.TEXT:
                    return state
            before = states[-1].internal_id
        return None

    async def health(self, *, within_s: float = 2.0) -> Health:
        """Return whether this process runs, and whether it can serve requests. Raises nothing.

        Args:
            within_s: How long a small write to the database may take.
        """
        check_seconds("within_s", within_s, zero=False)
        try:
            engine = self.engine
        except NotRunning:
            return NOT_STARTED
        return await check_health(engine, within_s)

    def follow(
        self,
        stream_id: str,
        offset: str | None = None,
        *,
        owner: str | None = None,
        group: str | None = None,
    ) -> Following:
        """Return an async iterator over a stream: text, JSON objects, and the ``End`` last.

        It waits for new messages from any process, and continues after the store was unavailable.
        ``Following.offset`` is where to continue another time.

        Args:
            stream_id: The stream.
            offset: Where to begin: from ``Following.offset``, ``StreamBody.offset`` or an event;
                ``"now"`` for messages after this call.
            owner: A stream of another owner raises ``StreamNotFound``.
            group: A stream of another group raises ``StreamNotFound``.

        Raises:
            InvalidOffset: The offset does not come from a stream.

        Raises (while iterating):
            StreamNotFound, OffsetGone, TooManyReaders
        """
        check_names(owner=owner, group=group)
        if offset is not None and offset != "now":
            wire.Offset.parse(offset)
        return Following(
            self.engine,
            StreamId(stream_id),
            offset,
            allow=lambda state: _belongs(state, owner, group),
        )

    async def wait(
        self, stream_id: str, *, owner: str | None = None, group: str | None = None
    ) -> StreamBody:
        """Wait until a stream has ended, and return it.

        Raises:
            StreamNotFound: No such stream, or it has another owner or group than given.
        """
        following = self.follow(stream_id, "now", owner=owner, group=group)
        async with contextlib.aclosing(following):
            async for _ in following:
                pass
        return await self.read(stream_id, owner=owner, group=group)

    async def _check_belongs(
        self, stream_id: str, owner: str | None, group: str | None, connection: object | None
    ) -> None:
        """Raise ``StreamNotFound`` for a stream of another owner or group. Reads only if needed."""
        if owner is not None or group is not None:
            await self._state(stream_id, owner, group, connection)

    async def _state(
        self, stream_id: str, owner: str | None, group: str | None, connection: object | None
    ) -> StreamState:
        page = await self.engine.readers.page(StreamId(stream_id), 0, 0, connection=connection)
        if not _belongs(page.state, owner, group):
            raise StreamNotFound(stream_id)
        return page.state

    # HTTP --------------------------------------------------------------------------------------

    def response(
        self,
        request: Request,
        stream_id: str,
        *,
        owner: str | None = None,
        group: str | None = None,
        format: str | Format | None = None,  # noqa: A002 - the word on the wire
        headers: Mapping[str, str] | None = None,
    ) -> StreamResponse:
        """Return the response that follows a stream from the request's offset; see docs/http.md.

        Args:
            request: The request. Its ``Accept``, ``Last-Event-ID``, ``?format=`` and ``?offset=``
                are used.
            stream_id: The stream. An absent one is answered 404, after a short wait.
            owner: A stream of another owner gets the answer of an absent one.
            group: A stream of another group gets the answer of an absent one.
            format: ``"events"``, ``"text"`` or ``"json"``, overriding the request; or a format of
                ``inkstream.formats``, or a ``Format`` of your own.
            headers: Further headers of the response.
        """
        _check_request(request, format, owner, group)
        try:
            return self._respond(
                request, StreamId(stream_id), _allow(owner, group), format, headers
            )
        except InvalidStreamId as exc:
            return StreamResponse(problem_for(exc))

    def stream(
        self,
        request: Request,
        stream_id: str,
        source: Source,
        *,
        owner: str | None = None,
        group: str | None = None,
        on_disconnect: OnDisconnect = "continue",
        format: str | Format | None = None,  # noqa: A002 - the word on the wire
        headers: Mapping[str, str] | None = None,
    ) -> StreamResponse:
        """Start a stream unless it has started, and return the response that follows it.

        It joins ``start`` and ``response`` in one request, for a page that starts its own answer. A
        request with a cookie must come from this site or ``allowed_origins``. If the stream cannot
        be started, the response is an error.
        """
        _check_request(request, format, owner, group)
        cancels = _cancels(on_disconnect)
        if cancels and isinstance(format, Format) and not format.abort_stops:
            raise ValueError(
                "on_disconnect='cancel' is not for this format: its clients abort requests for "
                "many reasons, so an abort is not a Stop; leave it out, and cancel with "
                "streams.cancel"
            )
        problem = self.refusal(request)
        if problem is not None:
            return StreamResponse(problem)
        try:
            claimed = self.engine.starts.start_for_request(
                StreamId(stream_id),
                source,
                allow=lambda state: _belongs(state, owner, group),
                cancel_without_readers=cancels,
            )
        except (InvalidStreamId, ShuttingDown, TooManyStreams) as exc:
            return StreamResponse(problem_for(exc))
        return self._respond(
            request, StreamId(stream_id), _allow(owner, group), format, headers, claimed
        )

    def refusal(self, request: Request) -> Problem | None:
        """Return the 403 for a request that another site made with a user's cookie, else ``None``.

        For routes of your own that change something and know their user by a cookie. See
        ``allowed_origins``.
        """
        return cross_site_problem(request, self._allowed_origins)

    def response_many(
        self,
        request: Request,
        wanted: Mapping[str, str | None],
        *,
        owner: str | None = None,
        group: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """Return one response that follows many streams, for a route of your own.

        A client ``POST``s the list of streams; docs/http.md describes the answer. Each stream is
        found, checked and resumed separately. An absent or denied stream is refused inside the
        answer, and does not delay the others. The npm package uses a route of your own only if
        the answers of single streams name it, in the header ``Stream-Follow``.

        Args:
            request: Its ``Accept`` decides between events and one JSON batch.
            wanted: The streams' ids, 1 to 64, each with the offset to continue from (``None``: the
                start).
            owner: A stream of another owner gets the answer of an absent one.
            group: A stream of another group gets the answer of an absent one.
            headers: Further headers of the response.
        """
        _check_request(request, None, owner, group)
        check_kind("wanted", wanted, Mapping, "a mapping of ids to offsets")
        problem = cross_site_problem(request, self._allowed_origins)
        if problem is not None:
            return ManyResponse(problem)
        try:
            check_wanted(wanted)
        except InvalidInput as exc:
            return ManyResponse(problem_for(exc))
        return self._respond_many(request, wanted, _allow(owner, group), headers=headers)

    def _respond_many(
        self,
        request: Request,
        wanted: Mapping[str, str | None],
        allow: Allow | None,
        *,
        ask_again: bool = False,
        headers: Mapping[str, str] | None = None,
    ) -> ManyResponse:
        engine = self.engine

        def follow(stream_id: StreamId, offset: str | None) -> Follow:
            return Follow(
                engine=engine,
                stream_id=stream_id,
                request=request,
                given=offset,
                settings=self._http,
                allow=allow,
                ask_again=ask_again,
            )

        many = FollowMany(
            engine=engine, request=request, settings=self._http, follow=follow, wanted=wanted
        )
        return ManyResponse(many, headers=headers)

    def _respond(
        self,
        request: Request,
        stream_id: StreamId,
        allow: Allow | None,
        format: str | Format | None = None,  # noqa: A002
        headers: Mapping[str, str] | None = None,
        started: Awaitable[object] | None = None,
        *,
        ask_again: bool = False,
    ) -> StreamResponse:
        follow = Follow(
            engine=self.engine,
            stream_id=stream_id,
            request=request,
            given=requested_offset(request),
            settings=self._http,
            format=format,
            allow=allow,
            started=started,
            ask_again=ask_again,
        )
        # Percent-encoded, because a header can contain only Latin-1.
        named = {STREAM_ID_HEADER: quote(stream_id, safe=_UNRESERVED)}
        return StreamResponse(follow, headers=named | dict(headers or {}))

    def _routes(self, authorize: Authorize | None, allow_anonymous: bool) -> StreamRoutes:
        def follow(request: Request, stream_id: StreamId, allow: Allow | None) -> Response:
            return self._respond(request, stream_id, allow, ask_again=True)

        def follow_many(
            request: Request, wanted: Mapping[str, str | None], allow: Allow | None
        ) -> Response:
            return self._respond_many(request, wanted, allow, ask_again=True)

        async def cancel(stream_id: StreamId, allow: Allow | None) -> None:
            try:
                state = await self.engine.readers.state(stream_id)
            except StreamGone as exc:
                if allow is None:
                    raise
                raise StreamNotFound(stream_id) from exc
            if allow is not None and not await allow(state):
                raise StreamNotFound(stream_id)
            await self.engine.changes.cancel(state)

        return StreamRoutes(
            follow,
            follow_many,
            cancel,
            require_authorize(authorize, allow_anonymous),
            self._allowed_origins,
        )

    def asgi(
        self, *, authorize: Authorize | None = None, allow_anonymous: bool = False
    ) -> StreamRoutes:
        """Return an ASGI app to mount: ``GET /{id}``, ``POST /{id}/cancel`` and ``POST /follow``.

        A mounted app's lifespan does not run: start the streams in the lifespan of the main app.

        Args:
            authorize: Decides about each request; see ``Authorize``. A denied stream looks absent.
            allow_anonymous: Allow everything to everybody, instead of ``authorize``.
        """
        return self._routes(authorize, allow_anonymous)

    def health_app(self, *, within_s: float = 2.0) -> HealthRoutes:
        """Return an ASGI app of ``GET /live`` and ``GET /ready`` for probes, to mount.

        They answer 200 or 503, with ``Health`` as JSON, and need no permission.

        Args:
            within_s: See ``health``.
        """
        check_seconds("within_s", within_s, zero=False)
        return HealthRoutes(lambda: self.health(within_s=within_s))

    def doctor_probe(self, *, authorize: AuthorizeProbe) -> DoctorProbe:
        """Return an ASGI app for ``inkstream doctor URL``, to mount on a path of its own.

        With it, the doctor finds out what proxies do on the way to this application. It touches no
        stream.

        Args:
            authorize: ``async authorize(request) -> bool``: whether this request may use it.
        """
        return DoctorProbe(authorize, self._http.ping_s)

    def inspector(self, *, authorize: AuthorizeOperator) -> Inspector:
        """Return an ASGI app for operators, to mount on a path of its own: a page with Stop.

        Args:
            authorize: ``async authorize(request, action) -> bool``, with ``"look"``, ``"text"`` or
                ``"stop"`` as the action. Only a result of ``True`` allows the action.
        """
        return Inspector(lambda: self.engine, authorize, self._http, self._allowed_origins)

    def router(
        self, *, authorize: Authorize | None = None, allow_anonymous: bool = False
    ) -> APIRouter:
        """Return the same as a FastAPI router: ``app.include_router(streams.router(…))``.

        Elsewhere, mount ``asgi()``.
        """
        from inkstream.http.fastapi_router import fastapi_router

        return fastapi_router(self._routes(authorize, allow_anonymous))

    def durable_streams(
        self,
        *,
        authorize: Authorize | None = None,
        allow_anonymous: bool = False,
        settings: DurableSettings | None = None,
    ) -> DurableStreams:
        """Return an ASGI app of the open Durable Streams protocol, to mount on a path of its own.

        Args:
            authorize: Decides about each request; see ``Authorize``.
            allow_anonymous: Allow everything to everybody, instead of ``authorize``.
            settings: See ``DurableSettings``.
        """
        return DurableStreams(
            lambda: self.engine,
            authorize=authorize,
            allow_anonymous=allow_anonymous,
            settings=settings,
            http=self._http,
            allowed_origins=self._allowed_origins,
        )

    async def _report(self, state: StreamState) -> None:
        assert self._on_end is not None
        while True:
            try:
                pages = await self.engine.readers.pages(state.stream_id)
            except StreamNotFound:
                return
            except StoreUnavailable:  # on_end was not called, so this does not count as a try
                await asyncio.sleep(_RETRY_S)
            else:
                if pages[-1].state.internal_id == state.internal_id:
                    await self._on_end(body_of(pages))
                return


def _cancels(on_disconnect: OnDisconnect) -> bool:
    if on_disconnect not in ("continue", "cancel"):
        raise ValueError(f"on_disconnect is 'continue' or 'cancel', not {on_disconnect!r}")
    return on_disconnect == "cancel"


def _check_request(
    request: object,
    format: str | Format | None,  # noqa: A002
    owner: object,
    group: object,
) -> None:
    check_kind("request", request, Request, "the starlette (or FastAPI) Request to answer")
    check_names(owner=owner, group=group)
    check_format(format)


def _belongs(state: StreamState, owner: str | None, group: str | None) -> bool:
    check_names(owner=owner, group=group)
    return owner in (None, state.owner) and group in (None, state.group)


def _allow(owner: str | None, group: str | None) -> Allow | None:
    if owner is None and group is None:
        return None

    async def allow(state: StreamState) -> bool:
        return _belongs(state, owner, group)

    return allow
