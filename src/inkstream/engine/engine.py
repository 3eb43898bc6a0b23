"""The engine: one worker on one event loop, which writes, follows, cancels and sweeps streams."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable

from inkstream._types import End, Status, StreamState
from inkstream.abc import Clock, Notifier, Store
from inkstream.engine.changes import Changes
from inkstream.engine.committer import Committer
from inkstream.engine.life import Life
from inkstream.engine.readers import Readers
from inkstream.engine.settings import Limits, Timing
from inkstream.engine.starts import Starts
from inkstream.engine.sweeper import Sweeper
from inkstream.engine.tails import Tails
from inkstream.engine.writers import Writers

_log = logging.getLogger("inkstream")

_TICK_S = 0.25

SHUTDOWN = End(Status.ERROR, "shutdown", "The server is restarting.")

OnEnd = Callable[[StreamState], Awaitable[None]]


class Engine:
    """One worker. Start it on the event loop that is to use it; it serves that loop only.

    Attributes:
        readers: Follow streams and read them.
        writers: Claim streams and write them.
        starts: Run sources that write them.
        changes: Create, cancel and delete streams, and append to logs.
        life: The event loop and the tasks.
    """

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
        self.life = Life()
        reporter = None if on_end is None else worker
        self._notifier = notifier
        self._tails = Tails(
            store, notifier, clock, limits, timing, lambda state: self.changes.keep(state)
        )
        self._committer = Committer(store, notifier, self._tails, clock, limits, timing)
        self.readers = Readers(self.life, store, self._tails, clock, limits)
        self.changes = Changes(
            self.life,
            store,
            self._committer,
            self._tails,
            clock,
            limits,
            worker,
            reporter,
            lambda state: self._sweeper.report(state),
        )
        self._sweeper = Sweeper(
            worker,
            store,
            clock,
            timing,
            self.changes.apply,
            lambda: len(self.writers) > 0,
            self._tails.writes,
            on_end,
        )
        self.writers = Writers(
            worker,
            self.life,
            store,
            self._committer,
            self._tails,
            self._sweeper,
            clock,
            limits,
            timing,
            reporter,
        )
        self.starts = Starts(
            self.life, store, self.writers, self.changes, self._sweeper, clock, timing
        )
        self._drain_by = math.inf

    async def start(self) -> None:
        """Open the store and begin to work on this event loop."""
        await self.store.open(self.worker)
        try:
            await self._notifier.open(self._tails.hint)
        except BaseException:
            await self.store.close()
            raise
        self.life.begin()
        for run in (
            self._committer.run,
            self._committer.run_hints,
            self._tails.run,
            self._sweeper.run,
            self._sweeper.run_tidy,
            self._run_ticks,
        ):
            self.life.spawn(run(), f"inkstream-{run.__qualname__}")

    async def _run_ticks(self) -> None:
        while True:
            await asyncio.sleep(_TICK_S)
            now = self.clock.monotonic()
            self._tails.tick(now)
            self.writers.tick(now)
            self.readers.tick(now)

    async def drain(self, grace_s: float | None = None) -> None:
        """Start nothing new, let running answers finish for a while, then end them ``error`` (G8).

        Readers of streams that end are told; readers of others are cut and will reconnect
        elsewhere. Safe to call twice: the second call does not extend the grace.
        """
        now = self.clock.monotonic()
        grace = self.timing.shutdown_grace_s if grace_s is None else grace_s
        self._drain_by = min(self._drain_by, now + grace)
        self.life.draining = True
        settled = False
        try:
            await self.writers.settle(self._drain_by - now, SHUTDOWN, self.starts.tasks)
            settled = True
        finally:
            # Also when the ends could not be written: a server waits for its connections.
            self.life.drained = True
            self._tails.cut(lambda tail: not (settled and tail.local))

    async def stop(self, grace_s: float | None = None) -> None:
        """Drain, and release everything."""
        if self.life.loop is None:
            return
        try:
            await self.drain(grace_s)
        except TimeoutError:
            _log.warning("the store was away at shutdown: a sweeper will end what was running")
        finally:
            await self._sweeper.finish_reports(2.0)
            self._tails.cut(lambda tail: True)
            await self.life.end()
            self.writers.leave()
            await self._notifier.close()
            await self.store.close()
