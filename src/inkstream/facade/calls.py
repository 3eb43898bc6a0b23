"""The calls on streams: create, write, read, list, end, delete."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, Literal, TypeAlias

from inkstream import wire
from inkstream._arguments import (
    as_items,
    check_count,
    check_names,
    check_object,
    check_seconds,
    check_storable,
    one_of,
)
from inkstream._errors import NotRunning, StreamNotFound
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
from inkstream.engine.generation import Source
from inkstream.engine.readers import require_messages
from inkstream.facade.handles import Following, Listing, StreamWriter, body_of
from inkstream.facade.lifespan import Lifespan
from inkstream.operations.describe import describe
from inkstream.operations.description import StreamDescription
from inkstream.operations.health import NOT_STARTED, Health, check_health

OnDisconnect: TypeAlias = Literal["continue", "cancel"]

DEFAULT_RETENTION: Final[Any] = object()
"""Stands for ``Timing.retain_s``, because ``None`` means that a stream is kept for ever."""
_CURSOR: Final = re.compile(r"[0-9]{1,18}")


class Calls(Lifespan):
    """The part of ``PersistentTextStreaming`` that needs no HTTP."""

    async def create(
        self,
        stream_id: str | None = None,
        *,
        owner: str | None = None,
        group: str | None = None,
        metadata: Mapping[str, JSON] | None = None,
        kind: Kind | Literal["text", "log"] = Kind.TEXT,
        start_within_s: float | None = None,
        retain_s: float | None = DEFAULT_RETENTION,
        takeover_within_s: float | None = None,
        begin: Sequence[str | Mapping[str, JSON]] = (),
        connection: object | None = None,
    ) -> StreamId:
        """Create a stream and return its id.

        On return, the stream is durable. With ``connection``, it becomes durable when the caller's
        transaction commits.

        Args:
            stream_id: An id of your own; by default 128 random bits.
            owner: The stream's owner. ``Limits.live_streams_per_owner`` counts streams by owner,
                and ``response(…, owner=…)`` serves only streams of that owner.
            group: The chat or other object that the stream belongs to. ``response(…, group=…)``
                serves only streams of that group.
            metadata: Your own JSON object, which is never sent to clients.
            kind: ``"text"`` for one writer at a time, ``"log"`` for many writers.
            start_within_s: Replaces ``Timing.start_within_s``.
            retain_s: Replaces ``Timing.retain_s``; ``None`` keeps the stream for ever.
            takeover_within_s: Replaces ``Timing.takeover_within_s``.
            begin: The stream's first messages.
            connection: Your own open connection or session to the same database. The stream exists
                only if the transaction of ``connection`` commits.

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
        if retain_s is not DEFAULT_RETENTION:
            check_seconds("retain_s", retain_s, none=True)
        now = engine.clock.wall()
        given = wire.dump_json(dict(metadata or {}))
        within = timing.start_within_s if start_within_s is None else start_within_s
        name = StreamId.generate() if stream_id is None else StreamId(stream_id)
        self._limits.check_message(name, len(given), "metadata")
        new = NewStream(
            stream_id=name,
            kind=kind,
            owner=owner,
            group=group,
            metadata=dict(metadata or {}),
            created_at=now,
            due_at=now + within if kind is Kind.TEXT else None,
            retain_s=timing.retain_s if retain_s is DEFAULT_RETENTION else retain_s,
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
        """Let a source write a stream, in a separate task that continues after the request (G6).

        If the stream is claimed already or has ended, the source is not called (G4). If the store
        is unavailable for longer than ``Timing.patience_s``, the stream ends ``error``, code
        ``store_unavailable``, as soon as the store is back.

        Args:
            stream_id: The stream's id. If the stream does not exist yet, the task waits for the
                stream, at most ``Timing.appears_within_s``.
            source: See ``Source``.
            on_disconnect: ``"cancel"`` ends the stream ``cancelled`` after it had no reader in any
                process for ``Timing.disconnect_grace_s`` (at least 4 s). If the last reader was in
                another process, the stream may end only after twice this time.

        Returns:
            A task that ends with the stream. If the stream has another writer or has ended, the
            task ends immediately. If the claim fails for another reason, the task logs and raises
            the error, for example ``StreamNotFound``, ``StoreUnavailable``, or for a log
            ``StreamConflict``. If you cancel the task after the claim, the stream ends ``error``.
            If you cancel the task before the claim, the stream stays ``pending``, and another start
            may claim the stream.

        Raises:
            TypeError: The source has a wrong type.
            TooManyStreams: This process has as many streams as ``Limits.live_streams`` allows.
            ShuttingDown: This process is draining. After ``TooManyStreams`` or ``ShuttingDown``,
                the stream is still ``pending``.
        """
        return self.engine.starts.start(
            StreamId(stream_id), source, cancel_without_readers=cancels(on_disconnect)
        )

    @contextlib.asynccontextmanager
    async def write(self, stream_id: str, *, takeover: bool = False) -> AsyncIterator[StreamWriter]:
        """Claim a stream, and end it when the block ends. Jobs outside the server can use this.

        The stream ends ``done`` when the block ends, and ``error`` when the block raises an error.
        For another end, call ``finish`` inside the block. To let go of the stream, call
        ``release``.

        Args:
            stream_id: The stream's id.
            takeover: Also take over a stream whose writer died or let go.

        Raises:
            NotClaimed: The stream has a living writer, has ended, or needs ``takeover``.
            StreamConflict: The stream is a log.
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
        """Append messages to a log.

        On return, the messages are durable. With ``connection``, they become durable when the
        caller's transaction commits.

        Returns:
            The offset after the last message.

        Raises:
            StreamNotFound: The stream is absent, or has another owner or group than given.
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
        """Close a log, so that nothing more can be posted. Return whether this call closed it.

        Raises:
            StreamNotFound: The stream is absent, or has another owner or group than given.
            StreamConflict: The stream is a text stream.
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

        The text that readers have seen stays. On return, the end is durable. With ``connection``,
        the end becomes durable when the caller's transaction commits. The writer's task is usually
        cancelled within a second.

        Returns:
            Whether this call ended the stream.

        Raises:
            StreamNotFound: The stream is absent, or has another owner or group than given.
            StreamConflict: The stream is a log.
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
        """Delete a stream with its text. Stop the stream's writer, and disconnect the readers.

        Returns:
            Whether the stream existed with the owner and group given.
        """
        try:
            state = await self._state(stream_id, owner, group, connection)
        except StreamNotFound:
            return False
        changes = self.engine.changes
        if connection is not None:
            return await changes.delete_inside([state.internal_id], connection) > 0
        return await changes.delete([state]) > 0

    async def delete_all(
        self,
        *,
        owner: str | None = None,
        group: str | None = None,
        connection: object | None = None,
    ) -> int:
        """Delete all streams with the given owner and group, in batches. Return how many existed.

        Give ``owner``, ``group`` or both. With ``connection``, the streams are deleted at once, and
        only if the caller's transaction commits.
        """
        check_names(owner=owner, group=group)
        if owner is None and group is None:
            raise ValueError("pass owner=…, group=…, or both: whose streams to delete?")
        deleted = 0
        readers, changes = self.engine.readers, self.engine.changes
        query = Query(owner=owner, group=group, limit=200)
        if connection is None:
            while states := await readers.find(query):
                deleted += await changes.delete(states)
            return deleted
        ids: list[int] = []
        while states := await readers.find(query, connection=connection):
            ids += [state.internal_id for state in states]
            query = replace(query, before=ids[-1])
        # One call, so that the store locks all these streams, and the streams that they copy, in
        # the order of their ids. The transaction keeps the locks until its end, so with several
        # calls a deadlock would be possible.
        return await changes.delete_inside(ids, connection)

    async def read(
        self, stream_id: str, *, owner: str | None = None, group: str | None = None
    ) -> StreamBody:
        """Return a stream as it is stored now.

        Raises:
            StreamNotFound: The stream is absent, or has another owner or group than given.
            StreamConflict: The stream contains bytes, not messages.
        """
        pages = await self.engine.readers.pages(StreamId(stream_id))
        if not belongs(pages[-1].state, owner, group):
            raise StreamNotFound(stream_id)
        require_messages(pages[-1].state)
        return body_of(pages)

    async def read_many(
        self, stream_ids: Collection[str], *, owner: str | None = None, group: str | None = None
    ) -> dict[str, StreamBody]:
        """Return the streams that exist (with the owner and group given), by id.

        Raises:
            StreamConflict: A stream contains bytes, not messages.
        """
        check_names(owner=owner, group=group)
        ids = [StreamId(stream_id) for stream_id in as_items("stream_ids", stream_ids)]
        found = await self.engine.readers.pages_of(ids)
        mine = {name: it for name, it in found.items() if belongs(it[-1].state, owner, group)}
        for pages in mine.values():
            require_messages(pages[-1].state)
        return {stream_id: body_of(pages) for stream_id, pages in mine.items()}

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
        return await listing(
            self.engine.readers.find,
            owner=owner,
            group=group,
            status=status,
            cursor=cursor,
            limit=limit,
        )

    async def describe(
        self, stream_id: str, *, owner: str | None = None, group: str | None = None
    ) -> StreamDescription:
        """Return what is known about a stream except its text, and why it is in its state.

        The description contains the stream's writer and whether the writer is alive, the readers,
        the time of the last piece, and what happens when a time limit passes. Any process can
        describe the stream, also after a fault, because workers store facts about their streams.

        Raises:
            StreamNotFound: The stream is absent, or has another owner or group than given.
            StoreUnavailable
        """
        state = await self._state(stream_id, owner, group, None)
        return await describe(self.engine.store, state, self.engine.condition)

    async def latest(
        self, *, owner: str | None = None, group: str | None = None
    ) -> StreamState | None:
        """Return the newest text stream with the given owner and group, without its text.

        Give ``owner``, ``group`` or both. For example, when the page of a chat is loaded again, a
        route can find the chat's answer.
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
        """Return whether this process runs and can serve requests. A failed check raises no error.

        The check makes a small write to the database. If this write takes longer than ``within_s``
        seconds, the process is not ready.
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

        The iterator waits for new messages from any process. If the store becomes unavailable, the
        iterator waits for the store. To continue later, pass ``Following.offset`` as ``offset``.

        Args:
            stream_id: The stream.
            offset: Where to begin: an offset from ``Following.offset``, ``StreamBody.offset`` or an
                event. ``None`` is the stream's start. ``"now"`` is the stream's tail at the first
                step of the iteration, or at an earlier call of ``Following.check``.
            owner: If the stream has another owner, the iteration raises ``StreamNotFound``.
            group: If the stream has another group, the iteration raises ``StreamNotFound``.

        Raises:
            InvalidOffset: ``offset`` is not an offset.

        Raises (while iterating):
            StreamNotFound, OffsetGone, TooManyReaders, ShuttingDown
            StreamConflict: The stream contains bytes, not messages.
        """
        check_names(owner=owner, group=group)
        if offset is not None and offset != "now":
            wire.Offset.parse(offset)
        return Following(
            self.engine,
            StreamId(stream_id),
            offset,
            allow=lambda state: belongs(state, owner, group),
        )

    async def wait(
        self, stream_id: str, *, owner: str | None = None, group: str | None = None
    ) -> StreamBody:
        """Wait until a stream has ended, and return it.

        Raises:
            StreamNotFound: The stream is absent, or has another owner or group than given.
            StreamConflict: The stream contains bytes, not messages.
        """
        following = self.follow(stream_id, "now", owner=owner, group=group)
        async with contextlib.aclosing(following):
            async for _ in following:
                pass
        return await self.read(stream_id, owner=owner, group=group)

    async def _check_belongs(
        self, stream_id: str, owner: str | None, group: str | None, connection: object | None
    ) -> None:
        """Raise ``StreamNotFound`` for another owner or group."""
        if owner is not None or group is not None:
            await self._state(stream_id, owner, group, connection)

    async def _state(
        self, stream_id: str, owner: str | None, group: str | None, connection: object | None
    ) -> StreamState:
        page = await self.engine.readers.page(StreamId(stream_id), 0, 0, connection=connection)
        if not belongs(page.state, owner, group):
            raise StreamNotFound(stream_id)
        return page.state


async def listing(
    find: Callable[[Query], Awaitable[list[StreamState]]],
    *,
    owner: str | None = None,
    group: str | None = None,
    status: Status | str | None = None,
    cursor: str | None = None,
    limit: int = 100,
) -> Listing:
    """Return a page of streams, as ``Calls.list`` does, from the streams that ``find`` returns."""
    check_names(owner=owner, group=group)
    check_count("limit", limit)
    if cursor is not None and not (isinstance(cursor, str) and _CURSOR.fullmatch(cursor)):
        raise ValueError(f"{cursor!r:.80} is not a cursor: pass Listing.cursor")
    states = await find(
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


def belongs(state: StreamState, owner: str | None, group: str | None) -> bool:
    """Return whether a stream has this owner and this group. ``None`` matches every value."""
    check_names(owner=owner, group=group)
    return owner in (None, state.owner) and group in (None, state.group)


def cancels(on_disconnect: OnDisconnect) -> bool:
    """Return whether ``on_disconnect`` is ``"cancel"``."""
    if on_disconnect not in ("continue", "cancel"):
        raise ValueError(f"on_disconnect is 'continue' or 'cancel', not {on_disconnect!r}")
    return on_disconnect == "cancel"
