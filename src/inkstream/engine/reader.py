"""A reader: an offset and a wait. A reader never slows the writer or other readers."""

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
"""How many bytes of a page are sent at a time. For a slow client, the server buffers this many.

The server copies the bytes of each send. For a large copy it allocates new memory every time: one
send of a megabyte cost twice the CPU of sixteen smaller sends.
"""


class Wait(Protocol):
    """A wait for news: a future, or an object that several readers share."""

    def done(self) -> bool:
        """Return whether the wait has ended."""

    def set_result(self, result: None, /) -> None:
        """End the wait."""


class ReaderCut(Exception):
    """The response must close without a terminal event; its client will reconnect."""


class Reader:
    """Read one stream from a position to the stream's end. Each call returns all new messages.

    Attributes:
        position: The position after the last returned message.
        end: How the stream ended; ``None`` until everything before the end was returned.
        alarm_at: The engine's monotonic time at which ``alarm`` is called.
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
        """The stream's state when this process last read it."""
        return self.tail.state

    @property
    def offset(self) -> Offset:
        """The offset after everything returned so far, including the end if it was returned."""
        return Offset.at(self.tail, self.position, ended=self.end is not None)

    async def frames(self) -> bytes:
        """Wait for news, and return it as event frames; ``b""`` at the end or after ``interrupt``.

        Raises:
            StreamNotFound: The stream was deleted.
            ReaderCut: The response must close without a terminal event.
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
        return b"".join([wire.event_frames(tail, segment) for segment in segments])

    def share(self, wait: Wait) -> None:
        """Use a wait that several readers share. After that, call only ``frames_now``."""
        self._wait = wait

    async def frames_now(self, max_bytes: int) -> bytes | None:
        """Return about this many new bytes, without waiting.

        ``b""`` means that the stream has ended. ``None`` means that nothing is new.

        Raises:
            StreamNotFound, ReaderCut: In the same cases as ``frames``.
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
        return b"".join([wire.event_frames(tail, segment) for segment in segments])

    async def segments(self) -> list[Segment]:
        """Wait as ``frames`` does, and return segments instead of frames."""
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
        """Return whether nothing is new. At the end, set ``end``. Raise if the reader must leave.

        A tail wakes its readers after every look at the store, even if the look found nothing new.
        """
        tail = self.tail
        interrupted, self._interrupted = self._interrupted, False
        if tail.gone:
            # A stream that lost messages in a restore still exists: the client reconnects and gets
            # status 410.
            raise ReaderCut if tail.cut else StreamNotFound(tail.stream_id)
        if self.position < tail.position:
            return False
        if tail.end is not None:
            self.end = tail.end
            return False
        if tail.cut or self._closed:
            raise ReaderCut
        return not interrupted

    def _news(self) -> asyncio.Future[None]:
        wait: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._wait = wait
        return wait

    def wake(self) -> bool:
        """End the current wait; return whether there was one."""
        wait = self._wait
        if wait is None or wait.done():
            return False
        wait.set_result(None)
        return True

    async def _page(self) -> list[Segment]:
        """Return the next messages that only the store still has. They are read in large pages."""
        if not self._ahead:
            page = await self._store.read(self.tail.stream_id, self.position, self._page_bytes)
            if page.state.internal_id != self.tail.internal_id:
                raise StreamNotFound(self.tail.stream_id)
            if not Offset.at(self.tail, self.position).lies_in(page.state):
                raise ReaderCut  # messages were lost since the last page
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
        """Make the current wait, or the next one, return empty.

        A wait that was woken but has not returned yet also returns empty: the alarm calls this only
        once, so that call must not be lost.
        """
        self._interrupted = True
        self.wake()

    def close(self) -> None:
        """Close the reader. A current wait raises ``ReaderCut``."""
        if not self._closed:
            self._closed = True
            self.alarm_at = math.inf
            del self.alarm  # the alarm will not be called again, and it would be a reference cycle
            self.interrupt()
            self._detach(self)
