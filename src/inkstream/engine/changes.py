"""Makes changes that need no writer, for example creates or cancels a stream, or closes a log."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace

from inkstream import wire
from inkstream._errors import InvalidMessage, StreamConflict, StreamEnded, StreamNotFound
from inkstream._types import (
    JSON,
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
    applied,
)
from inkstream.engine.committer import Committer
from inkstream.engine.core import Core
from inkstream.engine.observer import Ended
from inkstream.engine.reports import Reports
from inkstream.engine.tails import Tails
from inkstream.wire import Offset

CANCELLED = End(Status.CANCELLED)


class Changes:
    """Make changes that need no writer."""

    def __init__(self, core: Core, committer: Committer, tails: Tails, reports: Reports) -> None:
        self._core = core
        self._life = core.life
        self._store = core.store
        self._limits = core.limits
        self._clock = core.clock
        self._committer = committer
        self._tails = tails
        self._reports = reports

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
        """Append to a log; return the offset after the last message.

        On return, the messages are durable. With ``connection``, the messages become durable when
        the caller's transaction commits.

        Raises:
            StreamConflict: The stream is a text stream.
            StreamEnded: The log is closed.
            InvalidMessage, MessageTooLarge, StreamTooLarge, StreamNotFound, StoreUnavailable
        """
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
        # All changes are in one commit, so no message of another append comes between them.
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
        return Offset.at(last, last.tail)

    async def close(self, stream_id: StreamId, *, connection: object | None = None) -> bool:
        """Close a log permanently; return whether this call closed the log.

        Raises:
            StreamConflict: The stream is a text stream.
            StreamNotFound, StoreUnavailable
        """
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
        """End a text stream that has not ended; return whether this call ended the stream.

        Raises:
            StreamConflict: The stream is a log.
            StreamNotFound, StoreUnavailable
        """
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
        """End a stream that has not ended; return whether this call ended the stream.

        If ``end`` has no result, the stream gets the result that its writer in this process has.
        """
        if state.ended:
            return False
        now = self._clock.wall()
        if end.result is None:
            end = replace(end, result=self._tails.result_of(state))
        # This process cannot see whether the application's transaction (``connection``) commits.
        # So no worker reports the end now. A search for unreported ends finds the end later.
        reporter = self._core.reporter(state) if connection is None else None
        change = Change(
            internal_id=state.internal_id,
            if_status=(Status.PENDING, Status.STREAMING, Status.OPEN),
            end=end,
            at=now,
            worker=reporter,
            due_at=state.deletion_due(now),
        )
        done = await self._change(state, change, connection=connection)
        if done is not None and reporter is not None:
            self._reports.report(done, stopped=done.epoch > 0)
        if done is not None and connection is None:
            self._note_end(state, end, now)
        return done is not None

    def _note_end(self, state: StreamState, end: End, now: float) -> None:
        tail = self._tails.get(state.stream_id)
        since = state.created_at if state.started_at is None else state.started_at
        readers = 0 if tail is None else len(tail.readers)
        self._core.observer.ended(Ended(state, end, max(0.0, now - since), readers=readers))

    async def end_as_seen(self, state: StreamState, end: End) -> StreamState | None:
        """End a stream; return its new state.

        If the stream's status, epoch or worker has changed since ``state`` was read, do nothing and
        return ``None``.
        """
        now = self._clock.wall()
        due_at = state.deletion_due(now)
        change = state.still(end=end, at=now, worker=None, due_at=due_at)
        done = await self.commit(state, change)
        if isinstance(done, Refused):
            return None
        self._note_end(state, end, now)
        return done

    async def delete_due(self, state: StreamState, now: float) -> bool:
        """Delete a stream if its stored state is due at ``now``; return whether it is deleted.

        The store decides whether the stream is due, in the transaction that deletes the stream,
        because another process may move the stream's ``due_at`` at any moment. On PostgreSQL, the
        stream must be due by the database's clock too, so a wrong clock of this host deletes no
        stream early.
        """
        if await self.delete([state], due_before=now):
            return True
        try:  # another operation may have deleted the stream just now
            page = await self._store.read(state.stream_id, 0, 0)
        except StreamNotFound:
            return True
        return page.state.internal_id != state.internal_id

    async def delete(
        self,
        states: Sequence[StreamState],
        *,
        due_before: float | None = None,
    ) -> int:
        """Delete streams of any status; return how many of the streams existed.

        The writers of the streams stop, and the readers of the streams get ``StreamNotFound``. With
        ``due_before``, pass one stream, which the store deletes only if it is due.
        """
        self._life.check()
        ids = [state.internal_id for state in states]
        deleted = await self._store.delete(ids, due_before=due_before)
        if deleted or due_before is None:
            for state in states:
                tail = self._tails.get(state.stream_id)
                if tail is not None and tail.internal_id == state.internal_id:
                    self._tails.absorb(tail, None)
                self._committer.hint(state.stream_id)
        return deleted

    async def delete_inside(self, internal_ids: Sequence[int], connection: object) -> int:
        """Delete streams in the caller's transaction; return how many of the streams existed."""
        self._life.check()
        return await self._store.delete(internal_ids, connection=connection)

    async def _change(
        self, state: StreamState, change: Change, *, connection: object | None = None
    ) -> StreamState | None:
        if connection is None:
            return await self.apply(state, change)
        [outcome] = await self._store.commit([Group((change,))], connection=connection)
        return _done(state, change, outcome)

    async def apply(self, state: StreamState, change: Change) -> StreamState | None:
        """Commit a change with the engine's next commit, and publish the change to readers.

        Return the stream's new state, or ``None`` if the store refused the change.

        Raises:
            StreamNotFound: The stream has been deleted.
        """
        done = await self.commit(state, change)
        if isinstance(done, StreamState):
            return done
        if done.state is None:
            raise StreamNotFound(state.stream_id)
        return None

    async def commit(self, state: StreamState, change: Change) -> StreamState | Refused:
        """Commit a change with the engine's next commit; see ``Tails.commit``."""
        return await self._tails.commit(state, change)


def _done(state: StreamState, change: Change, outcome: Outcome) -> StreamState | None:
    if isinstance(outcome, Committed):
        return applied(state, change, outcome.heads[0])
    return None
