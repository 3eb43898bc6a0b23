"""Opens readers, and reads streams as they are stored now."""

from __future__ import annotations

import math
from collections.abc import Sequence

from inkstream import wire
from inkstream._errors import (
    OffsetGone,
    ShuttingDown,
    StoreUnavailable,
    StreamConflict,
    StreamNotFound,
    TooManyReaders,
)
from inkstream._types import Page, Query, Read, StreamId, StreamState
from inkstream.abc import Store
from inkstream.engine.bundle import Bundle
from inkstream.engine.core import Core
from inkstream.engine.reader import Reader
from inkstream.engine.tail import Tail
from inkstream.engine.tails import Tails
from inkstream.wire import Offset

_NOW = "now"
_SNAPSHOT_BYTES = 1024 * 1024
_READ_AT_ONCE = 100


class Readers:
    """Open readers that follow streams, and read streams as they are stored now."""

    def __init__(self, core: Core, tails: Tails) -> None:
        self._life = core.life
        self._store = core.store
        self._tails = tails
        self._clock = core.clock
        self._limits = core.limits
        self._readers: dict[Reader, None] = {}
        self._bundles: dict[Bundle, None] = {}

    def tick(self, now: float) -> None:
        """Call the alarm of each reader and bundle whose ``alarm_at`` has passed."""
        # ``Tails`` lacks the tails of streams that ended before their readers came, so this loop
        # goes over the readers.
        waits: list[Reader | Bundle] = [*self._readers, *self._bundles]
        for wait in waits:
            if wait.alarm_at <= now:
                wait.alarm_at = math.inf
                wait.alarm()

    def bundle(self) -> Bundle:
        """Return an empty bundle for readers. The caller must close the bundle."""
        bundle = Bundle(lambda made: self._bundles.pop(made, None))
        self._bundles[bundle] = None
        return bundle

    async def page(
        self,
        stream_id: StreamId,
        after: int,
        max_bytes: int,
        *,
        marks: Sequence[str] = (),
        connection: object | None = None,
    ) -> Page:
        """Return a page of a stream from the store; see ``Store.read``."""
        self._life.check()
        return await self._store.read(
            stream_id, after, max_bytes, marks=marks, connection=connection
        )

    async def find(self, query: Query, *, connection: object | None = None) -> list[StreamState]:
        """Return the states of streams from the store; see ``Store.find``."""
        self._life.check()
        return await self._store.find(query, connection=connection)

    async def state(self, stream_id: StreamId) -> StreamState:
        """Return a stream's state. For a live stream, fields that change may be slightly old."""
        self._life.check()
        tail = self._tails.get(stream_id)
        if tail is not None and not tail.gone:
            return tail.state
        return (await self._store.read(stream_id, 0, 0)).state

    async def pages(self, stream_id: StreamId) -> list[Page]:
        """Return the whole stream as it is stored now, as one or more pages.

        Raises:
            StreamNotFound: The stream does not exist, or was deleted between two pages.
            OffsetGone: The store lost messages of the stream between two pages.
        """
        self._life.check()
        return await read_whole(self._store, stream_id)

    async def pages_of(self, stream_ids: Sequence[StreamId]) -> dict[StreamId, list[Page]]:
        """Return all pages of each stream, by id. Leave out streams that are absent or gone."""
        self._life.check()
        found: dict[StreamId, list[Page]] = {}
        reads = [Read(stream_id) for stream_id in dict.fromkeys(stream_ids)]
        while reads:
            some, reads = reads[:_READ_AT_ONCE], reads[_READ_AT_ONCE:]
            answers = await self._store.read_many(some, _SNAPSHOT_BYTES)
            for read, page in zip(some, answers, strict=True):
                pages = found.pop(read.stream_id, [])
                if page is None or (pages and pages[0].state.internal_id != page.state.internal_id):
                    continue
                found[read.stream_id] = pages = [*pages, page]
                if not _is_whole(pages):
                    reads.append(Read(read.stream_id, page.end))
        return {stream_id: found[stream_id] for stream_id in stream_ids if stream_id in found}

    async def look(
        self, stream_id: StreamId, offset: str | Offset | None, *, fresh: bool = False
    ) -> tuple[StreamState, Page | None]:
        """Return a stream's state and a page. With this page, ``open`` need not read the store.

        The page holds the messages after ``offset``, or is ``None`` if a tail in memory can serve a
        reader from ``offset``. With ``fresh``, the state and the page always come from the store.
        """
        self._life.check()
        offset, at_tail = _place(offset)
        tail = self._tails.get(stream_id)
        if tail is not None and _covers(tail, offset) and not fresh:
            return tail.state, None
        page = await self._page_at(stream_id, offset, at_tail)
        return page.state, page

    async def _page_at(self, stream_id: StreamId, offset: Offset, at_tail: bool) -> Page:
        return await self._store.read(
            stream_id, offset.position, 0 if at_tail else self._limits.page_bytes
        )

    async def open(
        self, stream_id: StreamId, offset: str | Offset | None, page: Page | None = None
    ) -> Reader:
        """Return a reader of a stream. The caller must close the reader.

        The reader begins at ``offset``, at the tail (``"now"``), or at the start (``None``).
        ``page`` is the page that ``look`` has just returned for ``offset``.

        Raises:
            StreamNotFound, InvalidOffset, OffsetGone, TooManyReaders, StoreUnavailable,
            ShuttingDown
        """
        self._life.check()
        if self._life.drained:
            raise ShuttingDown
        offset, at_tail = _place(offset)
        tail = self._tails.get(stream_id)
        page = _if_newest(page, tail)
        while page is None and (tail is None or not _covers(tail, offset)):
            page = await self._page_at(stream_id, offset, at_tail)
            tail = self._tails.get(stream_id)
            page = _if_newest(page, tail)
        if page is not None:
            if tail is not None and _is_rewound(tail, page.state):
                self._tails.rewound(tail, page.state)
                tail = None
            if tail is None or tail.internal_id != page.state.internal_id:
                tail = self._tails.attach(page.state)
            elif page.state.tail != tail.position and not tail.local:
                self._tails.stale(tail)
            tail.learn_runs(page.state)
        assert tail is not None
        reached = tail.position if page is None else max(tail.position, page.state.tail)
        if not (_covers(tail, offset) or (page is not None and offset.lies_in(page.state))):
            self._tails.detach(tail)
            raise OffsetGone(stream_id, str(offset))
        if len(self._readers) >= self._limits.readers:
            self._tails.detach(tail)
            raise TooManyReaders(
                f"this process has {len(self._readers)} readers, as many as Limits.readers allows",
                limit=self._limits.readers,
            )
        if len(tail.readers) >= self._limits.readers_per_stream:
            raise TooManyReaders(
                f"stream {stream_id!r} has {len(tail.readers)} readers here, as many as "
                "Limits.readers_per_stream allows",
                limit=self._limits.readers_per_stream,
            )
        if tail.sent_away:
            raise StoreUnavailable(f"the store has been away too long to follow {stream_id!r}")
        position = reached if at_tail else offset.position
        ahead = page.segments if page is not None and not at_tail else ()
        reader = Reader(
            self._store,
            tail,
            position,
            ahead,
            page_bytes=self._limits.page_bytes,
            detach=self._left,
        )
        self._readers[reader] = None
        return reader

    def __len__(self) -> int:
        return len(self._readers)

    def _left(self, reader: Reader) -> None:
        del self._readers[reader]
        tail = reader.tail
        tail.readers.pop(reader, None)
        if not tail.readers:
            tail.without_readers_since = self._clock.monotonic()
            self._tails.detach(tail)


def require_messages(state: StreamState) -> None:
    """Raise ``StreamConflict`` for a byte stream, which has no messages.

    Without this check, a reader would get an empty text, or wait for the end and get no text.
    """
    if state.counts_bytes:
        raise StreamConflict(
            state.stream_id,
            state.status,
            f"stream {state.stream_id!r} contains {state.content_type}, not messages: read it "
            "over the Durable Streams protocol",
        )


async def read_whole(store: Store, stream_id: StreamId) -> list[Page]:
    """Return what ``Readers.pages`` returns, without an engine."""
    pages = [await store.read(stream_id, 0, _SNAPSHOT_BYTES)]
    while not _is_whole(pages):
        page = await store.read(stream_id, pages[-1].end, _SNAPSHOT_BYTES)
        if page.state.internal_id != pages[0].state.internal_id:
            raise StreamNotFound(stream_id)
        offset = Offset.at(pages[-1].state, pages[-1].end)
        if not offset.lies_in(page.state):
            raise OffsetGone(stream_id, str(offset))
        pages.append(page)
    return pages


def _is_whole(pages: Sequence[Page]) -> bool:
    """Return whether ``pages`` reach the tail that the stream had at the first page.

    If the last page shows that the stream has ended, the pages must reach the final tail.
    """
    first, last = pages[0].state, pages[-1].state
    return pages[-1].end >= (last if last.ended else first).tail


def _place(offset: str | Offset | None) -> tuple[Offset, bool]:
    """Return the ``Offset`` where a reader begins, and whether the reader begins at the tail.

    If the reader begins at the tail, the returned ``Offset`` is only the start of the stream.
    """
    if offset is None or offset == _NOW:
        return wire.START, offset is not None
    return (Offset.parse(offset) if isinstance(offset, str) else offset), False


def _if_newest(page: Page | None, tail: Tail | None) -> Page | None:
    """Return ``page``, or ``None`` if the stream was created anew after ``page`` was read."""
    late = page is not None and tail is not None and page.state.internal_id < tail.internal_id
    return None if late else page


def _covers(tail: Tail, offset: Offset) -> bool:
    """Return whether a reader at ``offset`` can use ``tail`` without a read of the stream's state.

    ``offset`` must be valid, and ``tail`` must have reached it. But the tail need not hold all
    messages after ``offset``.
    """
    if tail.gone:
        return False
    if offset.is_start:
        return True
    if offset.ended:
        return offset == tail.here
    return offset.position <= tail.position and offset == Offset.at(tail, offset.position)


def _is_rewound(tail: Tail, state: StreamState) -> bool:
    """Return whether ``state`` shows that the store lost messages that ``tail`` has published.

    A state that was read before the commit of the tail's last message cannot show a loss.
    """
    return (
        tail.internal_id == state.internal_id
        and state.tail >= tail.position
        and not Offset.at(tail, tail.position).lies_in(state)
    )
