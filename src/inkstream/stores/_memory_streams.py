"""Keeps the streams of a ``MemoryDatabase``. The workers are in the module ``memory``."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from operator import attrgetter
from typing import Any, Final

from inkstream import wire
from inkstream._errors import OffsetGone, StreamExists, StreamGone, StreamNotFound, TooManyStreams
from inkstream.abc import (
    JSON,
    KEEP,
    Change,
    Committed,
    Group,
    Head,
    Kind,
    NewStream,
    Outcome,
    Page,
    Query,
    Refused,
    Runs,
    Segment,
    Status,
    StreamId,
    StreamState,
    applied,
    draw_generation,
    extended,
    inherited,
)

DELETED_IN_A_STEP: Final = 100
"""The maximum number of due streams that one step of ``tidy`` deletes."""

_LIVE: Final = (Status.PENDING, Status.STREAMING)
_position = attrgetter("position")


class Streams:
    """All streams of a database. Each method is one transaction."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self.generation = draw_generation(0)
        self._last_id = 0
        self._by_id: dict[int, _Stream] = {}  # in the order of the streams' internal ids
        self._by_name: dict[str, _Stream] = {}
        self._live_of: Counter[str] = Counter()
        self._unmerged: dict[int, None] = {}  # ended streams in the order in which tidy merges them

    # Writing ---------------------------------------------------------------------------------

    def create(self, new: NewStream) -> StreamState:
        if new.stream_id in self._by_name:
            raise StreamExists(new.stream_id)
        source = None if new.fork is None else self._by_id.get(new.fork.source)
        begin = 0
        if new.fork is not None:
            if source is None:
                raise StreamNotFound(new.stream_id, "the stream to fork does not exist")
            if source.state.gone:
                raise StreamGone(source.state.stream_id)
            begin = new.fork.position
            if begin > source.tail:
                offset = str(wire.Offset(new.fork.source, begin))
                raise OffsetGone(source.state.stream_id, offset)
        if (
            new.max_live is not None
            and new.owner is not None
            and self._live_of[new.owner] >= new.max_live
        ):
            raise TooManyStreams(
                f"owner {new.owner!r} has {new.max_live} live streams already", limit=new.max_live
            )
        self._last_id += 1
        stream = _Stream(
            StreamState(
                internal_id=self._last_id,
                stream_id=new.stream_id,
                kind=new.kind,
                content_type=new.content_type,
                status=Status.PENDING if new.kind is Kind.TEXT else Status.OPEN,
                epoch=0,
                worker=None,
                tail=begin,
                size=0,
                owner=new.owner,
                group=new.group,
                metadata=_copy(new.metadata),
                created_at=new.created_at,
                due_at=new.due_at,
                ttl_s=new.ttl_s,
                retain_s=new.retain_s,
                takeover_within_s=new.takeover_within_s,
                report=new.report,
                runs=self._first_runs(source, begin),
            ),
            source,
        )
        self._by_id[self._last_id] = self._by_name[new.stream_id] = stream
        self._count_live(stream, 1)
        if source is not None:
            source.forks += 1
        first = Change(
            internal_id=self._last_id,
            append=new.append,
            marks=new.marks,
            end=new.end,
            at=new.created_at,
        )
        self._change(stream, first)
        return stream.snapshot()

    def _first_runs(self, source: _Stream | None, begin: int) -> Runs:
        above = () if source is None else inherited(source.state.runs, begin)
        return extended(above, begin, self.generation)

    def apply(self, group: Group) -> Outcome:
        streams: list[_Stream] = []
        for index, change in enumerate(group.changes):
            stream = self._by_id.get(change.internal_id)
            if stream is None:
                return Refused(index, None)
            if not stream.meets(change):
                return Refused(index, stream.snapshot())
            streams.append(stream)
        heads = []
        for stream, change in zip(streams, group.changes, strict=True):
            self._change(stream, change)
            generation = stream.state.runs[-1].generation
            heads.append(Head(stream.state.epoch, stream.tail, stream.size, generation))
        return Committed(tuple(heads))

    def _change(self, stream: _Stream, change: Change) -> None:
        runs = stream.state.runs
        # A late result replaces the end of an ended stream. Readers may already have the offset of
        # the old end. So the new end stays in the same run, and this offset stays valid.
        adds = change.append is not None or change.end is not None
        if adds and not stream.state.ended and runs[-1].generation != self.generation:
            runs = extended(runs, stream.tail, self.generation)
            stream.state = replace(stream.state, runs=runs)
        if change.append is not None:
            stream.append(change.append, self._now())
        if change.marks:
            stream.marks.update(change.marks)
        if change.only_appends:
            return
        self._count_live(stream, -1)
        epoch = stream.state.epoch + change.next_epoch
        state = applied(
            stream.state, change, Head(epoch, stream.tail, stream.size, runs[-1].generation)
        )
        result = state.result if change.end is None else _copy(state.result)
        stream.state = replace(state, result=result, appended_at=stream.appended_at)
        self._count_live(stream, 1)
        if stream.state.ended and stream.merged < len(stream.segments) > 1:
            self._unmerged[change.internal_id] = None

    def _count_live(self, stream: _Stream, change: int) -> None:
        state = stream.state
        if state.status in _LIVE and state.owner is not None and not state.gone:
            self._live_of[state.owner] += change
            if not self._live_of[state.owner]:
                del self._live_of[state.owner]

    def delete(self, internal_ids: Iterable[int], due_before: float | None = None) -> int:
        deleted = 0
        for internal_id in internal_ids:
            stream = self._by_id.get(internal_id)
            if stream is None or stream.state.gone:
                continue
            if due_before is not None and not stream.is_due(due_before):
                continue
            deleted += 1
            self._count_live(stream, -1)
            if stream.forks:
                stream.state = replace(stream.state, gone=True)
                stream.marks.clear()
            else:
                self._remove(stream)
        return deleted

    def _remove(self, stream: _Stream) -> None:
        while True:
            del self._by_id[stream.state.internal_id]
            del self._by_name[stream.state.stream_id]
            self._unmerged.pop(stream.state.internal_id, None)
            source = stream.source
            if source is None:
                return
            source.forks -= 1
            if source.forks or not source.state.gone:
                return
            stream = source

    # Reading ---------------------------------------------------------------------------------

    def read(self, stream_id: StreamId, after: int, max_bytes: int, marks: Sequence[str]) -> Page:
        stream = self._by_name.get(stream_id)
        if stream is None:
            raise StreamNotFound(stream_id)
        if stream.state.gone:
            raise StreamGone(stream_id)
        segments: list[Segment] = []
        size = 0
        if max_bytes > 0:
            for segment in stream.messages_after(after):
                size += len(segment.payload)
                if segments and size > max_bytes:
                    break
                segments.append(segment)
        return Page(
            stream.snapshot(),
            tuple(segments),
            segments[-1].end if segments else after,
            {name: stream.marks[name] for name in marks if name in stream.marks},
        )

    def find(self, query: Query) -> list[StreamState]:
        found: list[StreamState] = []
        for stream in self._candidates(query):
            if len(found) >= query.limit:
                break
            if _matches(stream.state, query):
                found.append(stream.snapshot())
        return found

    def _candidates(self, query: Query) -> Iterable[_Stream]:
        if query.stream_ids is None:
            return reversed(self._by_id.values())
        named = {self._by_name[name] for name in query.stream_ids if name in self._by_name}
        return sorted(named, key=lambda stream: -stream.state.internal_id)

    def owned_by(self, worker: str) -> bool:
        """Return whether a worker must act next on any stream."""
        return any(
            stream.state.worker == worker and not stream.state.gone
            for stream in self._by_id.values()
        )

    # Housekeeping ----------------------------------------------------------------------------

    def tidy(self, now: float, max_bytes: int) -> bool:
        due = [
            stream.state.internal_id
            for stream in self._by_id.values()
            if stream.is_due(now) and not stream.state.gone
        ]
        self.delete(due[:DELETED_IN_A_STEP])
        rewritten = 0
        while self._unmerged and rewritten < max_bytes:
            internal_id = next(iter(self._unmerged))
            stream = self._by_id[internal_id]
            rewritten += stream.merge(max_bytes - rewritten)
            if stream.merged == len(stream.segments):
                del self._unmerged[internal_id]
        return len(due) > DELETED_IN_A_STEP or bool(self._unmerged)


class _Stream:
    """A stream. To be fast, an append does not update ``state``; ``snapshot`` does so later."""

    __slots__ = (
        "appended_at",
        "begin",
        "forks",
        "marks",
        "merged",
        "segments",
        "size",
        "source",
        "state",
        "tail",
    )

    def __init__(self, state: StreamState, source: _Stream | None) -> None:
        self.state = state
        self.source = source
        self.begin = self.tail = state.tail
        self.size = 0
        self.appended_at: float | None = None
        self.segments: list[Segment] = []
        self.merged = 0
        self.marks: dict[str, bytes] = {}
        self.forks = 0

    def is_due(self, now: float) -> bool:
        """Return whether the stream is due to be deleted."""
        due_at = self.state.due_at
        return due_at is not None and due_at <= now and self.state.status not in _LIVE

    def snapshot(self) -> StreamState:
        if self.state.tail != self.tail:
            self.state = replace(
                self.state, tail=self.tail, size=self.size, appended_at=self.appended_at
            )
        return self.state

    def meets(self, change: Change) -> bool:
        """Return whether a change's conditions hold."""
        state = self.state
        if (
            state.gone
            or (change.if_status is not None and state.status not in change.if_status)
            or (change.if_epoch is not None and state.epoch != change.if_epoch)
            or (change.if_tail is not None and self.tail != change.if_tail)
            or (change.if_worker is not KEEP and state.worker != change.if_worker)
        ):
            return False
        if change.max_marks is None:
            return True
        added = sum(name not in self.marks for name in change.marks)
        return not added or len(self.marks) + added <= change.max_marks

    def append(self, segment: Segment, now: float) -> None:
        self.segments.append(Segment(self.tail, segment.count, segment.payload, segment.index))
        self.tail += segment.count
        self.size += len(segment.payload)
        self.appended_at = now

    def messages_after(self, after: int) -> Iterator[Segment]:
        """Yield the segments, from the segment that contains the position ``after``.

        Inherited segments come before the stream's own segments.
        """
        stretches: list[tuple[_Stream, int]] = []
        stream, until = self, self.tail
        while True:
            stretches.append((stream, until))
            if stream.source is None or after >= stream.begin:
                break
            until = min(until, stream.begin)
            stream = stream.source
        for stream, until in reversed(stretches):
            start = max(after, stream.begin)
            index = max(bisect_right(stream.segments, start, key=_position) - 1, 0)
            while start < until:
                segment = stream.segments[index]
                index += 1
                start = segment.end
                part = segment if segment.end <= until else wire.cut(segment, 0, until)
                if part is not None:
                    yield part

    def merge(self, max_bytes: int) -> int:
        """Merge about ``max_bytes``, at least a full segment. Return the number of merged bytes."""
        stop, size = self.merged, 0
        while stop < len(self.segments) and size < max(max_bytes, wire.SEGMENT_BYTES):
            size += len(self.segments[stop].payload)
            stop += 1
        merged = wire.merge(self.segments[self.merged : stop])
        final = len(merged)
        if stop < len(self.segments) and final > 1:
            final -= 1  # the last segment has room, so the next step adds messages to this segment
        self.segments[self.merged : stop] = merged
        self.merged += final
        return size


def _copy(value: JSON) -> Any:
    """Return a deep copy, because a database would not return the caller's own object."""
    return wire.load_json(wire.dump_json(value))


def _matches(state: StreamState, query: Query) -> bool:
    return not (
        state.gone
        or (query.before is not None and state.internal_id >= query.before)
        or (query.owner is not None and state.owner != query.owner)
        or (query.group is not None and state.group != query.group)
        or (query.statuses is not None and state.status not in query.statuses)
        or (query.worker is not KEEP and state.worker != query.worker)
        or (
            query.due_before is not None
            and (state.due_at is None or state.due_at > query.due_before)
        )
        or (query.unreported and not (state.ended and state.report))
    )
