"""All writers of an engine: who becomes one, how its source runs, and how it ends."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

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
from inkstream.engine.changes import CANCELLED, Changes, due_after_end
from inkstream.engine.committer import Committer
from inkstream.engine.generation import end_for, write_to_end
from inkstream.engine.life import Life
from inkstream.engine.settings import Limits, Timing
from inkstream.engine.sweeper import Sweeper, after
from inkstream.engine.tails import Tails
from inkstream.engine.writer import Writer

_log = logging.getLogger("inkstream")

_TICK_S = 0.25

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
        changes: Changes,
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
        self._changes = changes
        self._sweeper = sweeper
        self._clock = clock
        self._limits = limits
        self._timing = timing
        self._reporter = reporter
        self._writers: dict[Writer, None] = {}
        self._claims = 0
        self._generations: dict[asyncio.Task[Any], None] = {}

    def __len__(self) -> int:
        return len(self._writers)

    async def settle(self, timeout_s: float, end: End) -> None:
        """Wait for writers to come to their ends, and give those that do not this one.

        Raises:
            TimeoutError: The store did not take the ends in time; a sweeper will write some.
        """
        running = [*self._generations, *[writer.stopped for writer in self._writers]]
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
                self._life.spawn(self._finish_quietly(writer, TOTAL))
            elif writer.pending_bytes:
                writer.last_append = now  # what waits for the store is not idle
            elif timing.idle_s is not None and now - writer.last_append > timing.idle_s:
                self._life.spawn(self._finish_quietly(writer, IDLE))

    def _give_up(self) -> None:
        """Stop generating, as the store stays away, and send readers off to reconnect (G12)."""
        now = self._clock.wall()
        for writer in list(self._writers):
            if writer.active:
                writer.give_up(STORE_AWAY, at=now, due_at=due_after_end(writer.state, now))
                writer.tail.cut = True
                writer.tail.wake()
        self._committer.give_up_waiting()

    async def claim(
        self,
        stream_id: StreamId,
        *,
        takeover: bool = False,
        allow: Callable[[StreamState], bool] | None = None,
    ) -> Writer:
        """Become the one writer of a pending stream, or of one whose writer died or let go.

        Raises:
            NotClaimed: It is not there to be claimed.
            StreamNotFound, ShuttingDown, TooManyStreams, StoreUnavailable
        """
        self._life.check()
        if self._life.draining:
            raise ShuttingDown
        if len(self._writers) + self._claims >= self._limits.live_streams:
            raise TooManyStreams(
                f"this process writes {len(self._writers)} streams, as many as "
                "Limits.live_streams allows",
                limit=self._limits.live_streams,
            )
        self._claims += 1
        try:
            return await self._claim(stream_id, takeover, allow)
        finally:
            self._claims -= 1

    async def _claim(
        self,
        stream_id: StreamId,
        takeover: bool,
        allow: Callable[[StreamState], bool] | None,
    ) -> Writer:
        await self._sweeper.show_life()
        state = (await self._store.read(stream_id, 0, 0)).state
        if allow is not None and not allow(state):
            raise StreamNotFound(stream_id)
        if takeover and state.worker is not None:
            await self._sweeper.look()
        while True:
            self._check_claimable(state, takeover)
            now = self._clock.wall()
            change = Change(
                internal_id=state.internal_id,
                if_status=(state.status,),
                if_epoch=state.epoch,
                if_worker=state.worker,
                next_epoch=True,
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
                    lambda writer: self._life.spawn(self._finish_quietly(writer, INTERRUPTED))
                )
                raise
            if claim.writer is not None:
                return claim.writer
            assert isinstance(outcome, Refused)
            if outcome.state is None:
                raise StreamNotFound(stream_id)
            state = outcome.state

    def _check_claimable(self, state: StreamState, takeover: bool) -> None:
        if state.status is Status.PENDING:
            return
        if state.status is Status.STREAMING and takeover:
            if state.worker is None or state.worker in self._sweeper.dead:
                return
            raise NotClaimed(
                state.stream_id, state.status, f"stream {state.stream_id!r} has a living writer"
            )
        raise NotClaimed(
            state.stream_id,
            state.status,
            f"stream {state.stream_id!r} is {state.status}, so it cannot be claimed",
        )

    def _own_stream(self, state: StreamState) -> Writer:
        tail = self._tails.attach(state)
        if tail.writer is not None:
            tail.writer.fence(state)
        tail.state = state
        writer = Writer(self._committer, tail, state, self._limits, self._clock)
        tail.writer = writer
        self._writers[writer] = None
        writer.stopped.add_done_callback(lambda _: self._disown(writer))
        return writer

    def _disown(self, writer: Writer) -> None:
        self._writers.pop(writer, None)
        self._tails.detach(writer.tail)

    async def finish(self, writer: Writer, end: End) -> None:
        """End a writer's stream; durable, with all its text, on return."""
        now = self._clock.wall()
        wire.dump_json(wire.end_object(end))  # refuse a result that is not JSON before anything
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
        await self._finish_quietly(writer, end_for(writer.stream_id, error, None))

    async def _finish_quietly(self, writer: Writer, end: End) -> None:
        try:
            await self.finish(writer, end)
        except (WriterFenced, StoreUnavailable):
            pass

    async def release(self, writer: Writer) -> None:
        """Let go of a stream, for another writer to take over within its time."""
        state = writer.state
        within = state.takeover_within_s or self._timing.start_within_s
        await writer.release(due_at=self._clock.wall() + within)

    def start(
        self,
        stream_id: StreamId,
        source: Any,
        *,
        allow: Callable[[StreamState], bool] | None = None,
        cancel_without_readers: bool = False,
    ) -> tuple[asyncio.Future[bool], asyncio.Task[Any]]:
        """Claim a stream and run a source into it, in a task that no request owns.

        The future's result says whether this call became the writer (G4); it raises what ``claim``
        raises, ``NotClaimed`` excepted. The task ends with the stream, or with a failed claim.
        """
        self._life.check()
        if self._life.draining:
            raise ShuttingDown
        claimed: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        context = contextvars.copy_context()
        task = self._life.spawn(
            self._generate(stream_id, source, context, allow, cancel_without_readers, claimed)
        )
        self._generations[task] = None
        task.add_done_callback(lambda done: self._generations.pop(done, None))
        return claimed, task

    async def _generate(
        self,
        stream_id: StreamId,
        source: Any,
        context: contextvars.Context,
        allow: Callable[[StreamState], bool] | None,
        cancel_without_readers: bool,
        claimed: asyncio.Future[bool],
    ) -> None:
        writer: Writer | None = None
        try:
            writer = await self.claim(stream_id, allow=allow)
        except NotClaimed:
            pass
        except Exception as exc:
            if claimed.cancelled():
                return
            claimed.set_exception(exc)
            _log.warning("stream %r was not started: %s", stream_id, exc)
            claimed.exception()  # whoever wants it still gets it; nobody need ask
            return
        except asyncio.CancelledError:
            if not claimed.done():
                claimed.set_exception(ShuttingDown())
                claimed.exception()
            raise
        if not claimed.done():
            claimed.set_result(writer is not None)
        if writer is None:
            return

        async def finish(end: End) -> None:
            await self.finish(writer, end)

        watch = (
            self._life.spawn(self._cancel_without_readers(writer))
            if cancel_without_readers
            else None
        )
        try:
            await write_to_end(source, writer, context, finish)
        except asyncio.CancelledError:
            if writer.active:
                self._life.spawn(self._finish_quietly(writer, INTERRUPTED))
            raise
        finally:
            if watch is not None:
                watch.cancel()

    async def _cancel_without_readers(self, writer: Writer) -> None:
        tail = writer.tail
        tail.without_readers_since = self._clock.monotonic()
        while True:
            await asyncio.sleep(_TICK_S)
            alone_s = self._clock.monotonic() - tail.without_readers_since
            if not tail.readers and alone_s >= self._timing.disconnect_grace_s:
                try:
                    await self._changes.end_stream(writer.state, CANCELLED)
                except StoreUnavailable:
                    continue  # it is tried again, for as long as the writer lives
                except StreamNotFound:
                    pass
                return


class _Claim:
    """A claim under way, whose caller may go away before its outcome is known."""

    def __init__(
        self, own: Callable[[StreamState], Writer], state: StreamState, change: Change
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
            if self._end is not None:
                self._end(self.writer)
        return 0

    def give_up(self, end: Callable[[Writer], object]) -> None:
        """Have the writer, made or still to be made, end its stream: nobody else would."""
        self._end = end
        if self.writer is not None:
            end(self.writer)
