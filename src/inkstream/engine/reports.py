"""Reports: ``on_end`` is called at least once for every end that must be reported.

Until the end of a stream is reported, the stream's ``report`` is set. Usually the stream's
``worker`` is the worker that calls ``on_end``. But ``worker`` is empty if this worker died, or if a
sweep, a worker without an ``on_end`` or a transaction of the application ended the stream. Workers
with an ``on_end`` search for such streams, and one of them claims the report.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from inkstream._errors import StoreUnavailable, StreamNotFound
from inkstream._types import Change, Committed, Group, Outcome, Query, Status, StreamState, applied
from inkstream.engine.committer import Committer
from inkstream.engine.core import Core

_log = logging.getLogger("inkstream")

REPORT_TRIES: Final = 5
"""The maximum number of calls of ``on_end`` that one worker makes for one end."""

_RESULT_WITHIN_S: Final = 2.0
"""The report of a stopped stream waits at most this long for the writer's result."""

_LOOK_S: Final = 1.0
_AT_ONCE: Final = 200
"""While this many reports are running, this worker claims no more reports."""

OnEnd = Callable[[StreamState], Awaitable[None]]


class Reports:
    """Report the ends that are assigned to this worker, and claim reports that have no worker."""

    def __init__(self, core: Core, committer: Committer, on_end: OnEnd | None) -> None:
        self._core = core
        self._committer = committer
        self._on_end = on_end
        self._reporting: set[int] = set()
        self._leaving = asyncio.Event()
        self._strays: frozenset[int] = frozenset()
        self._strays_at = core.clock.monotonic()
        self.tasks: dict[asyncio.Task[None], None] = {}

    def report(self, state: StreamState, *, stopped: bool = False) -> None:
        """Start a task that reports an end. The store must have assigned the end to this worker.

        ``stopped`` means that another operation ended the stream before its writer did. The report
        of such a stream waits up to 2 s for the writer's result.
        """
        if self._on_end is None or state.internal_id in self._reporting:
            return
        self._reporting.add(state.internal_id)
        # The task gets an empty context, because the request that ended the stream may be over.
        task = asyncio.get_running_loop().create_task(
            self._deliver(state, self._on_end, stopped=stopped), context=contextvars.Context()
        )
        self.tasks[task] = None
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self.tasks.pop(task, None)

    async def _deliver(self, state: StreamState, on_end: OnEnd, *, stopped: bool) -> None:
        try:
            if stopped:
                await self._wait_for_writer(state)
            for attempt in range(REPORT_TRIES):
                try:
                    await on_end(state)
                    break
                except (Exception, SystemExit, asyncio.CancelledError) as exc:
                    # A SystemExit would end the event loop. If ``on_end`` itself raises a
                    # CancelledError, this task would end, and the search for strays would start
                    # another one again and again, without a log.
                    if isinstance(exc, asyncio.CancelledError) and _is_cancelled():
                        raise
                    _log.exception(
                        "on_end failed for stream %r (attempt %d of %d)",
                        state.stream_id,
                        attempt + 1,
                        REPORT_TRIES,
                    )
                    await asyncio.sleep(min(2.0**attempt, 30.0))
            change = Change(
                internal_id=state.internal_id,
                if_worker=self._core.worker,
                worker=None,
                report=False,
            )
            while True:
                try:
                    await self._commit(state, change)
                    return
                except StoreUnavailable:
                    await asyncio.sleep(1.0)
        finally:
            self._reporting.discard(state.internal_id)

    async def _wait_for_writer(self, state: StreamState) -> None:
        """Wait up to ``_RESULT_WITHIN_S`` for the writer of a stopped stream to add its result.

        The commit that adds the result also increases the stream's epoch.
        """
        clock, store = self._core.clock, self._core.store
        until = clock.monotonic() + _RESULT_WITHIN_S
        pause = 0.05
        while clock.monotonic() < until and not self._leaving.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._leaving.wait(), pause)
            pause = min(2 * pause, 0.4)
            try:
                if (await store.read(state.stream_id, 0, 0)).state.epoch != state.epoch:
                    return
            except StreamNotFound:
                return
            except StoreUnavailable:
                pass

    async def run(self) -> None:
        """Search for ends that this worker can report, until cancelled."""
        if self._on_end is None:
            return
        while True:
            try:
                await self._look()
                now = self._core.clock.monotonic()
                if now - self._strays_at >= self._core.timing.lease_s / 2:
                    self._strays_at = now
                    await self._look_for_strays()
            except StoreUnavailable:
                pass
            except Exception:
                _log.exception("the search for unreported ends failed; trying again")
            await asyncio.sleep(_LOOK_S)

    async def _look(self) -> None:
        """Claim the unreported ends that have no worker, and report them."""
        free = _AT_ONCE - len(self._reporting)
        if free <= 0:
            return  # another worker may have time for more reports
        found = await self._core.store.find(Query(unreported=True, worker=None, limit=free))
        worker = self._core.worker
        claims = [self._commit(state, state.still(worker=worker)) for state in found]
        for claimed in await asyncio.gather(*claims):
            if claimed is not None:
                self.report(claimed, stopped=self._was_just_stopped(claimed))

    def _was_just_stopped(self, state: StreamState) -> bool:
        ago = self._core.clock.wall() - (state.ended_at or 0.0)
        return state.status is Status.CANCELLED and state.epoch > 0 and 0 <= ago < _RESULT_WITHIN_S

    async def _look_for_strays(self) -> None:
        """Report the ends that the store assigns to this worker, but that no task here reports.

        Such an end remains, for example, when the outcome of its commit is lost. No other worker
        reports the end, because this worker is alive. This worker reports the end only if two
        searches in sequence find it, because after the first search the outcome may still arrive.
        """
        strays: dict[int, StreamState] = {}
        query = Query(unreported=True, worker=self._core.worker, limit=_AT_ONCE)
        for state in await self._core.store.find(query):
            if state.internal_id not in self._reporting:
                strays[state.internal_id] = state
        for internal_id, state in strays.items():
            if internal_id in self._strays:
                self.report(state)
        self._strays = frozenset(strays)

    async def _commit(self, state: StreamState, change: Change) -> StreamState | None:
        """Commit a change; return the stream's new state, or ``None`` after a refusal."""
        outcome = await self._committer.submit(state.stream_id, Group((change,)), _wakes_none)
        if isinstance(outcome, Committed):
            return applied(state, change, outcome.heads[0])
        return None

    async def finish(self, timeout_s: float) -> None:
        """Wait up to ``timeout_s`` for running reports, then cancel them.

        Other workers later report the ends whose reports were cancelled.
        """
        self._leaving.set()
        if self.tasks:
            await asyncio.wait(list(self.tasks), timeout=timeout_s)
        for task in list(self.tasks):
            task.cancel()


def _is_cancelled() -> bool:
    """Return whether the current task was cancelled."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _wakes_none(outcome: Outcome) -> int:
    return 0
