"""Manages the writers of an engine, and ends the writers' streams."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Iterable
from dataclasses import replace

from inkstream._errors import StoreUnavailable, StreamNotFound, WriterFenced
from inkstream._types import Change, End, Status, StreamState
from inkstream.engine.committer import Committer
from inkstream.engine.core import Core
from inkstream.engine.generation import end_for
from inkstream.engine.reports import Reports
from inkstream.engine.tails import Tails
from inkstream.engine.writer import Writer

_log = logging.getLogger("inkstream")

IDLE = End(Status.TIMEOUT, "idle", "The answer stopped coming.")
TOTAL = End(Status.TIMEOUT, "total", "The answer took too long.")
_CLOSING_S = 1.5

STORE_AWAY = End(Status.ERROR, "store_unavailable", "The answer could not be saved.")


class Writers:
    """Manage the writers of this worker, from the claim until a writer stops."""

    def __init__(self, core: Core, committer: Committer, tails: Tails, reports: Reports) -> None:
        self._core = core
        self._life = core.life
        self._clock = core.clock
        self._committer = committer
        self._tails = tails
        self._reports = reports
        self._writers: dict[Writer, None] = {}

    def __len__(self) -> int:
        return len(self._writers)

    async def end_all(
        self, timeout_s: float, end: End, starts: Iterable[asyncio.Task[None]]
    ) -> None:
        """Wait until all writers have stopped. After ``timeout_s``, end the streams that still run.

        ``starts`` are the tasks of ``Starts``, which may still create writers.

        Raises:
            TimeoutError: Some ends were not durable 5 s after the wait for the writers. A sweep of
                another worker will end the streams that have no end yet.
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
        """Stop all writers. Call this method when the engine commits nothing any more."""
        for writer in list(self._writers):
            writer.leave()
        self._committer.give_up_waiting()

    def tick(self, now: float) -> None:
        """Stop all writers if the store stays away. End streams that are idle or take too long."""
        timing = self._core.timing
        away = self._committer.away_since
        if away is not None and now - away > timing.patience_s:
            self._give_up()
        for writer in list(self._writers):
            if not writer.active:
                continue
            if timing.total_s is not None and now - writer.claimed_at > timing.total_s:
                self.finish_soon(writer, TOTAL)
            elif writer.waits:
                writer.last_append = now  # a source whose text waits for the store is not idle
            elif timing.idle_s is not None and now - writer.last_append > timing.idle_s:
                self.finish_soon(writer, IDLE)

    def _give_up(self) -> None:
        """Stop all writers, and disconnect their readers, because the store stays away (G12)."""
        now = self._clock.wall()
        for writer in list(self._writers):
            end = replace(STORE_AWAY, result=writer.result)
            writer.give_up(end, at=now, due_at=writer.state.deletion_due(now))
            writer.tail.sent_away = True
            writer.tail.wake()
        self._committer.give_up_waiting()

    def holds(self, state: StreamState) -> bool:
        """Return whether a writer of this process has claimed the epoch of ``state``."""
        return self._tails.writes(state)

    def adopt(self, state: StreamState) -> Writer | None:
        """Return a new writer for a stream that this worker has just claimed.

        Return ``None`` if another claim of this process has created the writer already.
        """
        if self._tails.writes(state):
            return None
        tail = self._tails.attach(state)
        if tail.writer is not None:
            tail.writer.fence(state)
        tail.claimed(state)
        if state.tail > tail.position:
            # An earlier writer wrote text that this process has not read.
            tail.reach(state.tail)
            tail.wake()
        writer = Writer(self._core, self._committer, self._tails, tail)
        tail.writer = writer
        self._writers[writer] = None
        self._core.observer.claimed(state)
        writer.stopped.add_done_callback(functools.partial(self._disown, writer))
        if tail.gone:
            writer.fence(None)
        return writer

    def _disown(self, writer: Writer, stopped: asyncio.Future[None]) -> None:
        self._writers.pop(writer, None)
        self._tails.detach(writer.tail)

    async def finish(self, writer: Writer, end: End) -> None:
        """End a writer's stream. On return, all accepted text, the end and its result are durable.

        If ``end`` has no result, the stored end gets the writer's result.

        Raises:
            InvalidMessage, MessageTooLarge: ``end`` cannot be stored. The stream has not ended.
            WriterFenced, StoreUnavailable
        """
        now = self._clock.wall()
        if end.result is None:
            end = replace(end, result=writer.result)
        writer.check_end(end)
        reporter = self._core.reporter(writer.state)
        await writer.finish(end, at=now, worker=reporter, due_at=writer.state.deletion_due(now))
        if reporter is not None:
            self._reports.report(
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
        """End a writer's stream after ``error`` was raised in the code that writes the stream."""
        await self.finish_quietly(writer, end_for(writer.stream_id, error))

    def finish_soon(self, writer: Writer, end: End) -> None:
        """Call ``finish_quietly`` in a task of the engine."""
        self._life.spawn(self.finish_quietly(writer, end))

    async def finish_quietly(self, writer: Writer, end: End) -> None:
        """End a writer's stream, but do not raise ``WriterFenced`` or ``StoreUnavailable``.

        After such an error, the stream has another end or another writer, was deleted, or gets an
        end when the store is back.
        """
        try:
            await self.finish(writer, end)
        except (WriterFenced, StoreUnavailable):
            pass

    def part_from(self, writer: Writer, source: asyncio.Task[None] | None = None) -> None:
        """Add the writer's result to the end of its stream, if another operation ended the stream.

        Call this method once for each writer, after the writer's last append. A task then waits a
        short time for the result of ``source``, and adds the result.
        """
        if writer.fenced:
            self._life.spawn(self._add_result(writer, source))

    async def _add_result(self, writer: Writer, source: asyncio.Task[None] | None) -> None:
        if source is not None:
            await asyncio.wait((source,), timeout=_CLOSING_S)
        until = self._clock.monotonic() + self._core.timing.patience_s
        while self._clock.monotonic() < until:
            try:
                state = (await self._core.store.read(writer.stream_id, 0, 0)).state
                change = _late_result(state, writer)
                if change is not None:
                    await self._tails.commit(state, change)
                return
            except StreamNotFound:
                return
            except StoreUnavailable:
                await asyncio.sleep(0.5)

    async def release(self, writer: Writer) -> None:
        """Let go of a writer's stream. Another writer may take the stream over for a time.

        The time is the stream's ``takeover_within_s``, or if this is 0, ``Timing.start_within_s``.
        """
        state = writer.state
        within = state.takeover_within_s or self._core.timing.start_within_s
        await writer.release(due_at=self._clock.wall() + within)


def _late_result(state: StreamState, writer: Writer) -> Change | None:
    """Return the change that adds a stopped writer's result to the end, or ``None``.

    The change begins a new epoch. So the process that reports the end sees that the writer adds
    nothing more.
    """
    if not state.ended or state.internal_id != writer.internal_id or state.epoch != writer.epoch:
        return None
    new = writer.result is not None and writer.result != state.result
    if not new and not state.report:
        return None  # there is no new result, and no process waits for this writer
    end = End(state.status, state.code, state.message, writer.result) if new else None
    return Change(
        internal_id=state.internal_id,
        if_status=(state.status,),
        if_epoch=state.epoch,
        next_epoch=True,
        end=end,
        at=state.ended_at,
    )
