"""The engine: one worker on one event loop, which writes, follows, cancels and sweeps streams."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import math
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from inkstream import wire
from inkstream._errors import (
    InvalidMessage,
    NotClaimed,
    NotRunning,
    OffsetGone,
    ShuttingDown,
    StoreUnavailable,
    StreamConflict,
    StreamEnded,
    StreamNotFound,
    TooManyReaders,
    TooManyStreams,
    WriterFenced,
)
from inkstream._types import (
    JSON,
    Change,
    Committed,
    End,
    Group,
    Kind,
    NewStream,
    Outcome,
    Page,
    Query,
    Read,
    Refused,
    Status,
    StreamId,
    StreamState,
)
from inkstream.abc import Clock, Notifier, Store
from inkstream.engine.committer import Committer
from inkstream.engine.generation import end_for, write_to_end
from inkstream.engine.reader import Reader
from inkstream.engine.settings import Limits, Timing
from inkstream.engine.sweeper import Sweeper, after
from inkstream.engine.tail import Tail
from inkstream.engine.tails import Tails
from inkstream.engine.writer import Writer
from inkstream.wire import Offset

_log = logging.getLogger("inkstream")

_TICK_S = 0.25
_NOW = "now"
_SNAPSHOT_BYTES = 1024 * 1024
_READ_AT_ONCE = 100

CANCELLED = End(Status.CANCELLED)
IDLE = End(Status.TIMEOUT, "idle", "The answer stopped coming.")
TOTAL = End(Status.TIMEOUT, "total", "The answer took too long.")
SHUTDOWN = End(Status.ERROR, "shutdown", "The server is restarting.")
INTERRUPTED = End(Status.ERROR, "internal", "The answer could not be completed.")
STORE_AWAY = End(Status.ERROR, "store_unavailable", "The answer could not be saved.")

OnEnd = Callable[[StreamState], Awaitable[None]]


class Engine:
    """One worker. Start it on the event loop that is to use it; it serves that loop only."""

    def __init__(
        self,
        store: Store,
        notifier: Notifier,
        *,
        worker: str,
        clock: Clock,
        limits: Limits,
        timing: Timing,
        on_end: OnEnd | None = None,
    ) -> None:
        self.worker = worker
        self.store = store
        self.clock = clock
        self.limits = limits
        self.timing = timing
        self._notifier = notifier
        self._on_end = on_end
        self._tails = Tails(store, notifier, clock, limits, timing)
        self._committer = Committer(store, notifier, self._tails, clock, limits, timing)
        self._sweeper = Sweeper(
            worker,
            store,
            clock,
            timing,
            self._apply,
            lambda: bool(self._writers),
            self._tails.writes,
            on_end,
        )
        self._writers: dict[Writer, None] = {}
        self._claims = 0
        self._generations: dict[asyncio.Task[Any], None] = {}
        self._own: dict[asyncio.Task[Any], None] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._readers: dict[Reader, None] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pid = 0
        self.draining = False
        self._drained = False
        self._drain_by = math.inf

    # Life --------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Open the store and begin to work on this event loop."""
        await self.store.open(self.worker)
        try:
            await self._notifier.open(self._tails.hint)
        except BaseException:
            await self.store.close()
            raise
        self._loop = asyncio.get_running_loop()
        self._pid = os.getpid()
        for run in (
            self._committer.run,
            self._committer.run_hints,
            self._tails.run,
            self._sweeper.run,
            self._sweeper.run_tidy,
            self._run_ticks,
        ):
            # An empty context: these outlive the request that may have started them.
            task = self._loop.create_task(
                run(), name=f"inkstream-{run.__qualname__}", context=contextvars.Context()
            )
            task.add_done_callback(self._died)
            self._tasks.append(task)

    def _died(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            _log.critical("%s died", task.get_name(), exc_info=task.exception())

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The event loop it was started on, or ``None``."""
        return self._loop

    def check(self) -> None:
        """Raise ``NotRunning`` unless started, on this event loop, in this process."""
        if self._loop is None:
            raise NotRunning(
                "streams are not running: give the app lifespan=streams.lifespan, or use "
                "'async with streams:' around what uses them"
            )
        if self._pid != os.getpid():
            raise NotRunning(
                "streams were started before this process was forked: start them in each process "
                "(for example in the lifespan of each worker)"
            )
        if self._loop is not asyncio.get_running_loop():
            raise NotRunning(
                "streams run on another event loop: use one instance for each loop, or start them "
                "in the lifespan of the app that uses them"
            )

    async def drain(self, grace_s: float | None = None) -> None:
        """Start nothing new, let running answers finish for a while, then end them ``error`` (G8).

        Readers of streams that end are told; readers of others are cut and will reconnect
        elsewhere. Safe to call twice: the second call does not extend the grace.
        """
        now = self.clock.monotonic()
        grace = self.timing.shutdown_grace_s if grace_s is None else grace_s
        self._drain_by = min(self._drain_by, now + grace)
        self.draining = True
        running = [*self._generations, *[writer.stopped for writer in self._writers]]
        if running and self._drain_by > now:
            await asyncio.wait(running, timeout=self._drain_by - now)
        writers = [writer for writer in self._writers if writer.active]
        if writers:
            async with asyncio.timeout(5):
                await asyncio.gather(
                    *[self.finish(writer, SHUTDOWN) for writer in writers], return_exceptions=True
                )
        self._drained = True
        for tail in self._tails:
            if not tail.local:
                tail.cut = True
                tail.wake()

    async def stop(self, grace_s: float | None = None) -> None:
        """Drain, and release everything."""
        if self._loop is None:
            return
        try:
            await self.drain(grace_s)
        except TimeoutError:
            _log.warning("the store was away at shutdown: a sweeper will end what was running")
        finally:
            await self._sweeper.finish_reports(2.0)
            for tail in self._tails:
                tail.cut = True
                tail.wake()
            for task in [*self._tasks, *self._own]:
                task.cancel()
            await asyncio.gather(*self._tasks, *self._own, return_exceptions=True)
            self._tasks.clear()
            self._loop = None
            await self._notifier.close()
            await self.store.close()

    def spawn(self, coro: Any) -> asyncio.Task[Any]:
        """Run a coroutine in a task that the engine keeps, in an empty context."""
        assert self._loop is not None
        task: asyncio.Task[Any] = self._loop.create_task(coro, context=contextvars.Context())
        self._own[task] = None
        task.add_done_callback(self._spawned_done)
        return task

    def _spawned_done(self, task: asyncio.Task[Any]) -> None:
        self._own.pop(task, None)
        if not task.cancelled() and task.exception() is not None:
            _log.error("a task of inkstream failed", exc_info=task.exception())

    async def _run_ticks(self) -> None:
        while True:
            await asyncio.sleep(_TICK_S)
            self._tick()

    def _tick(self) -> None:
        now = self.clock.monotonic()
        self._tails.tick(now)
        away = self._committer.away_since
        if away is not None and now - away > self.timing.patience_s:
            self._give_up()
        timing = self.timing
        for writer in list(self._writers):
            if not writer.active:
                continue
            if timing.total_s is not None and now - writer.claimed_at > timing.total_s:
                self.spawn(self._finish_quietly(writer, TOTAL))
            elif timing.idle_s is not None and now - writer.last_append > timing.idle_s:
                self.spawn(self._finish_quietly(writer, IDLE))
        # Not by way of the tails: what had ended before it was read is not among them.
        for reader in list(self._readers):
            if reader.alarm_at <= now:
                reader.alarm_at = math.inf
                reader.alarm()

    def _give_up(self) -> None:
        """Stop generating, as the store stays away, and send readers off to reconnect (G12)."""
        now = self.clock.wall()
        for writer in list(self._writers):
            if writer.active:
                writer.give_up(STORE_AWAY, at=now, due_at=self._due_after_end(writer.state, now))
                writer.tail.cut = True
                writer.tail.wake()
        self._committer.give_up_waiting()

    # Writing -----------------------------------------------------------------------------------

    async def create(self, new: NewStream, *, connection: object | None = None) -> StreamState:
        """Create a stream; see ``Store.create``."""
        self.check()
        return await self.store.create(new, connection=connection)

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
        self.check()
        if self.draining:
            raise ShuttingDown
        if len(self._writers) + self._claims >= self.limits.live_streams:
            raise TooManyStreams(
                f"this process writes {len(self._writers)} streams, as many as "
                "Limits.live_streams allows",
                limit=self.limits.live_streams,
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
        state = (await self.page(stream_id, 0, 0)).state
        if allow is not None and not allow(state):
            raise StreamNotFound(stream_id)
        if takeover and state.worker is not None:
            await self._sweeper.look()
        while True:
            self._check_claimable(state, takeover)
            now = self.clock.wall()
            change = Change(
                internal_id=state.internal_id,
                if_status=(state.status,),
                if_epoch=state.epoch,
                if_worker=state.worker,
                next_epoch=True,
                status=Status.STREAMING,
                at=now,
                worker=self.worker,
                due_at=None,
            )
            claim = _Claim(self._own_stream, state, change)
            try:
                outcome = await self._submit(change, state.stream_id, claim.publish)
            except asyncio.CancelledError:
                claim.give_up(lambda writer: self.spawn(self._finish_quietly(writer, INTERRUPTED)))
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
        writer = Writer(self._committer, tail, state, self.limits, self.clock)
        tail.writer = writer
        self._writers[writer] = None
        writer.stopped.add_done_callback(lambda _: self._disown(writer))
        return writer

    def _disown(self, writer: Writer) -> None:
        self._writers.pop(writer, None)
        self._tails.detach(writer.tail)

    def _due_after_end(self, state: StreamState, now: float) -> float | None:
        return None if state.retain_s is None else now + state.retain_s

    async def finish(self, writer: Writer, end: End) -> None:
        """End a writer's stream; durable, with all its text, on return."""
        now = self.clock.wall()
        wire.dump_json(wire.end_object(end))  # refuse a result that is not JSON before anything
        reporter = self.worker if self._on_end is not None and writer.state.report else None
        await writer.finish(
            end, at=now, worker=reporter, due_at=self._due_after_end(writer.state, now)
        )
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
        within = state.takeover_within_s or self.timing.start_within_s
        await writer.release(due_at=self.clock.wall() + within)

    def start_source(
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
        self.check()
        if self.draining:
            raise ShuttingDown
        assert self._loop is not None
        claimed: asyncio.Future[bool] = self._loop.create_future()
        context = contextvars.copy_context()
        task = self.spawn(
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
        if not claimed.done():
            claimed.set_result(writer is not None)
        if writer is None:
            return

        async def finish(end: End) -> None:
            await self.finish(writer, end)

        watch = self.spawn(self._cancel_without_readers(writer)) if cancel_without_readers else None
        try:
            await write_to_end(source, writer, context, finish)
        except asyncio.CancelledError:
            if writer.active:
                self.spawn(self._finish_quietly(writer, INTERRUPTED))
            raise
        finally:
            if watch is not None:
                watch.cancel()

    async def _cancel_without_readers(self, writer: Writer) -> None:
        tail = writer.tail
        tail.without_readers_since = self.clock.monotonic()
        while True:
            await asyncio.sleep(_TICK_S)
            alone_s = self.clock.monotonic() - tail.without_readers_since
            if not tail.readers and alone_s >= self.timing.disconnect_grace_s:
                try:
                    await self.end_stream(writer.state, CANCELLED)
                except StoreUnavailable:
                    continue  # it is tried again, for as long as the writer lives
                except StreamNotFound:
                    pass
                return

    async def append(
        self,
        stream_id: StreamId,
        messages: Sequence[str | Mapping[str, JSON]],
        *,
        connection: object | None = None,
    ) -> Offset:
        """Append to a log; durable, and on its way to readers, when it returns."""
        self.check()
        encoded = [m if isinstance(m, str) else wire.dump_object(m) for m in messages]
        segments = wire.encode_messages(encoded, 0)
        if not segments:
            raise InvalidMessage("there is nothing to append: give at least one message")
        for message in encoded:
            self.limits.check_message(stream_id, wire.size_of(message))
        page = await self.page(stream_id, 0, 0, connection=connection)
        state = page.state
        if state.kind is not Kind.LOG:
            raise StreamConflict(
                stream_id, state.status, f"stream {stream_id!r} is a text: only its writer appends"
            )
        self.limits.check_stream(
            stream_id, state.size + sum(len(segment.payload) for segment in segments)
        )
        offset = Offset(state.internal_id, state.tail)
        for segment in segments:
            change = Change(internal_id=state.internal_id, if_status=(Status.OPEN,), append=segment)
            done = await self._change(state, change, connection=connection)
            if done is None:
                raise StreamEnded(stream_id, Status.DONE, f"log {stream_id!r} is closed")
            state = done
            offset = Offset(state.internal_id, state.tail)
        return offset

    async def close_log(self, stream_id: StreamId, *, connection: object | None = None) -> bool:
        """Close a log for good; return whether this call did it."""
        self.check()
        state = (await self.page(stream_id, 0, 0, connection=connection)).state
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
        now = self.clock.wall()
        reporter = self.worker if self._on_end is not None and state.report else None
        if connection is not None:
            reporter = None  # whether and when it commits is not told here: a sweeper reports it
        change = Change(
            internal_id=state.internal_id,
            if_status=(Status.PENDING, Status.STREAMING, Status.OPEN),
            end=end,
            at=now,
            worker=reporter,
            due_at=self._due_after_end(state, now),
        )
        done = await self._change(state, change, connection=connection)
        if done is not None and reporter is not None:
            self._sweeper.report(done)
        return done is not None

    async def delete(
        self, states: Sequence[StreamState], *, connection: object | None = None
    ) -> int:
        """Delete streams whatever their status; their readers are told, their writers stopped."""
        self.check()
        deleted = await self.store.delete([s.internal_id for s in states], connection=connection)
        if connection is None:
            for state in states:
                tail = self._tails.get(state.stream_id)
                if tail is not None and tail.internal_id == state.internal_id:
                    self._tails.absorb(tail, None)
                self._committer.hint(state.stream_id)
        return deleted

    async def _submit(
        self, change: Change, stream_id: StreamId, published: Callable[[Outcome], int]
    ) -> Outcome:
        return await self._committer.submit(Group((change,)), [stream_id], published)

    async def _change(
        self, state: StreamState, change: Change, *, connection: object | None = None
    ) -> StreamState | None:
        if connection is None:
            return await self._apply(state, change)
        [outcome] = await self.store.commit([Group((change,))], connection=connection)
        return after(state, change, outcome) if isinstance(outcome, Committed) else None

    async def _apply(self, state: StreamState, change: Change) -> StreamState | None:
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
            waiting = len(tail.waiting)
            self._tails.absorb(tail, done[0])
            return waiting

        outcome = await self._submit(change, state.stream_id, publish)
        return outcome if isinstance(outcome, Refused) else done[0]

    # Reading -----------------------------------------------------------------------------------

    async def page(
        self,
        stream_id: StreamId,
        after: int,
        max_bytes: int,
        *,
        marks: Sequence[str] = (),
        connection: object | None = None,
    ) -> Page:
        """Return a page straight from the store; see ``Store.read``."""
        self.check()
        return await self.store.read(
            stream_id, after, max_bytes, marks=marks, connection=connection
        )

    async def find(self, query: Query, *, connection: object | None = None) -> list[StreamState]:
        """Return states straight from the store; see ``Store.find``."""
        self.check()
        return await self.store.find(query, connection=connection)

    async def state(self, stream_id: StreamId) -> StreamState:
        """Return a stream's state; that of a live stream may be a moment old.

        What never changes (owner, group, metadata) is always right.
        """
        self.check()
        tail = self._tails.get(stream_id)
        if tail is not None and not tail.gone:
            return tail.state
        return (await self.store.read(stream_id, 0, 0)).state

    async def pages(
        self, stream_id: StreamId, after: int = 0, *, at_tail: bool = False
    ) -> list[Page]:
        """Return everything after a position, as far as the stream goes now; at least one page."""
        self.check()
        pages = [await self.store.read(stream_id, after, 0 if at_tail else _SNAPSHOT_BYTES)]
        if at_tail:
            return [replace(pages[0], end=pages[0].state.tail)]
        goal = pages[0].state.tail
        while pages[-1].end < goal:
            page = await self.store.read(stream_id, pages[-1].end, _SNAPSHOT_BYTES)
            if page.state.internal_id != pages[0].state.internal_id:
                raise StreamNotFound(stream_id)
            pages.append(page)
        return pages

    async def pages_of(self, stream_ids: Sequence[StreamId]) -> dict[StreamId, list[Page]]:
        """Return the same for many streams at once; those that do not exist are left out."""
        self.check()
        found: dict[StreamId, list[Page]] = {}
        reads = [Read(stream_id) for stream_id in dict.fromkeys(stream_ids)]
        while reads:
            some, reads = reads[:_READ_AT_ONCE], reads[_READ_AT_ONCE:]
            answers = await self.store.read_many(some, _SNAPSHOT_BYTES)
            for read, page in zip(some, answers, strict=True):
                pages = found.pop(read.stream_id, [])
                if page is None or (pages and pages[0].state.internal_id != page.state.internal_id):
                    continue
                found[read.stream_id] = pages = [*pages, page]
                if page.end < pages[0].state.tail:
                    reads.append(Read(read.stream_id, page.end))
        return {stream_id: found[stream_id] for stream_id in stream_ids if stream_id in found}

    async def open_reader(self, stream_id: StreamId, offset: str | Offset | None) -> Reader:
        """Return a reader of a stream from an offset; close it when done.

        Args:
            stream_id: The stream.
            offset: Where to begin: as a stream gave it, ``"now"`` for the tail, ``None`` for the
                start.

        Raises:
            StreamNotFound, InvalidOffset, OffsetGone, TooManyReaders, StoreUnavailable
        """
        self.check()
        if self._drained:
            raise ShuttingDown
        at_tail = offset == _NOW
        if offset is None or at_tail:
            offset = wire.START
        elif isinstance(offset, str):
            offset = Offset.parse(offset)
        tail = self._tails.get(stream_id)
        page: Page | None = None
        if tail is None or not _covers(tail, offset):
            page = await self.store.read(
                stream_id, offset.position, 0 if at_tail else self.limits.page_bytes
            )
            tail = self._tails.get(stream_id)
            if tail is None or tail.internal_id != page.state.internal_id:
                tail = self._tails.attach(page.state)
            elif page.state.tail > tail.position and not tail.local:
                self._tails.stale(tail)
        reached = tail.position if page is None else max(tail.position, page.state.tail)
        wrong = not offset.is_start and offset.internal_id != tail.internal_id
        if wrong or offset.position > reached:
            self._tails.detach(tail)
            raise OffsetGone(stream_id, str(offset))
        if len(self._readers) >= self.limits.readers:
            self._tails.detach(tail)
            raise TooManyReaders(
                f"this process has {len(self._readers)} readers, as many as Limits.readers allows",
                limit=self.limits.readers,
            )
        if len(tail.readers) >= self.limits.readers_per_stream:
            raise TooManyReaders(
                f"stream {stream_id!r} has {len(tail.readers)} readers here, as many as "
                "Limits.readers_per_stream allows",
                limit=self.limits.readers_per_stream,
            )
        if tail.cut:
            raise StoreUnavailable(f"the store has been away too long to follow {stream_id!r}")
        position = reached if at_tail else offset.position
        ahead = page.segments if page is not None and not at_tail else ()
        reader = Reader(self.store, tail, position, ahead, self.limits.page_bytes, self._left)
        self._readers[reader] = None
        return reader

    def _left(self, reader: Reader) -> None:
        del self._readers[reader]
        tail = reader.tail
        tail.readers.pop(reader, None)
        if not tail.readers:
            tail.without_readers_since = self.clock.monotonic()
            self._tails.detach(tail)


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


def _covers(tail: Tail, offset: Offset) -> bool:
    """Tell if a tail in memory answers for an offset; what it does not is read from the store."""
    if tail.gone:
        return False
    return offset.is_start or (
        offset.internal_id == tail.internal_id and offset.position <= tail.position
    )
