"""Changes of streams that no writer makes: create, append to a log, cancel, close, delete."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from inkstream import wire
from inkstream._errors import (
    InvalidMessage,
    StoreUnavailable,
    StreamConflict,
    StreamEnded,
    StreamNotFound,
)
from inkstream._types import (
    JSON,
    KEEP,
    Change,
    Committed,
    End,
    Group,
    Kind,
    NewStream,
    Outcome,
    Refused,
    Status,
    StreamId,
    StreamState,
)
from inkstream.abc import Clock, Store
from inkstream.engine.committer import Committer
from inkstream.engine.life import Life
from inkstream.engine.settings import Limits
from inkstream.engine.sweeper import after
from inkstream.engine.tails import Tails
from inkstream.wire import Offset

CANCELLED = End(Status.CANCELLED)


class Changes:
    """Change streams, whoever writes them.

    Args:
        worker: This worker.
        reporter: Who reports the ends that are written here: this worker, if it has an ``on_end``.
        report: Report the end of a stream that this worker holds.
    """

    def __init__(
        self,
        life: Life,
        store: Store,
        committer: Committer,
        tails: Tails,
        clock: Clock,
        limits: Limits,
        worker: str,
        reporter: str | None,
        report: Callable[[StreamState], None],
    ) -> None:
        self._life = life
        self._store = store
        self._committer = committer
        self._tails = tails
        self._clock = clock
        self._limits = limits
        self._worker = worker
        self._reporter = reporter
        self._report = report
        self._keeping: set[int] = set()

    async def create(self, new: NewStream, *, connection: object | None = None) -> StreamState:
        """Create a stream; see ``Store.create``."""
        self._life.check()
        return await self._store.create(new, connection=connection)

    async def append(
        self,
        stream_id: StreamId,
        messages: Sequence[str | Mapping[str, JSON]],
        *,
        connection: object | None = None,
    ) -> Offset:
        """Append to a log; durable, and on its way to readers, when it returns."""
        self._life.check()
        encoded = [m if isinstance(m, str) else wire.dump_object(m) for m in messages]
        segments = wire.encode_messages(encoded, 0)
        if not segments:
            raise InvalidMessage("there is nothing to append: give at least one message")
        for message in encoded:
            self._limits.check_message(stream_id, wire.size_of(message))
        state = (await self._store.read(stream_id, 0, 0, connection=connection)).state
        if state.kind is not Kind.LOG:
            raise StreamConflict(
                stream_id, state.status, f"stream {stream_id!r} is a text: only its writer appends"
            )
        self._limits.check_stream(
            stream_id, state.size + sum(len(segment.payload) for segment in segments)
        )
        changes = [
            Change(internal_id=state.internal_id, if_status=(Status.OPEN,), append=segment)
            for segment in segments
        ]
        # In one batch: what others append at the same moment must not come between.
        if connection is None:
            done = await asyncio.gather(*[self.apply(state, change) for change in changes])
        else:
            groups = [Group((change,)) for change in changes]
            outcomes = await self._store.commit(groups, connection=connection)
            done = [
                _done(state, change, outcome)
                for change, outcome in zip(changes, outcomes, strict=True)
            ]
        last = done[-1]
        if last is None:
            raise StreamEnded(stream_id, Status.DONE, f"log {stream_id!r} is closed")
        return Offset(last.internal_id, last.tail)

    async def close(self, stream_id: StreamId, *, connection: object | None = None) -> bool:
        """Close a log for good; return whether this call did it."""
        self._life.check()
        state = (await self._store.read(stream_id, 0, 0, connection=connection)).state
        if state.kind is not Kind.LOG:
            raise StreamConflict(
                stream_id, state.status, f"stream {stream_id!r} is a text: cancel it instead"
            )
        return await self.end_stream(state, End(Status.DONE), connection=connection)

    async def cancel(
        self, state: StreamState, end: End = CANCELLED, *, connection: object | None = None
    ) -> bool:
        """End a stream that has not ended; return whether this call did it."""
        if state.kind is Kind.LOG:
            raise StreamConflict(
                state.stream_id,
                state.status,
                f"stream {state.stream_id!r} is a log: close it instead",
            )
        return await self.end_stream(state, end, connection=connection)

    async def end_stream(
        self, state: StreamState, end: End, *, connection: object | None = None
    ) -> bool:
        """End a stream whoever writes it; return whether this call did it."""
        if state.ended:
            return False
        now = self._clock.wall()
        # Whether and when the application's transaction commits is not told: a sweeper reports it.
        reporter = self._reporter if state.report and connection is None else None
        change = Change(
            internal_id=state.internal_id,
            if_status=(Status.PENDING, Status.STREAMING, Status.OPEN),
            end=end,
            at=now,
            worker=reporter,
            due_at=due_after_end(state, now),
        )
        done = await self._change(state, change, connection=connection)
        if done is not None and reporter is not None:
            self._report(done)
        return done is not None

    def keep(self, state: StreamState) -> None:
        """Object to the end that is due to a stream which, as one sees here, is still wanted.

        A writer that was taken for dead, and lives, takes the stream back; a reader is an answer
        to the question of ``Audience`` whether there is any.
        """
        if state.internal_id not in self._keeping:
            self._keeping.add(state.internal_id)
            self._life.spawn(self._keep(state))

    async def _keep(self, state: StreamState) -> None:
        try:
            await self.apply(
                state,
                Change(
                    internal_id=state.internal_id,
                    if_status=(Status.STREAMING,),
                    if_epoch=state.epoch,
                    if_worker=state.worker,
                    worker=KEEP if state.worker is not None else self._worker,
                    due_at=None,
                ),
            )
        except (StoreUnavailable, StreamNotFound):
            pass  # if it still is to end, the next look at the store shows it again
        finally:
            self._keeping.discard(state.internal_id)

    async def delete(
        self, states: Sequence[StreamState], *, connection: object | None = None
    ) -> int:
        """Delete streams whatever their status; their readers are told, their writers stopped."""
        self._life.check()
        deleted = await self._store.delete([s.internal_id for s in states], connection=connection)
        if connection is None:
            for state in states:
                tail = self._tails.get(state.stream_id)
                if tail is not None and tail.internal_id == state.internal_id:
                    self._tails.absorb(tail, None)
                self._committer.hint(state.stream_id)
        return deleted

    async def _change(
        self, state: StreamState, change: Change, *, connection: object | None = None
    ) -> StreamState | None:
        if connection is None:
            return await self.apply(state, change)
        [outcome] = await self._store.commit([Group((change,))], connection=connection)
        return _done(state, change, outcome)

    async def apply(self, state: StreamState, change: Change) -> StreamState | None:
        """Commit a change of a stream with the next batch, and publish it; ``None``: refused.

        Raises:
            StreamNotFound: The stream was deleted meanwhile.
        """
        done = await self.commit(state, change)
        if isinstance(done, StreamState):
            return done
        if done.state is None:
            raise StreamNotFound(state.stream_id)
        return None

    async def commit(self, state: StreamState, change: Change) -> StreamState | Refused:
        """Commit a change of a stream with the next batch, and publish it to readers.

        Returns:
            What ``state`` has become, or why nothing happened.
        """
        done: list[StreamState] = []

        def publish(outcome: Outcome) -> int:
            tail = self._tails.get(state.stream_id)
            if tail is not None and tail.internal_id != state.internal_id:
                tail = None
            if not isinstance(outcome, Committed):
                if tail is not None:
                    self._tails.absorb(tail, outcome.state)
                return 0
            done.append(after(state, change, outcome))
            if tail is None:
                return 0
            if change.append is not None:
                start = done[0].tail - change.append.count
                if start == tail.position:
                    tail.publish([replace(change.append, position=start)])
            readers = len(tail.readers)
            self._tails.absorb(tail, done[0])
            return readers

        outcome = await self._committer.submit(Group((change,)), [state.stream_id], publish)
        return outcome if isinstance(outcome, Refused) else done[0]


def _done(state: StreamState, change: Change, outcome: Outcome) -> StreamState | None:
    return after(state, change, outcome) if isinstance(outcome, Committed) else None


def due_after_end(state: StreamState, now: float) -> float | None:
    """Return when a stream that ends at a wall time is to be deleted."""
    return None if state.retain_s is None else now + state.retain_s
