"""A reader: an offset and a wait. It costs the writer nothing and its neighbours nothing."""

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
"""Bytes handed out of a page at a time, and so kept in the server's buffers by a slow client.

A send is copied on its way out, and copies that are larger take fresh memory from the system each
time: a megabyte in one send cost twice the CPU of the same in sixteen.
"""


class Wait(Protocol):
    """A wait for news: a future, or one that many readers share."""

    def done(self) -> bool:
        """Tell if it has ended."""

    def set_result(self, result: None, /) -> None:
        """End it."""


class ReaderCut(Exception):
    """The reader is to go away without a terminal event and come back later, or elsewhere."""


class Reader:
    """Read one stream from a position to its end, each step taking all that is new.

    Attributes:
        position: After the last message handed out.
        end: How the stream ended, once everything before it was handed out.
        alarm_at: When, on the engine's monotonic clock, ``alarm`` is to be called.
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
        """Where to go on from: after all that was handed out, and after the end if that was."""
        return Offset.at(self.tail, self.position, ended=self.end is not None)

    async def frames(self) -> bytes:
        """Return all that is new as event frames; empty at the end, or when interrupted.

        Raises:
            StreamNotFound: The stream was deleted.
            ReaderCut: Go away without a terminal event.
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
        """Have news end a wait that this reader shares; it then asks ``frames_now`` only."""
        self._wait = wait

    async def frames_now(self, max_bytes: int) -> bytes | None:
        """Return about this many new bytes; empty at the end, ``None`` if nothing is.

        Raises:
            StreamNotFound, ReaderCut: As ``frames`` does.
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
        """Return the same as segments."""
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
        """Tell if there is nothing to hand out; note the end; raise if it is time to go.

        A tail wakes its readers whenever it was looked at; what brought nothing is waited out.
        """
        tail = self.tail
        interrupted, self._interrupted = self._interrupted, False
        if tail.gone:
            # One that was rewound is still there: the client asks again, and gets 410.
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
        """End a wait under way; return whether there was one."""
        wait = self._wait
        if wait is None or wait.done():
            return False
        wait.set_result(None)
        return True

    async def _page(self) -> list[Segment]:
        """Return the next piece of what the tail no longer holds, read a large page at a time."""
        if not self._ahead:
            page = await self._store.read(self.tail.stream_id, self.position, self._page_bytes)
            if page.state.internal_id != self.tail.internal_id:
                raise StreamNotFound(self.tail.stream_id)
            if not Offset.at(self.tail, self.position).lies_in(page.state):
                raise ReaderCut  # rewound since the last page
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
        """Make the wait under way, or the next one, return empty.

        This includes a wait that has just been woken: the alarm fires only once, so it must not be
        lost.
        """
        self._interrupted = True
        self.wake()

    def close(self) -> None:
        """Leave. A wait under way raises ``ReaderCut``."""
        if not self._closed:
            self._closed = True
            self.alarm_at = math.inf
            del self.alarm  # it is not rung any more, and would be a cycle
            self.interrupt()
            self._detach(self)
