"""All tails of an engine, and the task that updates tails of streams written elsewhere."""

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
"""The shortest time between two looks for streams that are written here and stopped elsewhere."""
_AT_ONCE = 250
_SURVEY = 500


class Tails:
    """The tails of all streams that have a writer or a reader in this process."""

    def __init__(self, core: Core, notifier: Notifier, committer: Committer) -> None:
        self._store = core.store
        self._clock = core.clock
        self._limits = core.limits
        self._timing = core.timing
        self._core = core
        self._notifier = notifier
        self._committer = committer
        self._keeping: set[int] = set()
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
        """Return the tail of a stream that this process follows or writes."""
        return self._tails.get(stream_id)

    def attach(self, state: StreamState) -> Tail:
        """Return the stream's tail; create it from this state if there is none.

        If the stream was deleted and created anew after the state was read, the tail is gone.
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
            self.stale(tail)  # messages may have been committed since the state was read
        return tail

    def writes(self, state: StreamState) -> bool:
        """Return whether a writer of this process writes the stream in its current epoch."""
        tail = self._tails.get(state.stream_id)
        writer = None if tail is None else tail.writer
        return (
            writer is not None
            and writer.internal_id == state.internal_id
            and writer.epoch == state.epoch
        )

    def result_of(self, state: StreamState) -> JSON:
        """Return the result that a source of this process has given so far, or ``None``."""
        tail = self._tails.get(state.stream_id)
        if tail is None or tail.writer is None or tail.internal_id != state.internal_id:
            return None
        return tail.writer.result

    def detach(self, tail: Tail) -> None:
        """Remove a tail if it has no writer and no reader in this process."""
        if tail.readers or tail.writer is not None:
            return
        if self._tails.get(tail.stream_id) is tail:
            del self._tails[tail.stream_id]
            self._stale.pop(tail, None)
            self._rewatch()

    def _rewatch(self) -> None:
        self._notifier.watch(bool(self._tails))

    def publish(self, tail: Tail, segments: Sequence[Segment], end: End | None = None) -> int:
        """Publish what a writer committed; return how many readers were woken."""
        if segments:
            tail.publish(segments)
            tail.published_at = self._committer.committed_at
        if end is not None:
            tail.end = end.terminal
        woken = tail.wake()
        self.detach(tail)
        return woken

    async def commit(self, state: StreamState, change: Change) -> StreamState | Refused:
        """Commit a change of a stream with the next batch, and publish it to readers.

        Returns:
            The new state, or the reason why nothing happened.
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
            if start == tail.position and (append is not None or change.end is not None):
                tail.begin_run(outcome.heads[0].generation)
                if append is not None:
                    tail.publish([replace(append, position=start)])
            # Messages that other writers appended, and their generation, are read from the store.
            return self.absorb(tail, replace(done[0], runs=tail.runs))

        outcome = await self._committer.submit(state.stream_id, Group((change,)), publish)
        return outcome if isinstance(outcome, Refused) else done[0]

    def absorb(self, tail: Tail, state: StreamState | None) -> int:
        """Process a stream's newest state; return how many readers were woken.

        If the tail lacks text that the state counts, that text is read from the store.
        """
        if state is None or state.gone or state.internal_id != tail.internal_id:
            return self._lost(tail)
        writer = tail.writer
        if writer is not None and state.epoch < writer.epoch:
            return 0  # the state was read before this process's claim, so it is old
        if (
            writer is not None
            and not writer.ending  # the end in the state may be the writer's own
            and (state.status is not Status.STREAMING or state.epoch != writer.epoch)
        ):
            writer.fence(state)
        tail.learn(state)
        if state.tail != tail.position:
            if tail.writer is None:
                self.stale(tail)  # the tail lacks text, or the state is old, or text was lost
        elif state.ended:
            tail.end = state.end
        if state.due_at is not None and _is_kept_here(tail):
            self._keep(state)
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

    def _keep(self, state: StreamState) -> None:
        """Clear ``due_at`` of a stream that would end although this process still needs it.

        With this change, a living writer that another worker took for dead takes its stream back,
        and a process with a reader tells the writer's ``Audience`` that the stream has a reader.
        """
        if state.internal_id not in self._keeping:
            self._keeping.add(state.internal_id)
            self._core.life.spawn(self._commit_keep(state))

    async def _commit_keep(self, state: StreamState) -> None:
        worker = KEEP if state.worker is not None else self._core.worker
        try:
            await self.commit(state, state.still(worker=worker, due_at=None))
        except StoreUnavailable:
            pass  # the next look at the store shows ``due_at`` again if it is still set
        finally:
            self._keeping.discard(state.internal_id)

    def rewound(self, tail: Tail, state: StreamState) -> int:
        """Disconnect readers and fence the writer, because the store has lost their messages.

        Returns how many readers were woken.
        """
        _log.warning(
            "stream %r went back from %d to %d: the database was restored, or failed over",
            tail.stream_id,
            tail.position,
            state.tail,
        )
        tail.gone = tail.cut = True
        if tail.writer is not None:
            tail.writer.fence(state)
        if self._tails.get(tail.stream_id) is tail:
            del self._tails[tail.stream_id]
            self._stale.pop(tail, None)
            self._rewatch()
        return tail.wake()

    def send_away(self, *, but_local: bool = False) -> None:
        """Disconnect readers without a terminal event; they will reconnect here or elsewhere.

        With ``but_local``, readers of streams that this process writes stay.
        """
        for tail in self:
            if not (but_local and tail.local):
                tail.cut = True
                tail.wake()

    def stale(self, tail: Tail) -> None:
        """Ask ``run`` to read a tail's stream from the store soon."""
        self._stale[tail] = None
        self._wanted.set()

    def hint(self, names: Collection[StreamId] | None) -> None:
        """Record that other processes changed streams; ``None``: any stream."""
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
        """Do the tasks that are due, above all the slow poll, which makes lost hints harmless."""
        if now - self._polled_at >= self._timing.poll_s:
            self._polled_at = now
            self.hint(None)
        elif self._local_left and now - self._surveyed_local_at >= _LOCAL_SURVEY_S:
            self.hint(None)
        since = self._away_since
        if since is not None and now - since > self._timing.patience_s:
            self.send_away()

    async def run(self) -> None:
        """Keep the tails up to date until cancelled."""
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
                _log.exception("following streams of other processes failed; trying again")
                self._survey = True
                await asyncio.sleep(1.0)
                self._wanted.set()

    def _back(self) -> None:
        """Accept readers again, because live streams go on after an outage."""
        if self._away_since is None:
            return
        self._away_since = None
        for tail in self:
            if tail.writer is None or tail.writer.active:
                tail.cut = False

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
        """Return whether the store lost messages that the tail has. If so, handle the loss.

        ``here`` is the tail's offset before ``state`` was read.
        """
        if state is None or state.internal_id != tail.internal_id or here.lies_in(state):
            return False
        self.rewound(tail, state)
        return True

    async def _refresh(self, tails: Sequence[Tail]) -> None:
        """Read the new messages of all these tails.

        A tail that is far behind is read again later.
        """
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


def _is_kept_here(tail: Tail) -> bool:
    """Return whether a stream that is due has a writer, or readers, in this process."""
    if tail.state.status is not Status.STREAMING:
        return False
    if tail.state.worker is None:  # another worker took this worker for dead
        return tail.writer is not None and tail.writer.active
    return tail.writer is None and bool(tail.readers)
