"""All writers of an engine: who becomes one, and how it ends."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import replace

from inkstream import wire
from inkstream._errors import (
    NotClaimed,
    ShuttingDown,
    StoreUnavailable,
    StreamNotFound,
    TooManyStreams,
    WriterFenced,
)
from inkstream._types import (
    Change,
    Committed,
    End,
    Group,
    Outcome,
    Refused,
    Status,
    StreamId,
    StreamState,
)
from inkstream.abc import Clock, Store
from inkstream.engine.changes import due_after_end
from inkstream.engine.committer import Committer
from inkstream.engine.generation import end_for
from inkstream.engine.life import Life
from inkstream.engine.settings import Limits, Timing
from inkstream.engine.sweeper import Sweeper, after
from inkstream.engine.tails import Tails
from inkstream.engine.writer import Writer

_log = logging.getLogger("inkstream")

IDLE = End(Status.TIMEOUT, "idle", "The answer stopped coming.")
TOTAL = End(Status.TIMEOUT, "total", "The answer took too long.")
INTERRUPTED = End(Status.ERROR, "internal", "The answer could not be completed.")
STORE_AWAY = End(Status.ERROR, "store_unavailable", "The answer could not be saved.")


class Writers:
    """Claim streams for this worker, and see their writers through to the end."""

    def __init__(
        self,
        worker: str,
        life: Life,
        store: Store,
        committer: Committer,
        tails: Tails,
        sweeper: Sweeper,
        clock: Clock,
        limits: Limits,
        timing: Timing,
        reporter: str | None,
    ) -> None:
        self._worker = worker
        self._life = life
        self._store = store
        self._committer = committer
        self._tails = tails
        self._sweeper = sweeper
        self._clock = clock
        self._limits = limits
        self._timing = timing
        self._reporter = reporter
        self._writers: dict[Writer, None] = {}
        self._claims: dict[object, None] = {}

    def __len__(self) -> int:
        return len(self._writers)

    async def settle(
        self, timeout_s: float, end: End, starts: Iterable[asyncio.Task[None]]
    ) -> None:
        """Wait for writers to come to their ends, and give those that do not this one.

        Args:
            timeout_s: How long to wait.
            end: The end to give.
            starts: What may still become a writer, or has one.

        Raises:
            TimeoutError: The store did not take the ends in time; a sweeper will write some.
        """
        running = [*starts, *[writer.stopped for writer in self._writers]]
        if running and timeout_s > 0:
            await asyncio.wait(running, timeout=timeout_s)
        writers = list(self._writers)
        async with asyncio.timeout(5):
            await asyncio.gather(
                *[
                    self.finish(writer, end) if writer.active else asyncio.shield(writer.stopped)
                    for writer in writers
                ],
                return_exceptions=True,
            )

    def leave(self) -> None:
        """Let go of whoever still waits for a commit: there will be none."""
        for writer in list(self._writers):
            writer.leave()
        self._committer.give_up_waiting()

    def tick(self, now: float) -> None:
        """Do what is due by time: give up on an absent store, end what is idle or too long."""
        timing = self._timing
        away = self._committer.away_since
        if away is not None and now - away > timing.patience_s:
            self._give_up()
        for writer in list(self._writers):
            if not writer.active:
                continue
            if timing.total_s is not None and now - writer.claimed_at > timing.total_s:
                self._life.spawn(self.finish_quietly(writer, TOTAL))
            elif writer.pending_bytes:
                writer.last_append = now  # what waits for the store is not idle
            elif timing.idle_s is not None and now - writer.last_append > timing.idle_s:
                self._life.spawn(self.finish_quietly(writer, IDLE))

    def _give_up(self) -> None:
        """Stop generating, as the store stays away, and send readers off to reconnect (G12)."""
        now = self._clock.wall()
        for writer in list(self._writers):
            writer.give_up(STORE_AWAY, at=now, due_at=due_after_end(writer.state, now))
            writer.tail.cut = True
            writer.tail.wake()
        self._committer.give_up_waiting()

    async def claim(self, stream_id: StreamId, *, takeover: bool = False) -> Writer:
        """Become the one writer of a pending stream, or of one whose writer died or let go.

        Raises:
            NotClaimed: It is not there to be claimed.
            StreamNotFound, ShuttingDown, TooManyStreams, StoreUnavailable
        """
        release = self.reserve()
        try:
            return await self.take(stream_id, takeover=takeover)
        finally:
            release()

    def reserve(self) -> Callable[[], None]:
        """Keep room for one more writer until what is returned is called.

        Raises:
            TooManyStreams, ShuttingDown
        """
        self._life.check()
        if self._life.draining:
            raise ShuttingDown
        writers, claims = len(self._writers), len(self._claims)
        if writers + claims >= self._limits.live_streams:
            raise TooManyStreams(
                f"this process writes {writers} streams and is about to write {claims} more, as "
                f"many as Limits.live_streams ({self._limits.live_streams}) allows",
                limit=self._limits.live_streams,
            )
        place = object()
        self._claims[place] = None
        return lambda: self._claims.pop(place, None)

    async def take(
        self,
        stream_id: StreamId,
        *,
        takeover: bool = False,
        allow: Callable[[StreamState], bool] | None = None,
    ) -> Writer:
        """Claim where room was reserved before, as ``claim`` does; also while draining."""
        await self._sweeper.show_life()
        state = (await self._store.read(stream_id, 0, 0)).state
        if allow is not None and not allow(state):
            raise StreamNotFound(stream_id)
        while True:
            if takeover and state.worker is not None:
                await self._sweeper.look()
            self._check_claimable(state, takeover)
            now = self._clock.wall()
            change = Change(
                internal_id=state.internal_id,
                if_status=(state.status,),
                if_epoch=state.epoch,
                if_worker=state.worker,
                next_epoch=state.worker != self._worker,
                status=Status.STREAMING,
                at=now,
                worker=self._worker,
                due_at=None,
            )
            claim = _Claim(self._own_stream, state, change)
            try:
                outcome = await self._committer.submit(
                    Group((change,)), [state.stream_id], claim.publish
                )
            except asyncio.CancelledError:
                claim.give_up(
                    lambda writer: self._life.spawn(self.finish_quietly(writer, INTERRUPTED))
                )
                raise
            if claim.writer is not None:
                return claim.writer
            if isinstance(outcome, Refused):
                if outcome.state is None:
                    raise StreamNotFound(stream_id)
                state = outcome.state

    def _check_claimable(self, state: StreamState, takeover: bool) -> None:
        if state.status is Status.PENDING:
            return
        # Claimed here by a commit whose outcome was lost: nobody has written yet in this epoch.
        lost = state.worker == self._worker and not self._tails.writes(state)
        if state.status is Status.STREAMING and lost and state.epoch == 1:
            return
        if state.status is Status.STREAMING and takeover:
            if state.worker is None or lost or state.worker in self._sweeper.dead:
                return
            raise NotClaimed(
                state.stream_id, state.status, f"stream {state.stream_id!r} has a living writer"
            )
        raise NotClaimed(
            state.stream_id,
            state.status,
            f"stream {state.stream_id!r} is {state.status}, so it cannot be claimed",
        )

    def _own_stream(self, state: StreamState) -> Writer | None:
        if self._tails.writes(state):
            return None  # a claim of this process whose outcome was not lost came before
        tail = self._tails.attach(state)
        if tail.writer is not None:
            tail.writer.fence(state)
        tail.state = state
        if state.tail > tail.position:
            # The writer before wrote more than was heard of here, and from now on nobody looks.
            tail.reach(state.tail)
            tail.wake()
        writer = Writer(self._committer, tail, state, self._limits, self._clock)
        tail.writer = writer
        self._writers[writer] = None
        writer.stopped.add_done_callback(lambda _: self._disown(writer))
        if tail.gone:
            writer.fence(None)
        return writer

    def _disown(self, writer: Writer) -> None:
        self._writers.pop(writer, None)
        self._tails.detach(writer.tail)

    async def finish(self, writer: Writer, end: End) -> None:
        """End a writer's stream; durable, with all its text, on return."""
        now = self._clock.wall()
        # Before anything else, refuse a result that no route could tell of.
        wire.dump_json({wire.END_KEY: wire.end_object(end)})
        reporter = self._reporter if writer.state.report else None
        await writer.finish(end, at=now, worker=reporter, due_at=due_after_end(writer.state, now))
        if reporter is not None:
            self._sweeper.report(
                replace(
                    writer.state,
                    status=end.status,
                    code=end.code,
                    message=end.message,
                    result=end.result,
                    ended_at=now,
                    worker=reporter,
                )
            )

    async def finish_failed(self, writer: Writer, error: BaseException) -> None:
        """End a writer's stream as an exception in its source ends it."""
        await self.finish_quietly(writer, end_for(writer.stream_id, error, None))

    async def finish_quietly(self, writer: Writer, end: End) -> None:
        """Do the same where nobody is to be told that the stream has another end."""
        try:
            await self.finish(writer, end)
        except (WriterFenced, StoreUnavailable):
            pass

    async def release(self, writer: Writer) -> None:
        """Let go of a stream, for another writer to take over within its time."""
        state = writer.state
        within = state.takeover_within_s or self._timing.start_within_s
        await writer.release(due_at=self._clock.wall() + within)


class _Claim:
    """A claim under way, whose caller may go away before its outcome is known."""

    def __init__(
        self, own: Callable[[StreamState], Writer | None], state: StreamState, change: Change
    ) -> None:
        self.writer: Writer | None = None
        self._own = own
        self._state = state
        self._change = change
        self._end: Callable[[Writer], object] | None = None

    def publish(self, outcome: Outcome) -> int:
        """Make the writer, in commit order; return how many readers were woken."""
        if isinstance(outcome, Committed):
            self.writer = self._own(after(self._state, self._change, outcome))
            if self._end is not None and self.writer is not None:
                self._end(self.writer)
        return 0

    def give_up(self, end: Callable[[Writer], object]) -> None:
        """Have the writer, made or still to be made, end its stream: nobody else would."""
        self._end = end
        if self.writer is not None:
            end(self.writer)
