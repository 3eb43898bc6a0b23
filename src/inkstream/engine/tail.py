"""The tail of a live stream, kept once in memory and shared by all its readers.

A tail has only committed text, never text that a writer has accepted but not committed. Each
reader has a position in the tail and waits for news; the tail keeps no queue per reader.
``publish`` ignores messages that the tail already has, because the committer and a read of the
store may bring the same messages.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from inkstream import wire
from inkstream._runs import Runs, extended
from inkstream._types import JSON, End, Segment, StreamId, StreamState

_DEAD = Segment(position=0, count=0, payload=b"", index=b"")


class Follower(Protocol):
    """A reader, as a tail sees it."""

    @property
    def position(self) -> int:
        """The position after the last message that the reader returned."""

    def wake(self) -> bool:
        """End the current wait; return whether the reader was waiting."""


class Owner(Protocol):
    """A writer, as its tail sees it."""

    @property
    def internal_id(self) -> int:
        """The internal id of the claimed stream."""

    @property
    def epoch(self) -> int:
        """The epoch of the claim."""

    @property
    def active(self) -> bool:
        """True while this writer may append to the stream."""

    @property
    def ending(self) -> bool:
        """True while the writer's last commit runs."""

    @property
    def pending_bytes(self) -> int:
        """Bytes accepted and not yet committed."""

    @property
    def result(self) -> JSON:
        """The result that the source has given so far, to be stored with the end."""

    def fence(self, state: StreamState | None) -> None:
        """Stop, because the stream does not belong to this writer any more."""


class Tail:
    """The newest committed segments of one stream, and their encoded frames."""

    __slots__ = (
        "_bytes",
        "_forgotten_bytes",
        "_frames",
        "_joined",
        "_segments",
        "_starts",
        "_trimmed",
        "cut",
        "end",
        "gone",
        "internal_id",
        "max_bytes",
        "position",
        "published_at",
        "readers",
        "state",
        "stream_id",
        "without_readers_since",
        "writer",
    )

    def __init__(self, state: StreamState, max_bytes: int, now: float) -> None:
        self.state = state
        """The last state that was read. ``position``, ``end`` and ``gone`` may be newer than it."""
        self.internal_id = state.internal_id
        self.stream_id: StreamId = state.stream_id
        self.position = state.tail
        self.published_at = 0.0
        """The monotonic time at which this process last committed text of the stream."""
        self.end: End | None = state.end
        self.gone = False
        self.cut = False
        """True if readers must leave without a terminal event, and reconnect."""
        self.max_bytes = max_bytes
        self.writer: Owner | None = None
        self.readers: dict[Follower, None] = {}
        self.without_readers_since = now
        self._segments: list[Segment] = []
        self._starts: list[int] = []
        self._frames: list[bytes | None] = []
        self._trimmed = 0
        self._bytes = 0
        self._forgotten_bytes = 0
        self._joined: tuple[int, int, bytes] = (-1, -1, b"")

    @property
    def local(self) -> bool:
        """True while only a writer of this process may append."""
        return self.writer is not None

    @property
    def published_bytes(self) -> int:
        """How many bytes were published since this tail was made."""
        return self._bytes + self._forgotten_bytes

    @property
    def runs(self) -> Runs:
        """The generations of the stream's messages, at least of all published messages."""
        return self.state.runs

    @property
    def here(self) -> wire.Offset:
        """The offset after all published messages, and after the end if it is published."""
        return wire.Offset.at(self, self.position, ended=self.end is not None)

    def learn(self, state: StreamState) -> None:
        """Store a newer state. A state with an older tail does not have the newest run."""
        if self.end is not None and not state.ended:
            return  # the given state lacks the end's run, and the end's offset needs that run
        behind = state.tail < self.position
        self.state = replace(state, runs=self.runs) if behind else state

    def learn_runs(self, state: StreamState) -> None:
        """Store the runs of a state whose other fields may be old."""
        if state.tail >= self.position and state.runs != self.runs:
            self.state = replace(self.state, runs=state.runs)

    def begin_run(self, generation: int) -> None:
        """Store the generation of the messages that were committed after the tail's position."""
        if self.runs[-1:] and self.runs[-1].generation != generation:
            runs = extended(self.runs, self.position, generation)
            self.state = replace(self.state, runs=runs)

    def publish(self, segments: Sequence[Segment]) -> None:
        """Add committed segments. Messages missing before them are read from the store."""
        for segment in segments:
            end = segment.end
            if end <= self.position:
                continue
            if segment.position > self.position:
                self._forget()
            elif segment.position < self.position:
                rest = wire.cut(segment, self.position)
                assert rest is not None
                segment = rest
            self._segments.append(segment)
            self._starts.append(segment.position)
            self._frames.append(None)
            self._bytes += len(segment.payload)
            self.position = end
        if self._bytes > self.max_bytes:
            self._trim()

    def reach(self, position: int) -> None:
        """Move the position forward. Readers read everything before it from the store."""
        self._forget()
        self.position = position

    def _forget(self) -> None:
        self._segments.clear()
        self._starts.clear()
        self._frames.clear()
        self._forgotten_bytes += self._bytes
        self._trimmed = self._bytes = 0

    def _trim(self) -> None:
        while self._bytes > self.max_bytes and len(self._segments) - self._trimmed > 1:
            size = len(self._segments[self._trimmed].payload)
            self._bytes -= size
            self._forgotten_bytes += size
            # A forgotten segment keeps its place until the lists are cut, but its memory is freed.
            self._segments[self._trimmed] = _DEAD
            self._frames[self._trimmed] = None
            self._trimmed += 1
        # To cut the front of a list moves the rest of it, so wait until half of the list is free.
        if self._trimmed > 32 and self._trimmed * 2 > len(self._segments):
            del self._segments[: self._trimmed]
            del self._starts[: self._trimmed]
            del self._frames[: self._trimmed]
            self._trimmed = 0

    def wake(self) -> int:
        """Wake every waiting reader; return how many there were."""
        woken = 0
        for reader in self.readers:
            woken += reader.wake()
        return woken

    def _find(self, after: int) -> int | None:
        found = bisect_right(self._starts, after, self._trimmed) - 1
        return found if found >= self._trimmed else None

    def segments_after(self, after: int) -> list[Segment] | None:
        """Return the segments after a position, or ``None`` if the tail no longer has them all."""
        found = self._find(after)
        if found is None:
            return None
        first = wire.cut(self._segments[found], after)
        rest = self._segments[found + 1 :]
        return rest if first is None else [first, *rest]

    def frames_after(self, after: int) -> bytes | None:
        """Return the messages after a position as event frames, encoded once for all readers."""
        start, stop, frames = self._joined
        if start == after and stop == self.position:
            return frames
        if self._starts and self._starts[-1] == after:
            return self._frame(-1)  # a reader that keeps up needs only the last segment
        found = self._find(after)
        if found is None:
            return None
        segment = self._segments[found]
        if segment.position == after:
            joined = [self._frame(i) for i in range(found, len(self._segments))]
        else:
            first = wire.cut(segment, after)
            joined = [] if first is None else [wire.event_frames(self, first)]
            joined += [self._frame(i) for i in range(found + 1, len(self._segments))]
        frames = joined[0] if len(joined) == 1 else b"".join(joined)
        self._joined = (after, self.position, frames)
        return frames

    def some_frames_after(self, after: int, max_bytes: int) -> tuple[bytes, int] | None:
        """Return about ``max_bytes`` of frames after a position, and the position after them."""
        found = self._find(after)
        if found is None:
            return None
        frames: list[bytes] = []
        size = 0
        for i in range(found, len(self._segments)):
            segment = self._segments[i]
            if segment.position >= after:
                frame = self._frame(i)
            else:
                first = wire.cut(segment, after)
                frame = b"" if first is None else wire.event_frames(self, first)
            frames.append(frame)
            size += len(frame)
            after = segment.end
            if size >= max_bytes:
                break
        return b"".join(frames), after

    def _frame(self, i: int) -> bytes:
        frame = self._frames[i]
        if frame is None:
            frame = self._frames[i] = wire.event_frames(self.state, self._segments[i])
        return frame
