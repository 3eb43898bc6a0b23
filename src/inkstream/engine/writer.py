"""A writer: the only object that may append to a text stream, from the claim to the end.

A writer has at most one running commit. This table shows the states of a writer. "In flight" means
that the outcome of a commit is not known yet. "Ending" means that the end or the release of the
stream waits for its commit. "Error" means that ``append`` raises an error. A word between asterisks
is the writer's next state.

| state      | in flight | ending | error | what happens next                                 |
|------------|-----------|--------|-------|---------------------------------------------------|
| open       | no        | no     | no    | ``take`` empties the buffer: *committing*         |
| committing | yes       | no     | no    | committed: readers get the text, *open*;          |
|            |           |        |       | refused: *fenced*; failed: the same groups are    |
|            |           |        |       | tried again, and if the store may have them       |
|            |           |        |       | already: *uncertain*                              |
| uncertain  | yes       | no     | no    | as *committing*, but if the store refuses text    |
|            |           |        |       | that the stream has already, the text counts as   |
|            |           |        |       | committed                                         |
| ending     | yes or no | yes    | no    | the running commit ends. Then the last text is    |
|            |           |        |       | committed together with the end or the release:   |
|            |           |        |       | *ended*; refused: *fenced*                        |
| ended      | no        | no     | yes   | nothing; ``append`` raises ``WriterFenced``       |
| fenced     | no        | no     | yes   | nothing; ``append`` raises ``WriterFenced``       |
| given up   | yes or no | yes    | yes   | as *ending*, when the store is back; ``append``   |
|            |           |        |       | raises ``StoreUnavailable``                       |
| left       | no        | no     | yes   | nothing, because the process stops; ``append``    |
|            |           |        |       | raises ``StoreUnavailable``; a sweep of another   |
|            |           |        |       | worker ends the stream                            |

``finish`` and ``release`` lead from *open*, *committing* and *uncertain* to *ending*. From each
state without an error, ``fence`` leads to *fenced*, ``give_up`` to *given up*, ``leave`` to *left*.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace

from inkstream import wire
from inkstream._errors import OutcomeUnknown, StoreUnavailable, WriterFenced
from inkstream._runs import generation_of
from inkstream._types import (
    JSON,
    KEEP,
    Change,
    End,
    Group,
    Outcome,
    Refused,
    Segment,
    Status,
    StreamState,
)
from inkstream.engine.buffer import Buffer
from inkstream.engine.committer import Committer
from inkstream.engine.core import Core
from inkstream.engine.fenced import Finished, fenced, finished
from inkstream.engine.loopwatch import LoopWatch
from inkstream.engine.observer import Ended
from inkstream.engine.tail import Tail
from inkstream.engine.tails import Tails

_STREAMING = (Status.STREAMING,)


class Writer:
    """Append to one claimed text stream. Use a writer only on the event loop that created it.

    Accepted messages become durable in order, and then visible to readers. If the writer is fenced
    or gives up, the messages that are not durable yet may be lost. The next commit begins within
    ``Timing.throughput_window_s``, unless the store is slow or away.

    Attributes:
        state: The stream's state after the claim.
        tail: The tail that gets the committed messages.
        result: The last result that the source gave, to be stored with the end; see ``remember``.
        last_append: The monotonic time of the last commit, at first of the claim. While text waits
            for a commit, ``Writers.tick`` sets ``last_append`` to the current time, so that the
            stream does not count as idle.
        stopped: A future that is done when this writer may write the stream no longer.
    """

    __slots__ = (
        "_buffer",
        "_clock",
        "_committer",
        "_ending",
        "_error",
        "_first_piece_s",
        "_generation",
        "_in_flight",
        "_limits",
        "_observer",
        "_plain",
        "_plain_groups",
        "_position",
        "_queued",
        "_settled",
        "_tails",
        "_uncertain",
        "_watch",
        "claimed_at",
        "epoch",
        "internal_id",
        "last_append",
        "result",
        "state",
        "stopped",
        "stream_id",
        "tail",
    )

    def __init__(self, core: Core, committer: Committer, tails: Tails, tail: Tail) -> None:
        state = tail.state
        self.stream_id = state.stream_id
        self.internal_id = state.internal_id
        self.epoch = state.epoch
        self.state = state
        self.tail = tail
        self.result: JSON = None
        self._clock = core.clock
        self._limits = core.limits
        self._observer = core.observer
        self._generation = 0
        """The generation of the writer's last commit; 0 before the first commit."""
        self._first_piece_s: float | None = None
        self.last_append = self._clock.monotonic()
        self.claimed_at = self.last_append
        self.stopped: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._committer = committer
        self._tails = tails
        self._buffer = Buffer(state, core.limits, committer.room)
        self._watch = LoopWatch(state.stream_id, self._buffer, core.clock)
        self._queued = False
        self._position = state.tail
        self._in_flight: Sequence[Group] = ()
        self._plain = self._change(self._position, None)
        self._plain_groups = (Group((self._plain,)),)
        self._uncertain = False
        self._ending: Change | None = None
        self._error: Exception | None = None
        self._settled = asyncio.Event()
        self._settled.set()

    @property
    def pending_bytes(self) -> int:
        """The number of bytes that the writer has accepted but not committed."""
        return self._buffer.pending_bytes

    @property
    def waits(self) -> bool:
        """True while text is ready to be committed, or the outcome of a commit is not known."""
        return bool(self._in_flight) or self._buffer.ready

    @property
    def active(self) -> bool:
        """True while this writer may append to the stream."""
        return self._error is None and self._ending is None

    @property
    def fenced(self) -> bool:
        """True if ``fence`` stopped this writer."""
        return isinstance(self._error, WriterFenced) and not isinstance(self._error, Finished)

    @property
    def ending(self) -> bool:
        """True while the end or the release of the stream waits for its commit."""
        return self._ending is not None

    async def append(self, message: str | Mapping[str, JSON]) -> None:
        """Accept a piece of text or a JSON object. While the buffer is full, wait.

        If the caller has kept the event loop from running, this method lets the loop run first.

        When this method returns, the message is not durable yet; see ``flush``. If the caller is
        cancelled while this method waits, the message is not accepted.

        Raises:
            WriterFenced: The stream has ended, was released, taken over or deleted, or the store
                lost text of the stream.
            MessageTooLarge, StreamTooLarge: The message exceeds a limit; nothing was accepted.
            InvalidMessage: The message is neither text nor a JSON object.
            StoreUnavailable: The store stayed away for longer than ``Timing.patience_s``, or the
                process stops.
        """
        if self.append_at_once(message):
            return
        piece = message if isinstance(message, str) else wire.dump_object(message)
        size = wire.size_of(piece)
        buffer = self._buffer
        if buffer.busy:
            # The caller may be cancelled here, so the buffer must not have the piece yet.
            await self._watch.look()
        self._check()
        if not size:
            return
        buffer.check(size)
        while not buffer.fits(size):
            await self._committer.next_commit()
            self._check()
        buffer.put(piece, size)
        self._join()

    def append_at_once(self, message: object) -> bool:
        """Accept text that needs no check and no wait. Return False for any other message."""
        if not self._buffer.push(message):
            return False
        if not self._queued:  # a copy of ``_join`` saves a call for each token
            self._queued = True
            self._committer.join(self)
        return True

    def _join(self) -> None:
        self._queued = True
        self._committer.join(self)

    def _check(self) -> None:
        if self._error is not None:
            raise self._error
        if self._ending is not None:
            raise finished(self.stream_id, self._ending.end, has="is being")

    def remember(self, result: JSON) -> None:
        """Keep ``result`` for the stream's end, also if another operation ends the stream.

        A later result replaces this one.

        Raises:
            InvalidMessage: The result is not JSON, or is nested too deep.
            MessageTooLarge: The result is larger than ``Limits.message_bytes``.
        """
        self.check_end(End(Status.DONE, result=result))
        self.result = result

    def check_end(self, end: End) -> None:
        """Raise ``InvalidMessage`` or ``MessageTooLarge`` if ``end`` must not be stored.

        Without this check, an end could be stored that no route can send.
        """
        # The end is a JSON object around the result, so an end may be nested too deep although its
        # result alone is valid.
        wire.dump_json({wire.END_KEY: wire.end_object(end)})
        if end.result is not None:
            size = len(wire.dump_json(end.result))
            self._limits.check_message(self.stream_id, size, "a result")

    async def flush(self) -> None:
        """Wait until all messages accepted so far are durable.

        This method does not wait for half a surrogate pair at the end of the text. The writer keeps
        this half, and commits it together with the next message or with the end.

        Raises:
            WriterFenced, StoreUnavailable: In the same cases as ``append``.
        """
        while self._error is None and self.waits:
            self._settled.clear()
            await self._settled.wait()
        if self._error is not None:
            raise self._error

    async def finish(
        self, end: End, *, at: float, worker: str | None, due_at: float | None
    ) -> None:
        """End the stream. On return, all accepted text and the end are durable.

        If the caller is cancelled while this method waits, the writer ends the stream all the same.

        Args:
            end: The end to store.
            at: The wall time of the end.
            worker: This worker if it must call ``on_end``; else ``None``.
            due_at: The wall time at which the stream is deleted; ``None`` for never.

        Raises:
            WriterFenced, StoreUnavailable: In the same cases as ``append``.
        """
        self._check()
        self._buffer.close()
        self._ending = Change(
            internal_id=self.internal_id, end=end, at=at, worker=worker, due_at=due_at
        )
        self._join()
        await self._until_ended()

    async def release(self, *, due_at: float) -> None:
        """Let go of the stream, so that another writer may take the stream over until ``due_at``.

        On return, all accepted text is durable. If the caller is cancelled while this method waits,
        the writer lets go all the same.

        Raises:
            WriterFenced, StoreUnavailable: In the same cases as ``append``.
        """
        self._check()
        self._buffer.close()
        self._ending = Change(internal_id=self.internal_id, worker=None, due_at=due_at)
        self._join()
        await self._until_ended()

    async def _until_ended(self) -> None:
        while self._ending is not None and self._error is None:
            self._settled.clear()
            await self._settled.wait()
        if self._error is not None and not isinstance(self._error, Finished):
            raise self._error

    # The committer and the engine call the methods below. No source calls them.

    def take(self) -> Sequence[Group]:
        """Return the groups to commit now, in order.

        If the last commit failed, these are the same groups again.
        """
        self._queued = False
        if not self._in_flight:
            last = self._ending is not None
            segments = self._buffer.take(self._position, last=last)
            if len(segments) == 1 and not last:
                # All plain appends of a writer use the same change, which is cheaper than a new
                # object. This is safe, because a writer has at most one running commit.
                self._plain.if_tail = self._position
                self._plain.append = segments[0]
                self._in_flight = self._plain_groups
            else:
                self._in_flight = [Group((change,)) for change in self._changes(segments)]
        return self._in_flight

    def _changes(self, segments: Sequence[Segment]) -> list[Change]:
        changes = [self._change(segment.position, segment) for segment in segments]
        if self._ending is not None:
            # The end is in the same transaction as the last text, so that readers see both at once.
            last = changes.pop() if changes else self._change(self._position, None)
            changes.append(
                replace(
                    last,
                    end=self._ending.end,
                    at=self._ending.at,
                    worker=self._ending.worker,
                    due_at=self._ending.due_at,
                )
            )
        return changes

    def _change(self, position: int, segment: Segment | None) -> Change:
        return Change(
            internal_id=self.internal_id,
            if_status=_STREAMING,
            if_epoch=self.epoch,
            if_tail=position,
            append=segment,
        )

    def failed(self, exc: StoreUnavailable) -> bool:
        """Keep the groups for the next attempt; return whether the writer must be queued again.

        After ``OutcomeUnknown``, the groups may already be committed; see ``_landed``.
        """
        if isinstance(exc, OutcomeUnknown):
            self._uncertain = True
        self._queued = bool(self._in_flight)
        return self._queued

    def settle(self, outcomes: Sequence[Outcome]) -> int:
        """Handle the outcomes of the groups from ``take``: give readers the committed text.

        Return how many readers were woken.
        """
        if not self._in_flight:
            # The writer was stopped during the commit. If the commit's text was stored, readers
            # read it from the store.
            return self._tails.publish(self.tail, [])
        groups, self._in_flight = self._in_flight, ()
        uncertain, self._uncertain = self._uncertain, False
        segments: list[Segment] = []
        for group, outcome in zip(groups, outcomes, strict=True):
            (change,) = group.changes
            if not isinstance(outcome, Refused):
                generation = outcome.heads[0].generation
            elif uncertain and self._landed(change, outcome):
                assert outcome.state is not None
                # After the earlier attempt, another process may have ended the stream in a later
                # generation. So use the generation of this change's own text or end.
                reached = self._reached(change) + (change.end is not None)
                generation = generation_of(outcome.state.runs, reached)
            else:
                self.fence(outcome.state)
                self.tail.publish(segments)
                return self._tails.absorb(self.tail, outcome.state)
            if generation != self._generation:
                self._generation = generation
                self.tail.begin_run(generation)
            if change.append is not None:
                segments.append(change.append)
                self._position = change.append.end
        if self._first_piece_s is None and segments:
            self._first_piece_s = self._clock.monotonic() - self.claimed_at
            self._observer.first_piece(self.state, self._first_piece_s)
        self._buffer.release()
        self._settled.set()
        last = groups[-1].changes[0]
        if last.worker is not KEEP:
            self._ending = None
            if last.end is not None:
                self._observer.ended(self._ended(last.end))
            self._stop(finished(self.stream_id, last.end, has="was"))
            return self._tails.publish(self.tail, segments, last.end)
        self.last_append = self._committer.committed_at
        if not self._queued and (self._ending is not None or self._buffer.ready):
            self._join()
        return self._tails.publish(self.tail, segments)

    def _ended(self, end: End) -> Ended:
        duration_s = self._clock.monotonic() - self.claimed_at
        characters = self._buffer.characters
        readers = len(self.tail.readers)
        return Ended(self.state, end, duration_s, self._first_piece_s, characters, readers)

    def _landed(self, change: Change, outcome: Refused) -> bool:
        """Return whether a refused change was committed by an earlier attempt.

        Only this writer can move the stream's tail in this epoch. So if the tail has reached the
        end of the change's text, an earlier attempt with an unknown outcome committed this text.
        """
        state = outcome.state
        if state is None or state.epoch != self.epoch:
            return False
        if state.tail < self._reached(change):
            return False
        if change.end is not None:
            return state.status == change.end.status
        if change.worker is not KEEP:
            return state.worker == change.worker
        return change.append is not None

    def _reached(self, change: Change) -> int:
        """Return the stream's tail after ``change``, one of the groups in flight."""
        return self._position if change.append is None else change.append.end

    def fence(self, state: StreamState | None) -> None:
        """Stop, because the stream does not belong to this writer any more; drop uncommitted text.

        ``state`` is the stream's newest state, or ``None`` if the stream does not exist.
        """
        if self._error is None:
            self._observer.fenced(self.state, None if state is None else state.status.value)
        self._drop()
        self._stop(fenced(self.stream_id, self.epoch, state))

    def give_up(self, end: End, *, at: float, due_at: float | None) -> None:
        """Stop, because the store stays away too long. When the store is back, commit the end.

        A writer that is already ending keeps its own end and its last text. Any other writer drops
        the text that is not in its running commit, and commits ``end``. Running calls raise
        ``OutcomeUnknown``, because the store may have the text already, or may get it later.
        """
        if self._ending is None:
            in_flight = self._in_flight
            self._drop()
            # The running commit may be stored or not. So its groups are tried again first: only
            # their outcome shows the position of the end.
            self._in_flight = in_flight
            self._ending = Change(
                internal_id=self.internal_id, end=end, at=at, worker=None, due_at=due_at
            )
            self._join()  # a writer that had no text to commit is not in the queue yet
        self._stop(
            OutcomeUnknown(
                f"the store stayed away too long; writing stream {self.stream_id!r} was given up"
            )
        )

    def leave(self) -> None:
        """Stop, because this process commits nothing any more. Another worker ends the stream."""
        running = bool(self._in_flight) and not self._queued
        kind = OutcomeUnknown if running or self._uncertain else StoreUnavailable
        self._drop()
        self._stop(kind(f"the process stopped while it wrote stream {self.stream_id!r}"))

    def _drop(self) -> None:
        self._buffer.drop()
        self._in_flight = ()
        self._ending = None

    def _stop(self, error: Exception) -> None:
        if self._error is None:
            self._error = error
        self._buffer.close()
        self._settled.set()
        if self.tail.writer is self and self._ending is None:
            self.tail.writer = None
        if not self.stopped.done():
            self.stopped.set_result(None)
