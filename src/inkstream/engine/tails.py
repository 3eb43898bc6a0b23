"""All tails of an engine, and the task that reads from the store what other processes wrote."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

from inkstream import wire
from inkstream._errors import StoreUnavailable
from inkstream._types import (
    JSON,
    KEEP,
    Change,
    Committed,
    End,
    Group,
    Outcome,
    Query,
    Read,
    Refused,
    Segment,
    Status,
    StreamId,
    StreamState,
    applied,
)
from inkstream.abc import Notifier
from inkstream.engine.committer import Committer
from inkstream.engine.core import Core
from inkstream.engine.tail import Tail
from inkstream.wire import Offset

_log = logging.getLogger("inkstream")

_LOCAL_SURVEY_S = 0.25
"""The shortest pause between two reads of the states of the streams that this process writes."""
_AT_ONCE = 250
_SURVEY = 500


class Tails:
    """The tails of all live streams that have a writer or a reader in this process."""

    def __init__(self, core: Core, notifier: Notifier, committer: Committer) -> None:
        self._store = core.store
        self._clock = core.clock
        self._limits = core.limits
        self._timing = core.timing
        self._core = core
        self._notifier = notifier
        self._committer = committer
        self._rescuing: set[int] = set()
        self._tails: dict[StreamId, Tail] = {}
        self._stale: dict[Tail, None] = {}
        self._survey = False
        self._surveyed_local_at = 0.0
        self._local_left = False
        self._polled_at = core.clock.monotonic()
        self._wanted = asyncio.Event()
        self._away_since: float | None = None

    def __iter__(self) -> Iterator[Tail]:
        return iter(list(self._tails.values()))

    def __len__(self) -> int:
        return len(self._tails)

    def get(self, stream_id: StreamId) -> Tail | None:
        """Return the tail of a live stream, or ``None`` if it has no tail in this process."""
        return self._tails.get(stream_id)

    def attach(self, state: StreamState) -> Tail:
        """Return the tail of the stream with this state. If the stream has no tail, create one.

        If the stream was deleted and created anew after ``state`` was read, the tail is ``gone``.
        """
        tail = self._tails.get(state.stream_id)
        if tail is not None and tail.internal_id == state.internal_id:
            return tail
        late = tail is not None and tail.internal_id > state.internal_id
        if tail is not None and not late:
            self._lost(tail)
        tail = Tail(state, self._limits.tail_bytes, self._clock.monotonic())
        tail.gone = late
        if not late and not state.ended:
            self._tails[state.stream_id] = tail
            self._rewatch()
            self.stale(tail)  # messages may have been committed after ``state`` was read
        return tail

    def writes(self, state: StreamState) -> bool:
        """Return whether a writer of this process has claimed the epoch of ``state``."""
        tail = self._tails.get(state.stream_id)
        writer = None if tail is None else tail.writer
        return (
            writer is not None
            and writer.internal_id == state.internal_id
            and writer.epoch == state.epoch
        )

    def result_of(self, state: StreamState) -> JSON:
        """Return the result so far of the stream's writer in this process, or ``None``."""
        tail = self._tails.get(state.stream_id)
        if tail is None or tail.writer is None or tail.internal_id != state.internal_id:
            return None
        return tail.writer.result

    def detach(self, tail: Tail) -> None:
        """Remove ``tail`` if no writer and no reader of this process uses the tail."""
        if tail.readers or tail.writer is not None:
            return
        if self._tails.get(tail.stream_id) is tail:
            del self._tails[tail.stream_id]
            self._stale.pop(tail, None)
            self._rewatch()

    def _rewatch(self) -> None:
        self._notifier.watch(bool(self._tails))

    def publish(self, tail: Tail, segments: Sequence[Segment], end: End | None = None) -> int:
        """Publish what a writer committed; return the number of woken readers."""
        if segments:
            tail.publish(segments)
            tail.published_at = self._committer.committed_at
        if end is not None:
            tail.end = end.terminal
        woken = tail.wake()
        if tail.writer is None:
            self.detach(tail)
        return woken

    async def commit(self, state: StreamState, change: Change) -> StreamState | Refused:
        """Commit a change with the engine's next commit, and publish the change.

        Return the stream's new state, or the refusal of the store.
        """
        done: list[StreamState] = []

        def publish(outcome: Outcome) -> int:
            tail = self._tails.get(state.stream_id)
            if tail is not None and tail.internal_id != state.internal_id:
                tail = None
            if not isinstance(outcome, Committed):
                return 0 if tail is None else self.absorb(tail, outcome.state)
            done.append(applied(state, change, outcome.heads[0]))
            if tail is None:
                return 0
            append = change.append
            start = done[0].tail - (0 if append is None else append.count)
            if start == tail.position and (append is not None or done[0].ended):
                tail.begin_run(outcome.heads[0].generation)
                if append is not None:
                    tail.publish([replace(append, position=start)])
            # If another process appended messages before ``start``, this tail lacks the messages
            # and their runs. Until ``run`` has read both from the store, the tail keeps its runs.
            return self.absorb(tail, replace(done[0], runs=tail.runs))

        outcome = await self._committer.submit(state.stream_id, Group((change,)), publish)
        return outcome if isinstance(outcome, Refused) else done[0]

    def absorb(self, tail: Tail, state: StreamState | None) -> int:
        """Update a tail to a state that was just read or committed; return how many readers woke.

        If ``state`` is ``None``, the stream does not exist. If the tail has no writer here and
        lacks messages that ``state`` counts, ``run`` reads these messages from the store.
        """
        if state is None or state.gone or state.internal_id != tail.internal_id:
            return self._lost(tail)
        writer = tail.writer
        if writer is not None and state.epoch < writer.epoch:
            return 0  # the state was read before this process claimed the stream
        if (
            writer is not None
            and not writer.ending  # the end in the state may be the writer's own
            and (state.status is not Status.STREAMING or state.epoch != writer.epoch)
        ):
            writer.fence(state)
        tail.learn(state)
        if state.tail != tail.position:
            if tail.writer is None:
                self.stale(tail)  # the tail lacks text, the state is old, or the store lost text
        elif state.ended:
            tail.end = state.end
        if state.due_at is not None and _needs_rescue(tail):
            self._rescue(state)
        woken = tail.wake()
        self.detach(tail)
        return woken

    def _lost(self, tail: Tail) -> int:
        tail.gone = True
        if tail.writer is not None:
            tail.writer.fence(None)
        woken = tail.wake()
        self.detach(tail)
        return woken

    def _rescue(self, state: StreamState) -> None:
        """Clear ``due_at`` of a stream that would end although this process still needs the stream.

        If another worker took this worker for dead, this worker's writer gets its stream back. If
        the writer's ``Audience`` asked for readers, the cleared ``due_at`` tells the ``Audience``
        that this process has a reader.
        """
        if state.internal_id not in self._rescuing:
            self._rescuing.add(state.internal_id)
            self._core.life.spawn(self._commit_rescue(state))

    async def _commit_rescue(self, state: StreamState) -> None:
        worker = KEEP if state.worker is not None else self._core.worker
        try:
            await self.commit(state, state.still(worker=worker, due_at=None))
        except StoreUnavailable:
            pass  # if ``due_at`` is still set, the next read of the state calls ``_rescue`` again
        finally:
            self._rescuing.discard(state.internal_id)

    def rewound(self, tail: Tail, state: StreamState) -> int:
        """Disconnect readers and fence the writer, because the store lost messages of the tail.

        ``state`` is the stream's state after the loss. Return the number of woken readers.
        """
        _log.warning(
            "stream %r went back from %d to %d: the database was restored, or failed over",
            tail.stream_id,
            tail.position,
            state.tail,
        )
        tail.gone = tail.sent_away = True
        if tail.writer is not None:
            tail.writer.fence(state)
        if self._tails.get(tail.stream_id) is tail:
            del self._tails[tail.stream_id]
            self._stale.pop(tail, None)
            self._rewatch()
        return tail.wake()

    def send_away(self, *, but_local: bool = False) -> None:
        """Disconnect readers without a terminal event, so that their clients reconnect.

        With ``but_local``, readers of streams that this process writes stay connected.
        """
        for tail in self:
            if not (but_local and tail.local):
                tail.sent_away = True
                tail.wake()

    def stale(self, tail: Tail) -> None:
        """Make ``run`` read the new messages of a tail's stream from the store soon."""
        self._stale[tail] = None
        self._wanted.set()

    def hint(self, names: Collection[StreamId] | None) -> None:
        """Record that other processes changed the streams ``names``. ``None`` means any stream."""
        if names is None:
            if self._tails:
                self._survey = True
                self._wanted.set()
            return
        for name in names:
            tail = self._tails.get(name)
            if tail is not None:
                self.stale(tail)

    def tick(self, now: float) -> None:
        """Start the poll if it is due, and disconnect readers if the store stays away too long."""
        if now - self._polled_at >= self._timing.poll_s:
            self._polled_at = now
            self.hint(None)
        elif self._local_left and now - self._surveyed_local_at >= _LOCAL_SURVEY_S:
            self.hint(None)
        since = self._away_since
        if since is not None and now - since > self._timing.patience_s:
            self.send_away()

    async def run(self) -> None:
        """Read what other processes changed, after hints and polls, until cancelled."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            try:
                if self._survey:
                    self._survey = False
                    await self._look_around()
                stale, self._stale = list(self._stale), {}
                for start in range(0, len(stale), _AT_ONCE):
                    await self._refresh(stale[start : start + _AT_ONCE])
                self._back()
            except StoreUnavailable:
                if self._away_since is None:
                    self._away_since = self._clock.monotonic()
                self._survey = True
                await asyncio.sleep(0.25)
                self._wanted.set()
            except Exception:
                _log.exception("streams of other processes could not be read; trying again")
                self._survey = True
                await asyncio.sleep(1.0)
                self._wanted.set()

    def _back(self) -> None:
        """Accept readers of live streams again after an outage of the store."""
        if self._away_since is None:
            return
        self._away_since = None
        for tail in self:
            if tail.writer is None or tail.writer.active:
                tail.sent_away = False

    async def _look_around(self) -> None:
        now = self._clock.monotonic()
        with_local = now - self._surveyed_local_at >= _LOCAL_SURVEY_S
        self._local_left = not with_local
        if with_local:
            self._surveyed_local_at = now
        tails = [tail for tail in self if with_local or not tail.local]
        for start in range(0, len(tails), _SURVEY):
            some = tails[start : start + _SURVEY]
            shown = [tail.here for tail in some]
            ids = tuple(tail.stream_id for tail in some)
            found = await self._store.find(Query(stream_ids=ids, limit=len(ids)))
            states = {state.stream_id: state for state in found}
            for tail, here in zip(some, shown, strict=True):
                state = states.get(tail.stream_id)
                if not self._is_rewound(tail, here, state):
                    self.absorb(tail, state)

    def _is_rewound(self, tail: Tail, here: Offset, state: StreamState | None) -> bool:
        """Return whether the store lost messages before ``here``, and if so, call ``rewound``.

        ``here`` is the tail's offset before ``state`` was read.
        """
        if state is None or state.internal_id != tail.internal_id or here.lies_in(state):
            return False
        self.rewound(tail, state)
        return True

    async def _refresh(self, tails: Sequence[Tail]) -> None:
        """Read one page of new messages for each of these tails, and publish the messages."""
        reads = [Read(tail.stream_id, tail.position) for tail in tails]
        shown = [tail.here for tail in tails]
        try:
            pages = await self._store.read_many(reads, self._limits.page_bytes)
        except BaseException:
            self._stale.update(dict.fromkeys(tails))
            raise
        for tail, read, here, page in zip(tails, reads, shown, pages, strict=True):
            if self._tails.get(tail.stream_id) is not tail:
                continue  # the tail has been replaced or removed
            if page is None or page.state.internal_id != tail.internal_id:
                self._lost(tail)
                continue
            if self._is_rewound(tail, here, page.state):
                continue
            if not tail.local:
                tail.learn_runs(page.state)
                pieces = (wire.cut(segment, read.after) for segment in page.segments)
                tail.publish([piece for piece in pieces if piece is not None])
            self.absorb(tail, page.state)


def _needs_rescue(tail: Tail) -> bool:
    """Return whether this process must clear the ``due_at`` of a tail's stream; see ``_rescue``."""
    if tail.state.status is not Status.STREAMING:
        return False
    if tail.state.worker is None:  # the writer let go, or its worker was taken for dead
        return tail.writer is not None and tail.writer.active
    return tail.writer is None and bool(tail.readers)
