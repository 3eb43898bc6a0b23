"""The tail of a live stream. All readers of the stream in one process share one tail.

A tail has only committed messages. Each reader has its own position in the stream, so the tail
keeps no queue for a reader (G9).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from inkstream import wire
from inkstream._runs import Runs, extended, generation_of
from inkstream._types import JSON, End, Segment, StreamId, StreamState

_DEAD = Segment(position=0, count=0, payload=b"", index=b"")


class Follower(Protocol):
    """The part of a reader that a tail uses."""

    @property
    def position(self) -> int:
        """The position after the last message that the reader returned."""

    def wake(self) -> bool:
        """End the reader's current wait; return whether the reader was waiting."""


class Owner(Protocol):
    """The part of a writer that the writer's tail uses."""

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
        """True while the end or the release of the stream waits for its commit."""

    @property
    def pending_bytes(self) -> int:
        """The number of bytes that the writer has accepted but not committed."""

    @property
    def result(self) -> JSON:
        """The result that the source has given so far."""

    def fence(self, state: StreamState | None) -> None:
        """Stop, because the stream does not belong to this writer any more (``Writer.fence``)."""


class Tail:
    """The newest committed segments of one stream, and the encoded frames of these segments."""

    __slots__ = (
        "_bytes",
        "_forgotten_bytes",
        "_frames",
        "_joined",
        "_offset_start",
        "_segments",
        "_starts",
        "_trimmed",
        "end",
        "gone",
        "internal_id",
        "max_bytes",
        "position",
        "published_at",
        "readers",
        "sent_away",
        "state",
        "stream_id",
        "without_readers_since",
        "writer",
    )

    def __init__(self, state: StreamState, max_bytes: int, now: float) -> None:
        self.state = state
        """The last known state of the stream. The tail's ``position`` and ``end`` may be newer."""
        self.internal_id = state.internal_id
        self.stream_id: StreamId = state.stream_id
        self.position = state.tail
        self.published_at = 0.0
        """The monotonic time at which this process's writer of the stream last committed text."""
        self.end: End | None = state.end
        self.gone = False
        self.sent_away = False
        """True if readers must leave without a terminal event, so that their clients reconnect."""
        self.max_bytes = max_bytes
        self.writer: Owner | None = None
        self.readers: dict[Follower, None] = {}
        self.without_readers_since = now
        self._offset_start = wire.offset_start(state.internal_id)
        self._segments: list[Segment] = []
        self._starts: list[int] = []
        self._frames: list[bytes | None] = []
        self._trimmed = 0
        self._bytes = 0
        self._forgotten_bytes = 0
        self._joined: tuple[int, int, bytes] = (-1, -1, b"")

    @property
    def local(self) -> bool:
        """True while the stream has a writer in this process."""
        return self.writer is not None

    @property
    def published_bytes(self) -> int:
        """The number of bytes that this tail has published, including dropped bytes."""
        return self._bytes + self._forgotten_bytes

    @property
    def runs(self) -> Runs:
        """The stream's runs, which cover at least all messages that this tail has published."""
        return self.state.runs

    @property
    def here(self) -> wire.Offset:
        """The offset after all published messages, and after the end if the end is published."""
        return wire.Offset.at(self, self.position, ended=self.end is not None)

    def learn(self, state: StreamState) -> None:
        """Store a state that was just read or committed, unless this tail knows newer facts."""
        if self.end is not None and not state.ended:
            return  # the state was read before the stream ended
        self.claimed(state)

    def claimed(self, state: StreamState) -> None:
        """Store the state of a claim, but keep this tail's runs if they are newer.

        If the stream has ended since the claim, readers may have offsets of these runs.
        """
        runs = self._newest_runs(state)
        self.state = state if state.runs == runs else replace(state, runs=runs)

    def learn_runs(self, state: StreamState) -> None:
        """Store the runs of ``state``, but no other field, unless this tail knows them already."""
        runs = self._newest_runs(state)
        if runs != self.runs:
            self.state = replace(self.state, runs=runs)

    def _newest_runs(self, state: StreamState) -> Runs:
        """Return the runs of ``state``, or this tail's own runs if they are at least as new.

        A read that was in flight during a commit returns a state without the newest run. With these
        older runs, this tail would give readers offsets that the store refuses (G10). No two runs
        have the same generation. So if the last message of ``state`` (or its end) has the same
        generation in this tail, this tail knows all the runs of ``state``.
        """
        if state.tail < self.position or state.runs == self.runs:
            return self.runs
        count = state.tail + state.ended
        known = generation_of(self.runs, count) == generation_of(state.runs, count)
        return self.runs if known else state.runs

    def begin_run(self, generation: int) -> None:
        """Begin a run at this tail's position, if ``generation`` is new."""
        if self.runs[-1:] and self.runs[-1].generation != generation:
            runs = extended(self.runs, self.position, generation)
            self.state = replace(self.state, runs=runs)

    def publish(self, segments: Sequence[Segment]) -> None:
        """Add committed segments, without messages that this tail already has.

        If messages between this tail and a segment are missing, this tail drops all its segments.
        Readers then read the messages before the new segment from the store.
        """
        for segment in segments:
            end = segment.position + segment.count  # a call of ``segment.end`` would take longer
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
        """Move this tail to ``position``. Readers read the messages before it from the store."""
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
            self._segments[self._trimmed] = _DEAD
            self._frames[self._trimmed] = None
            self._trimmed += 1
        # A cut at the front of a list moves the rest, so cut only when half of the list is dead.
        if self._trimmed > 32 and self._trimmed * 2 > len(self._segments):
            del self._segments[: self._trimmed]
            del self._starts[: self._trimmed]
            del self._frames[: self._trimmed]
            self._trimmed = 0

    def wake(self) -> int:
        """Wake every waiting reader; return their number."""
        woken = 0
        for reader in self.readers:
            woken += reader.wake()
        return woken

    def _find(self, after: int) -> int | None:
        found = bisect_right(self._starts, after, self._trimmed) - 1
        return found if found >= self._trimmed else None

    def segments_after(self, after: int) -> list[Segment] | None:
        """Return all messages after a position; ``None`` if this tail lacks some of them."""
        found = self._find(after)
        if found is None:
            return None
        first = wire.cut(self._segments[found], after)
        rest = self._segments[found + 1 :]
        return rest if first is None else [first, *rest]

    def frames_after(self, after: int) -> bytes | None:
        """Return the messages of ``segments_after`` as event frames.

        Each whole segment is encoded only once for all readers.
        """
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
            joined = [] if first is None else [self.event_frames(first)]
            joined += [self._frame(i) for i in range(found + 1, len(self._segments))]
        frames = joined[0] if len(joined) == 1 else b"".join(joined)
        self._joined = (after, self.position, frames)
        return frames

    def some_frames_after(self, after: int, max_bytes: int) -> tuple[bytes, int] | None:
        """Return about ``max_bytes`` of event frames, and the position after the last frame.

        The frames begin with the first message after the position ``after``. If this tail does not
        have this message, return ``None``.
        """
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
                frame = b"" if first is None else self.event_frames(first)
            frames.append(frame)
            size += len(frame)
            after = segment.end
            if size >= max_bytes:
                break
        return b"".join(frames), after

    def event_frames(self, segment: Segment) -> bytes:
        """Return a segment of the stream as event frames, with the runs that this tail knows."""
        return wire.event_frames(self._offset_start, self.state.runs, segment)

    def _frame(self, i: int) -> bytes:
        frame = self._frames[i]
        if frame is None:
            frame = self._frames[i] = self.event_frames(self._segments[i])
        return frame
