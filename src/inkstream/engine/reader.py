"""A reader follows one stream. A slow reader never slows the writer or other readers (G9)."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from inkstream import wire
from inkstream._errors import StreamNotFound
from inkstream._types import End, Segment, StreamState
from inkstream.abc import Store
from inkstream.engine.tail import Tail
from inkstream.wire import Offset

_PIECE_BYTES: Final = 64 * 1024
"""A reader returns a page of the store in portions of about this many bytes.

An ASGI server copies each portion, and keeps the copy in memory until a slow client accepts it.
One large copy costs about twice the CPU time of many small copies.
"""


class Wait(Protocol):
    """A wait for news of a stream: a future, or an object that wakes a bundle of readers."""

    def done(self) -> bool:
        """Return whether the wait has ended."""

    def set_result(self, result: None, /) -> None:
        """End the wait."""


class ReaderSentAway(Exception):
    """The reader's response must close without a terminal event, so that its client reconnects."""


class Reader:
    """Read one stream from a position to the stream's end.

    Attributes:
        position: The position after the last message that the reader returned.
        end: How the stream ended; ``None`` until the reader has returned all messages.
        alarm: The function that ``Readers.tick`` calls at ``alarm_at``.
        alarm_at: A time of the engine's monotonic clock. ``math.inf`` means never.
    """

    __slots__ = (
        "_ahead",
        "_closed",
        "_detach",
        "_interrupted",
        "_page_bytes",
        "_store",
        "_wait",
        "alarm",
        "alarm_at",
        "end",
        "position",
        "tail",
    )

    def __init__(
        self,
        store: Store,
        tail: Tail,
        position: int,
        ahead: Sequence[Segment],
        *,
        page_bytes: int,
        detach: Callable[[Reader], None],
    ) -> None:
        self.tail = tail
        self.position = position
        self.end: End | None = None
        self.alarm_at = math.inf
        self.alarm: Callable[[], None] = self.interrupt
        self._store = store
        self._ahead = wire.merge(ahead)[::-1]
        self._page_bytes = page_bytes
        self._detach = detach
        self._wait: Wait | None = None
        self._closed = False
        self._interrupted = False
        tail.readers[self] = None

    @property
    def state(self) -> StreamState:
        """The stream's state, as this process last knew it."""
        return self.tail.state

    @property
    def offset(self) -> Offset:
        """The offset after all returned messages, and after the end if ``end`` is set."""
        return Offset.at(self.tail, self.position, ended=self.end is not None)

    async def frames(self) -> bytes:
        """Wait for new messages, and return them as event frames.

        ``b""`` means that the stream has ended (``end`` is set), or that ``interrupt`` was called.

        Raises:
            StreamNotFound: The stream was deleted.
            ReaderSentAway: The response must close without a terminal event.
            StoreUnavailable: The store is away, and the next messages are not in memory.
        """
        while self._waits():
            await self._news()
        tail = self.tail
        if self.position >= tail.position:
            return b""
        if not self._ahead:
            frames = tail.frames_after(self.position)
            if frames is not None:
                self.position = tail.position
                return frames
        segments = await self._page()
        return b"".join([tail.event_frames(segment) for segment in segments])

    def share(self, wait: Wait) -> None:
        """Use ``wait``, which wakes this reader's bundle. From now on, call only ``frames_now``."""
        self._wait = wait

    async def frames_now(self, max_bytes: int) -> bytes | None:
        """Return about ``max_bytes`` of new event frames. Do not wait for new messages.

        ``b""`` means that the stream has ended. ``None`` means that there are no new messages.

        Raises:
            StreamNotFound, ReaderSentAway, StoreUnavailable: In the same cases as ``frames``.
        """
        self._interrupted = False
        if self._waits():
            return None
        tail = self.tail
        if self.position >= tail.position:
            return b""
        if not self._ahead:
            some = tail.some_frames_after(self.position, max_bytes)
            if some is not None:
                frames, self.position = some
                return frames
        segments = await self._page()
        return b"".join([tail.event_frames(segment) for segment in segments])

    async def segments(self) -> list[Segment]:
        """Wait as ``frames`` does, but return segments instead of event frames."""
        while self._waits():
            await self._news()
        tail = self.tail
        if self.position >= tail.position:
            return []
        if not self._ahead:
            segments = tail.segments_after(self.position)
            if segments is not None:
                self.position = tail.position
                return segments
        return await self._page()

    def _waits(self) -> bool:
        """Return whether the reader must still wait.

        If the stream has ended and the reader has returned all messages, set ``end``. Call this
        method after every wake, because a tail wakes its readers even if there is nothing new.

        Raises:
            StreamNotFound, ReaderSentAway: In the same cases as ``frames``.
        """
        tail = self.tail
        interrupted, self._interrupted = self._interrupted, False
        if tail.gone:
            # If ``tail.sent_away`` is set, the stream may still exist, for example after it lost
            # messages. The reader's client must then reconnect. The server answers with status 410
            # if the store lost the messages before the client's offset.
            raise ReaderSentAway if tail.sent_away else StreamNotFound(tail.stream_id)
        if self.position < tail.position:
            return False
        if tail.end is not None:
            self.end = tail.end
            return False
        if tail.sent_away or self._closed:
            raise ReaderSentAway
        return not interrupted

    def _news(self) -> asyncio.Future[None]:
        wait: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._wait = wait
        return wait

    def wake(self) -> bool:
        """End the current wait; return whether the reader was waiting."""
        wait = self._wait
        if wait is None or wait.done():
            return False
        wait.set_result(None)
        return True

    async def _page(self) -> list[Segment]:
        """Return about ``_PIECE_BYTES`` of the next messages, from a page of the store."""
        if not self._ahead:
            page = await self._store.read(self.tail.stream_id, self.position, self._page_bytes)
            if page.state.internal_id != self.tail.internal_id:
                raise StreamNotFound(self.tail.stream_id)
            if not Offset.at(self.tail, self.position).lies_in(page.state):
                raise ReaderSentAway  # messages were lost since the last page
            # The page may reach beyond the tail, and ``page.state`` then has runs that the tail
            # does not know yet.
            self.tail.learn_runs(page.state)
            self._ahead = wire.merge(page.segments)[::-1]
        segments: list[Segment] = []
        size = 0
        while self._ahead and size < _PIECE_BYTES:
            segment = wire.cut(self._ahead.pop(), self.position)
            if segment is not None:
                segments.append(segment)
                size += len(segment.payload)
                self.position = segment.end
        return segments

    def interrupt(self) -> None:
        """Make the current or next call of ``frames`` or ``segments`` return, even without news.

        The interrupt counts even if the reader does not wait now, because an alarm comes only once.
        """
        self._interrupted = True
        self.wake()

    def close(self) -> None:
        """Close the reader. A current wait raises ``ReaderSentAway``."""
        if not self._closed:
            self._closed = True
            self.alarm_at = math.inf
            del self.alarm  # breaks a reference cycle
            self.interrupt()
            self._detach(self)
