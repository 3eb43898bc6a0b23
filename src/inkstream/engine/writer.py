"""A writer: the one who may append to a text stream, from claim to end."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from inkstream import wire
from inkstream._errors import (
    StoreUnavailable,
    WriterFenced,
)
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

if TYPE_CHECKING:
    from inkstream.abc import Clock
    from inkstream.engine.committer import Committer
    from inkstream.engine.settings import Limits
    from inkstream.engine.tail import Tail

_STREAMING = (Status.STREAMING,)

_YIELD_EVERY = 64
"""A source that never waits for anything must still let others run, after so many messages."""


@dataclass(slots=True)
class Settled:
    """What a writer's commit leaves to be published to the stream's tail, in this order."""

    segments: list[Segment]
    end: End | None = None
    refused: Refused | None = None


class Writer:
    """Append to one claimed text stream. Use it from the event loop that made it.

    What ``append`` accepted becomes durable and visible within the commit window, in order.
    """

    def __init__(
        self, committer: Committer, tail: Tail, state: StreamState, limits: Limits, clock: Clock
    ) -> None:
        self.stream_id = state.stream_id
        self.internal_id = state.internal_id
        self.epoch = state.epoch
        self.state = state
        self.tail = tail
        self._clock = clock
        self.last_append = clock.monotonic()
        self.claimed_at = self.last_append
        self.stopped: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done as soon as the stream is no longer this writer's, for whatever reason."""
        self._committer = committer
        self._limits = limits
        self._position = state.tail
        self._size = state.size
        self._pieces: list[str | wire.RawJSON] = []
        self._pending_bytes = 0
        self._room = 0
        """Bytes that may be accepted without a look at any limit; none when it has stopped."""
        self._half = ""
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
        """Bytes accepted and not yet committed."""
        return self._pending_bytes

    @property
    def active(self) -> bool:
        """True while the stream is this writer's to append to."""
        return self._error is None and self._ending is None

    @property
    def ending(self) -> bool:
        """True while the last commit is under way, which tells if the stream was still its own."""
        return self._ending is not None

    async def append(self, message: str | Mapping[str, JSON]) -> None:
        """Accept a piece of text or a JSON object; wait only while the buffer is full.

        Nothing is durable yet when this returns (see ``flush``). Cancelled while it waits, it has
        accepted nothing.

        Raises:
            WriterFenced: The stream was cancelled, taken over, timed out or deleted.
            MessageTooLarge, StreamTooLarge: A limit; nothing was accepted.
            InvalidMessage: Neither text nor a JSON object.
            StoreUnavailable: The store stayed away for longer than ``Timing.patience_s``.
        """
        if self.append_at_once(message):
            return
        piece: str | wire.RawJSON
        before = self._half
        if isinstance(message, str):
            if self._half:
                message = self._half + message
                self._half = ""
            if "\ud800" <= message[-1:] <= "\udbff":
                # The other half of a surrogate pair may come with the next piece.
                self._half = message[-1]
                message = message[:-1]
            size = wire.size_of(message)
            if not message:
                self._check()
                return
            piece = message
        else:
            piece = wire.dump_object(message)
            size = len(piece.raw)
            if before:
                await self._accept(before, 3)
                before = self._half = ""
        try:
            await self._accept(piece, size)
        except BaseException:
            self._half = before  # it still waits for its other half
            raise

    def append_at_once(self, message: object) -> bool:
        """Accept what is nearly always appended, text that needs no look; else leave it alone."""
        if not isinstance(message, str) or self._half:
            return False
        try:
            size = len(message) if message.isascii() else len(message.encode())
        except UnicodeEncodeError:  # half a surrogate pair
            return False
        pieces = self._pieces
        if (
            not 0 < size <= self._room
            or len(pieces) % _YIELD_EVERY == _YIELD_EVERY - 1
            or self._committer.full
        ):
            return False
        pieces.append(message)
        self._room -= size
        self._pending_bytes += size
        self._size += size
        self._committer.accept(self, size)
        return True

    async def _accept(self, piece: str | wire.RawJSON, size: int) -> None:
        if len(self._pieces) % _YIELD_EVERY == _YIELD_EVERY - 1:
            # Before the piece is kept: whoever is cancelled here has accepted nothing.
            await asyncio.sleep(0)
        self._check()
        limits = self._limits
        limits.check_message(self.stream_id, size)
        limits.check_stream(self.stream_id, self._size + size)
        while self._pending_bytes and (
            self._pending_bytes + size > limits.buffer_bytes or self._committer.full
        ):
            await self._committer.next_commit()
            self._check()
        self._pieces.append(piece)
        self._pending_bytes += size
        self._size += size
        self._room = min(
            limits.message_bytes,
            limits.buffer_bytes - self._pending_bytes,
            limits.stream_bytes - self._size,
        )
        self._committer.accept(self, size)

    def _check(self) -> None:
        if self._error is not None:
            raise self._error
        if self._ending is not None:
            raise WriterFenced(self.stream_id, None if self._ending.end is None else "ending")

    async def flush(self) -> None:
        """Wait until everything accepted so far is durable; raises as ``append`` does."""
        while self._error is None and (self._pieces or self._in_flight):
            self._settled.clear()
            await self._settled.wait()
        if self._error is not None:
            raise self._error

    async def finish(
        self, end: End, *, at: float, worker: str | None, due_at: float | None
    ) -> None:
        """End the stream with what was accepted before, in one commit; durable on return.

        Cancelled while it waits, the end is written all the same.
        """
        self._check()
        if self._half:
            self._pieces.append(self._half)
            self._half = ""
        self._room = 0
        self._ending = Change(
            internal_id=self.internal_id, end=end, at=at, worker=worker, due_at=due_at
        )
        self._committer.accept(self, 0)
        await self._until_ended()

    async def release(self, *, due_at: float) -> None:
        """Let go of the stream, still ``streaming``, for another writer to take over in time."""
        self._check()
        self._room = 0
        self._ending = Change(internal_id=self.internal_id, worker=None, due_at=due_at)
        self._committer.accept(self, 0)
        await self._until_ended()

    async def _until_ended(self) -> None:
        while self._ending is not None and self._error is None:
            self._settled.clear()
            await self._settled.wait()
        if self._error is not None and not isinstance(self._error, _Finished):
            raise self._error

    # What follows is called by the committer and by the engine, never by a source.

    def take(self) -> Sequence[Group]:
        """Return what to commit now, in order; the same again until its outcome is known."""
        if not self._in_flight:
            segments = wire.encode_messages(self._pieces, self._position)
            self._pieces.clear()
            if len(segments) == 1 and self._ending is None:
                # One change serves all of a writer's plain appends, for only one is ever under
                # way: of a thousand new ones a commit, most of the cost is the garbage collector's.
                self._plain.if_tail = self._position
                self._plain.append = segments[0]
                self._in_flight = self._plain_groups
            else:
                self._in_flight = [Group((change,)) for change in self._changes(segments)]
        return self._in_flight

    def _changes(self, segments: Sequence[Segment]) -> list[Change]:
        changes = [self._change(segment.position, segment) for segment in segments]
        if self._ending is not None:
            # The end belongs to the transaction of the last text.
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

    def uncertain(self) -> None:
        """Note that the commit under way may or may not have happened."""
        self._uncertain = True

    def settle(self, outcomes: Sequence[Outcome]) -> Settled:
        """Take note of what became of ``take``'s groups; return what is now to be published."""
        segments: list[Segment] = []
        if not self._in_flight:
            return Settled(segments)  # fenced meanwhile: what it left is read from the store
        groups, self._in_flight = self._in_flight, ()
        uncertain, self._uncertain = self._uncertain, False
        for group, outcome in zip(groups, outcomes, strict=True):
            (change,) = group.changes
            if isinstance(outcome, Refused) and not (uncertain and self._landed(change, outcome)):
                self.fence(outcome.state)
                return Settled(segments, refused=outcome)
            if change.append is not None:
                segments.append(change.append)
                self._position = change.append.end
                self._release(len(change.append.payload))
        self._settled.set()
        (last,) = groups[-1].changes
        if last.worker is not KEEP:
            self._ending = None
            status = None if last.end is None else last.end.status
            self._stop(_Finished(self.stream_id, status))
            return Settled(segments, end=last.end)
        self.last_append = self._clock.monotonic()
        if self._pieces or self._ending is not None:
            self._committer.accept(self, 0)
        return Settled(segments)

    def _release(self, size: int) -> None:
        size = min(size, self._pending_bytes)
        self._pending_bytes -= size
        self._committer.release(size)

    def _landed(self, change: Change, outcome: Refused) -> bool:
        """Tell if a refused change was made by an earlier attempt whose outcome was unknown.

        Nobody else moves the tail in this writer's epoch, so a tail beyond the change's own start
        says that its text is there.
        """
        state = outcome.state
        if state is None or state.epoch != self.epoch:
            return False
        reached = self._position if change.append is None else change.append.end
        if state.tail < reached:
            return False
        if change.end is not None:
            return state.status == change.end.status
        if change.worker is not KEEP:
            return state.worker == change.worker
        return change.append is not None

    def fence(self, state: StreamState | None) -> None:
        """Stop: the stream is no longer this writer's. What was not committed is dropped."""
        self._drop()
        self._stop(WriterFenced(self.stream_id, None if state is None else state.status))

    def give_up(self, end: End, *, at: float, due_at: float | None) -> None:
        """Stop because the store stays away; the end is still written when it returns.

        One that is at its end already keeps that end, with its last text.
        """
        if self._ending is None:
            in_flight = self._in_flight
            self._drop()
            # It may be in the store already, or get there now: it stays first in line, so that the
            # position from which the end is written is right.
            self._in_flight = in_flight
            self._ending = Change(
                internal_id=self.internal_id, end=end, at=at, worker=None, due_at=due_at
            )
            self._committer.accept(self, 0)  # one that was quiet was not in line
        self._stop(
            StoreUnavailable(
                f"the store stayed away too long; writing stream {self.stream_id!r} was given up"
            )
        )

    def leave(self) -> None:
        """Stop because nothing is committed any more; a sweeper elsewhere writes the end."""
        self._drop()
        self._stop(StoreUnavailable(f"writing stream {self.stream_id!r} ended with its process"))

    def _drop(self) -> None:
        self._committer.release(self._pending_bytes)
        self._pieces.clear()
        self._half = ""
        self._pending_bytes = 0
        self._in_flight = ()
        self._ending = None

    def _stop(self, error: Exception) -> None:
        if self._error is None:
            self._error = error
        self._room = 0
        self._settled.set()
        if self.tail.writer is self and self._ending is None:
            self.tail.writer = None
        if not self.stopped.done():
            self.stopped.set_result(None)


class _Finished(WriterFenced):
    """The writer's own end: not an error to the one who finished, one to a later append."""
