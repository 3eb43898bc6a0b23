"""The sweeper: ends what nobody will end any more, reports ends, and tidies the store."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

from inkstream._errors import StoreUnavailable, StreamNotFound
from inkstream._types import KEEP, Change, Committed, End, Query, Status, StreamState
from inkstream.abc import Clock, Store
from inkstream.engine.leases import Leases
from inkstream.engine.settings import Timing

_log = logging.getLogger("inkstream")

_BATCH = 200
_TIDY_BYTES = 1024 * 1024
REPORT_TRIES = 5
"""How often an ``on_end`` that raises is called before it is given up."""
_LOOK_S = 1.0
"""How often streams that are due, and ends that nobody reported, are looked for."""

WRITER_LOST = End(Status.TIMEOUT, "writer_lost", "The answer was interrupted.")
NEVER_STARTED = End(Status.TIMEOUT, "never_started", "The answer was never started.")
ABANDONED = End(Status.TIMEOUT, "abandoned", "The answer was interrupted and not taken up again.")

Apply = Callable[[StreamState, Change], Awaitable[StreamState | None]]
"""Commit a change of a stream; return its state afterwards, or ``None`` if it was refused."""


class Sweeper:
    """Look, again and again, for what time or death has done to streams."""

    def __init__(
        self,
        worker: str,
        store: Store,
        clock: Clock,
        timing: Timing,
        apply: Apply,
        owns_streams: Callable[[], bool],
        writes: Callable[[StreamState], bool],
        report: Callable[[StreamState], Awaitable[None]] | None,
    ) -> None:
        self._worker = worker
        self._store = store
        self._clock = clock
        self._timing = timing
        self._apply_change = apply
        self._owns_streams = owns_streams
        self._writes = writes
        self._report = report
        self._leases = Leases(worker, timing.lease_s, max(3 * timing.sweep_s, timing.beat_s))
        self._suspects: frozenset[str] = frozenset()
        self._beat_at = -1e9
        self._owned_at = -1e9
        self._looked_at = -1e9
        self._strays: frozenset[tuple[int, int, Status]] = frozenset()
        self._strays_at = -1e9
        self._orphans: frozenset[tuple[int, int, Status]] = frozenset()
        self._orphans_at = -1e9
        self._reporting: dict[int, int] = {}
        self._report_tasks: dict[asyncio.Task[None], None] = {}
        self.dead: frozenset[str] = frozenset()
        """The workers that the last read showed to be dead."""

    async def run(self) -> None:
        """Sweep until cancelled, at once and then at ``sweep_s``."""
        while True:
            try:
                await self.sweep()
            except StoreUnavailable:
                self._leases.missed()
            except Exception:
                self._leases.missed()
                _log.exception("the sweep failed; trying again")
            await asyncio.sleep(self._timing.sweep_s)

    async def run_tidy(self) -> None:
        """Tidy until cancelled, in small steps that leave room for commits between them."""
        while True:
            pause = self._timing.tidy_s
            try:
                if await self._store.tidy(self._clock.wall(), _TIDY_BYTES):
                    pause = min(pause, 0.02)
            except StoreUnavailable:
                pass
            except Exception:
                _log.exception("tidying the store failed; trying again")
            await asyncio.sleep(pause)

    async def show_life(self) -> None:
        """Beat now unless a beat is fresh: before a claim, so that nobody takes us for dead."""
        self._owned_at = self._clock.monotonic()
        if self._owned_at - self._beat_at > self._timing.beat_s:
            await self._heartbeat(beat=True, forget=())

    async def _heartbeat(self, *, beat: bool, forget: tuple[str, ...]) -> list[str]:
        began = self._clock.monotonic()
        workers = await self._store.heartbeat(beat=beat, forget=forget)
        now = self._clock.monotonic()
        if beat:
            self._beat_at = began
        dead = self._leases.observe(workers, began, now, beaten=beat)
        self.dead = frozenset(dead)
        return dead

    async def look(self) -> None:
        """Read the other workers now, so that ``dead`` is fresh."""
        await self._heartbeat(beat=False, forget=())

    async def sweep(self) -> None:
        """Look once."""
        # A still counter proves death only of what was owned before it was read: streams are
        # looked up first, the counter after, so that a worker that wakes and claims is safe.
        owned = {
            worker: [state async for state in self._all(Query(worker=worker))]
            for worker in self._suspects
        }
        now = self._clock.monotonic()
        if self._owns_streams():
            self._owned_at = now
        active = now - self._owned_at < 2 * self._timing.lease_s
        beat = active and now - self._beat_at >= self._timing.beat_s - self._timing.sweep_s / 2
        forget: list[str] = []
        for worker, still_s in self._leases.doubted(now).items():
            if await self._store.find(Query(worker=worker, limit=1)):
                beat = True  # the proof that a living worker could have beaten, too
            elif still_s >= self._timing.lease_s:
                forget.append(worker)  # it owns nothing, and rests
        dead = await self._heartbeat(beat=beat, forget=())
        for worker in dead:
            found = owned.get(worker)
            if found is None:
                found = [state async for state in self._all(Query(worker=worker))]
                if found and not await self._is_unlocked(worker):
                    continue  # look again, in the order that proves it
            if not found and worker not in forget:
                forget.append(worker)
            for start in range(0, len(found), _BATCH):
                some = found[start : start + _BATCH]
                await asyncio.gather(*[self._bury(state, worker) for state in some])
        self._suspects = frozenset(dead).difference(forget)
        if forget:
            await self._heartbeat(beat=False, forget=tuple(forget))
        if now - self._looked_at >= _LOOK_S:
            self._looked_at = now
            await self._end_due()
            await self._report_ends()
        if now - self._strays_at >= self._timing.lease_s / 2:
            self._strays_at = now
            await self._take_care_of_strays()
        if now - self._orphans_at >= 4 * self._timing.lease_s:
            self._orphans_at = now
            await self._take_care_of_orphans()

    async def _take_care_of_strays(self) -> None:
        """End or report what the store says is this worker's, and this worker does not know of.

        It is what a commit leaves whose outcome stayed unknown here, or whose caller went away.
        Nobody else would ever act on it, for this worker lives. One look proves nothing: the
        outcome may be on its way.
        """
        strays: dict[tuple[int, int, Status], StreamState] = {}
        async for state in self._all(Query(worker=self._worker)):
            known = state.internal_id in self._reporting if state.ended else self._writes(state)
            if not known:
                strays[state.internal_id, state.epoch, state.status] = state
        for key, state in strays.items():
            if key not in self._strays:
                continue
            if state.ended and state.report and self._report is not None:
                self.report(state)
            else:
                await self._bury(state, self._worker)
        self._strays = frozenset(strays)

    async def _take_care_of_orphans(self) -> None:
        """Bury what belongs to a worker of which the store knows nothing any more.

        One that was idle is forgotten; if it claimed a stream just then and died before its next
        beat, no read ever shows it again. One that lives shows itself before the second look.
        """
        orphans: dict[tuple[int, int, Status], StreamState] = {}
        for query in (Query(statuses=(Status.STREAMING,)), Query(unreported=True)):
            async for state in self._all(query):
                if state.worker is not None and not self._leases.knows(state.worker):
                    orphans[state.internal_id, state.epoch, state.status] = state
        for key, state in orphans.items():
            if key in self._orphans and state.worker is not None:
                await self._bury(state, state.worker)
        self._orphans = frozenset(orphans)

    async def _all(self, query: Query) -> AsyncIterator[StreamState]:
        """Yield everything that matches, a page at a time."""
        while True:
            found = await self._store.find(replace(query, limit=_BATCH))
            for state in found:
                yield state
            if len(found) < _BATCH:
                return
            query = replace(query, before=found[-1].internal_id)

    async def _apply(self, state: StreamState, change: Change) -> StreamState | None:
        """Commit a change; a stream that was deleted meanwhile refuses it like any other."""
        try:
            return await self._apply_change(state, change)
        except StreamNotFound:
            return None

    async def _is_unlocked(self, worker: str) -> bool:
        workers = await self._store.heartbeat(beat=False)
        return any(w.worker == worker and w.locked is False for w in workers)

    async def _bury(self, state: StreamState, worker: str) -> None:
        """Take a stream, or an unreported end, from a dead worker."""
        if state.status is Status.STREAMING and state.takeover_within_s <= 0:
            if await self.end(state, WRITER_LOST) is not None:
                _log.warning("stream %r ended: its writer %s is dead", state.stream_id, worker)
            return
        due_at = (
            self._clock.wall() + state.takeover_within_s
            if state.status is Status.STREAMING
            else KEEP
        )
        await self._apply(
            state,
            Change(
                internal_id=state.internal_id,
                if_status=(state.status,),
                if_epoch=state.epoch,
                if_worker=worker,
                worker=None,
                due_at=due_at,
            ),
        )

    async def end(self, state: StreamState, end: End) -> StreamState | None:
        """End a stream that is still as ``state`` says; return what it is then, or ``None``."""
        now = self._clock.wall()
        return await self._apply(
            state,
            Change(
                internal_id=state.internal_id,
                if_status=(state.status,),
                if_epoch=state.epoch,
                if_worker=state.worker,
                end=end,
                at=now,
                worker=None,
                due_at=None if state.retain_s is None else now + state.retain_s,
            ),
        )

    async def _end_due(self) -> None:
        found = await self._store.find(
            Query(
                due_before=self._clock.wall(),
                statuses=(Status.PENDING, Status.STREAMING),
                worker=None,
                limit=_BATCH,
            )
        )
        for state in found:
            await self.end(state, NEVER_STARTED if state.status is Status.PENDING else ABANDONED)

    async def _report_ends(self) -> None:
        if self._report is None:
            return
        found = await self._store.find(Query(unreported=True, worker=None, limit=_BATCH))
        for state in found:
            claimed = await self._apply(
                state,
                Change(
                    internal_id=state.internal_id,
                    if_status=(state.status,),
                    if_worker=None,
                    worker=self._worker,
                ),
            )
            if claimed is not None:
                self.report(claimed)

    def report(self, state: StreamState) -> None:
        """Report an end that this worker holds, in a task of its own."""
        if self._report is None or state.internal_id in self._reporting:
            return
        self._reporting[state.internal_id] = 0
        # An empty context: who ended the stream may be a request, and on_end is none of its own.
        task = asyncio.get_running_loop().create_task(
            self._report_until_heard(state), context=contextvars.Context()
        )
        self._report_tasks[task] = None
        task.add_done_callback(lambda done: self._report_tasks.pop(done, None))

    async def _report_until_heard(self, state: StreamState) -> None:
        assert self._report is not None
        try:
            for attempt in range(REPORT_TRIES):
                try:
                    await self._report(state)
                    break
                except Exception:
                    _log.exception(
                        "on_end failed for stream %r (attempt %d of %d)",
                        state.stream_id,
                        attempt + 1,
                        REPORT_TRIES,
                    )
                    await asyncio.sleep(min(2.0**attempt, 30.0))
            while True:
                try:
                    await self._apply(
                        state,
                        Change(
                            internal_id=state.internal_id,
                            if_worker=self._worker,
                            worker=None,
                            report=False,
                        ),
                    )
                    return
                except StoreUnavailable:
                    await asyncio.sleep(1.0)
        finally:
            self._reporting.pop(state.internal_id, None)

    async def finish_reports(self, timeout_s: float) -> None:
        """Wait for reports under way; what is not heard in time is reported by another process."""
        if self._report_tasks:
            await asyncio.wait(list(self._report_tasks), timeout=timeout_s)
        for task in list(self._report_tasks):
            task.cancel()


def after(state: StreamState, change: Change, outcome: Committed, index: int = 0) -> StreamState:
    """Return the state that a committed change left behind."""
    head = outcome.heads[index]
    end = change.end
    status = state.status
    started_at, ended_at = state.started_at, state.ended_at
    if end is not None:
        status, ended_at = end.status, change.at
    elif change.status is not None:
        status = change.status
        if status is Status.STREAMING and started_at is None:
            started_at = change.at
    return replace(
        state,
        status=status,
        epoch=head.epoch,
        tail=head.tail,
        size=head.size,
        worker=state.worker if change.worker is KEEP else change.worker,
        due_at=state.due_at if change.due_at is KEEP else change.due_at,
        report=state.report if change.report is KEEP else change.report,
        started_at=started_at,
        ended_at=ended_at,
        code=state.code if end is None else end.code,
        message=state.message if end is None else end.message,
        result=state.result if end is None else end.result,
    )
