"""Reports: every end reaches the application's ``on_end``, at least once.

An ended stream whose report is still owed has ``report`` set, and ``worker`` names the worker that
makes the report. If that worker died, or if the end was part of an application's own transaction,
``worker`` is empty. Then the next worker that looks for unreported ends claims the report.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from inkstream._errors import StoreUnavailable, StreamNotFound
from inkstream._types import (
    Change,
    Committed,
    Group,
    Outcome,
    Query,
    Status,
    StreamState,
    applied,
)
from inkstream.engine.committer import Committer
from inkstream.engine.core import Core

_log = logging.getLogger("inkstream")

REPORT_TRIES: Final = 5
"""How often ``on_end`` is called for one end, at most, if ``on_end`` raises."""

_RESULT_WITHIN_S: Final = 2.0
"""How long the report of a stopped stream waits for the writer's result."""

_LOOK_S: Final = 1.0
_AT_ONCE: Final = 200
"""The number of running reports at which this worker claims no more reports."""

OnEnd = Callable[[StreamState], Awaitable[None]]


class Reports:
    """Report the ends that this worker owns, and claim the reports that no worker owns."""

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
        """Report an end that this worker owns, in a task of its own.

        Args:
            state: The stream after its end.
            stopped: Whether the end did not come from the stream's writer. Then the writer may
                still add its result.
        """
        if self._on_end is None or state.internal_id in self._reporting:
            return
        self._reporting.add(state.internal_id)
        # The task has an empty context, because ``on_end`` is not part of the request that ended
        # the stream.
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
                except Exception:
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
        """Wait a short time until the writer of a stopped stream has added its result.

        The writer raises the stream's epoch when it does so.
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
        """Look for unreported ends until cancelled."""
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
                _log.exception("the search for ends to report failed; trying again")
            await asyncio.sleep(_LOOK_S)

    async def _look(self) -> None:
        """Claim the reports that no worker owns."""
        free = _AT_ONCE - len(self._reporting)
        if free <= 0:
            return  # a claimed report would only wait here, although another worker could make it
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
        """Report the ends that the store assigns to this worker but this worker does not know.

        Such an end was committed here, but the outcome was lost or the caller left. No other worker
        reports the end, because this worker is alive. The first look at such an end proves nothing,
        because the outcome may still arrive.
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
        """Commit a change of an ended stream; return its new state, or ``None`` if refused."""
        outcome = await self._committer.submit(state.stream_id, Group((change,)), _wakes_none)
        if isinstance(outcome, Committed):
            return applied(state, change, outcome.heads[0])
        return None

    async def finish(self, timeout_s: float) -> None:
        """Wait for running reports. After the timeout, another process makes the other reports."""
        self._leaving.set()
        if self.tasks:
            await asyncio.wait(list(self.tasks), timeout=timeout_s)
        for task in list(self.tasks):
            task.cancel()


def _wakes_none(outcome: Outcome) -> int:
    return 0
