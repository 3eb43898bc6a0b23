"""Claims streams. A claimed stream has one writer, in this process (G3, G4)."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from dataclasses import replace

from inkstream._errors import (
    NotClaimed,
    OutcomeUnknown,
    ShuttingDown,
    StreamConflict,
    StreamNotFound,
    TooManyStreams,
)
from inkstream._types import (
    Change,
    Committed,
    End,
    Group,
    Kind,
    Outcome,
    Refused,
    Status,
    StreamId,
    StreamState,
    applied,
)
from inkstream.engine.committer import Committer
from inkstream.engine.core import Core
from inkstream.engine.presence import Presence
from inkstream.engine.writer import Writer
from inkstream.engine.writers import Writers

INTERRUPTED = End(Status.ERROR, "internal", "The answer could not be completed.")


class Claims:
    """Claim streams for this worker."""

    def __init__(
        self, core: Core, committer: Committer, writers: Writers, presence: Presence
    ) -> None:
        self._core = core
        self._committer = committer
        self._writers = writers
        self._presence = presence
        self._places: dict[object, None] = {}
        self._unclear: set[int] = set()
        """The internal ids of streams that this worker may have claimed without learning it."""

    async def claim(self, stream_id: StreamId, *, takeover: bool = False) -> Writer:
        """Claim a ``pending`` stream, and return its writer.

        With ``takeover``, also claim a ``streaming`` stream whose writer died or let go.

        Raises:
            NotClaimed: The stream has a living writer, has ended, or needs ``takeover``.
            StreamConflict: The stream is a log.
            StreamNotFound, ShuttingDown, TooManyStreams, StoreUnavailable
        """
        release = self.reserve()
        try:
            return await self.claim_reserved(stream_id, takeover=takeover)
        finally:
            release()

    def reserve(self) -> Callable[[], None]:
        """Reserve room for one more writer, and return a function that gives the room back.

        Raises:
            TooManyStreams: This process has as many streams as ``Limits.live_streams`` allows.
            ShuttingDown: This process is draining.
        """
        life = self._core.life
        life.check()
        if life.draining:
            raise ShuttingDown
        writers, claims = len(self._writers), len(self._places)
        if writers + claims >= self._core.limits.live_streams:
            raise TooManyStreams(
                f"this process writes {writers} streams and is about to write {claims} more, as "
                f"many as Limits.live_streams ({self._core.limits.live_streams}) allows",
                limit=self._core.limits.live_streams,
            )
        place = object()
        self._places[place] = None
        return functools.partial(self._places.pop, place, None)

    async def claim_reserved(
        self,
        stream_id: StreamId,
        *,
        takeover: bool = False,
        allow: Callable[[StreamState], bool] | None = None,
    ) -> Writer:
        """Claim a stream as ``claim`` does. The caller must have called ``reserve`` before.

        This method works while the process drains, too. If ``allow`` returns false for the stream's
        state, this method raises ``StreamNotFound``.
        """
        await self._presence.show_life()
        state = (await self._core.store.read(stream_id, 0, 0)).state
        if allow is not None and not allow(state):
            raise StreamNotFound(stream_id)
        while True:
            if takeover and state.worker is not None:
                await self._presence.look()
            self._check_claimable(state, takeover)
            now = self._core.clock.wall()
            change = state.still(
                next_epoch=state.worker != self._core.worker,
                status=Status.STREAMING,
                at=now,
                worker=self._core.worker,
                due_at=None,
            )
            # A dying writer may append text after the read of ``state``, and ``state`` then lacks
            # the run of this text. Because of ``if_tail``, the store refuses the claim in this
            # case, and the loop tries again with the newer state.
            change = replace(change, if_tail=state.tail)
            claim = _Claim(self._writers, state, change, self._unclear)
            try:
                outcome = await self._committer.submit(
                    state.stream_id, Group((change,)), claim.publish
                )
            except asyncio.CancelledError:
                claim.give_up()
                claim.note_unclear()
                raise
            except OutcomeUnknown:
                claim.note_unclear()
                raise
            if claim.writer is not None:
                return claim.writer
            if isinstance(outcome, Refused):
                if outcome.state is None:
                    raise StreamNotFound(stream_id)
                state = outcome.state

    def _check_claimable(self, state: StreamState, takeover: bool) -> None:
        if state.kind is Kind.LOG:
            # Do not raise NotClaimed: callers ignore NotClaimed, because it usually means that
            # another writer does the work.
            raise StreamConflict(
                state.stream_id,
                state.status,
                f"stream {state.stream_id!r} is a log, which has no single writer: append with "
                "post(), and end it with close()",
            )
        if state.status is Status.PENDING:
            return
        lost = state.worker == self._core.worker and not self._writers.holds(state)
        # If this worker claimed the stream but did not learn the outcome, and the claim began the
        # first epoch, no writer has written text yet. So this worker may claim the stream again. A
        # ``lost`` stream that is not unclear had a writer here, and the database lost its text: a
        # second source would write its answer after the rest of the first answer.
        unclear = lost and state.internal_id in self._unclear
        if state.status is Status.STREAMING and unclear and state.epoch == 1:
            return
        if state.status is Status.STREAMING and takeover:
            if state.worker is None or lost or state.worker in self._presence.dead:
                return
            raise NotClaimed(
                state.stream_id, state.status, f"stream {state.stream_id!r} has a living writer"
            )
        raise NotClaimed(
            state.stream_id,
            state.status,
            f"stream {state.stream_id!r} is {state.status}, so it cannot be claimed",
        )


class _Claim:
    """A claim whose outcome is not known yet, and whose caller may be cancelled meanwhile."""

    def __init__(
        self, writers: Writers, state: StreamState, change: Change, unclear: set[int]
    ) -> None:
        self.writer: Writer | None = None
        self._writers = writers
        self._state = state
        self._change = change
        self._unclear = unclear
        self._given_up = False

    def publish(self, outcome: Outcome) -> int:
        """Create the writer if the claim was committed. Return the number of woken readers: 0."""
        if isinstance(outcome, Committed):
            self._unclear.discard(self._state.internal_id)
            state = applied(self._state, self._change, outcome.heads[0])
            self.writer = self._writers.adopt(state)
            if self._given_up:
                self.give_up()
        return 0

    def note_unclear(self) -> None:
        """Note that the outcome is unknown, unless this process writes the stream already."""
        claimed = replace(self._state, epoch=self._state.epoch + self._change.next_epoch)
        if not self._writers.holds(claimed):
            self._unclear.add(self._state.internal_id)

    def give_up(self) -> None:
        """End the stream if its claim is or will be committed: the claim's caller was cancelled."""
        self._given_up = True
        if self.writer is not None:
            self._writers.finish_soon(self.writer, INTERRUPTED)
