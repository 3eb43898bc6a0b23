"""The engine is one worker on one event loop. It writes, follows, cancels and sweeps streams."""

from __future__ import annotations

import asyncio
import logging
import math

from inkstream._types import End, Status
from inkstream.abc import Clock, Notifier, Store
from inkstream.engine.calendar import Calendar
from inkstream.engine.changes import Changes
from inkstream.engine.claims import Claims
from inkstream.engine.committer import Committer
from inkstream.engine.condition import Condition
from inkstream.engine.core import Core
from inkstream.engine.due import DueStreams
from inkstream.engine.eventlog import EventLog
from inkstream.engine.keeper import Keeper
from inkstream.engine.life import Life
from inkstream.engine.observer import Gauges, Observer
from inkstream.engine.observers import Observers
from inkstream.engine.presence import Presence
from inkstream.engine.readers import Readers
from inkstream.engine.reports import OnEnd, Reports
from inkstream.engine.sampling import Sampling
from inkstream.engine.settings import Limits, Timing
from inkstream.engine.starts import Starts
from inkstream.engine.sweeper import Sweeper
from inkstream.engine.tails import Tails
from inkstream.engine.writers import Writers

_log = logging.getLogger("inkstream")

_TICK_S = 0.25

SHUTDOWN = End(Status.ERROR, "shutdown", "The server is restarting.")


class Engine:
    """One worker. An engine works only on the event loop on which it was started.

    Attributes:
        sends: Chooses some of the sends of text to readers. The code that sends the text measures
            the delay of each chosen send. ``None`` if no observer asks for these delays.
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
        observer: Observer | None = None,
    ) -> None:
        self.worker = worker
        self.store = store
        # The engine takes the wall time from the calendar, because the host's clock may jump, or be
        # behind the clock of the database.
        self.clock = Calendar(clock, lambda: store.host_behind_s)
        self.limits = limits
        self.timing = timing
        self.life = Life()
        log = EventLog()
        self.observer = log if observer is None else Observers(log, observer)
        self.sends = Sampling(self.observer.sent) if self.observer.samples_sends else None
        core = Core(
            worker,
            store,
            self.clock,
            limits,
            timing,
            self.life,
            self.observer,
            reports=on_end is not None,
        )
        self._notifier = notifier
        self._committer = Committer(core, notifier)
        self._tails = Tails(core, notifier, self._committer)
        self._reports = Reports(core, self._committer, on_end)
        self.condition = Condition(core, self._tails, self._committer)
        self._presence = Presence(core, self.condition)
        self._keeper = Keeper(core, self.condition, self._presence)
        self.changes = Changes(core, self._committer, self._tails, self._reports)
        self._sweeper = Sweeper(core, self._presence, self.changes, self._tails)
        self._due = DueStreams(core, self.changes)
        self.readers = Readers(core, self._tails)
        self.writers = Writers(core, self._committer, self._tails, self._reports)
        self.claims = Claims(core, self._committer, self.writers, self._presence)
        self.starts = Starts(core, self.claims, self.writers, self.changes)
        self._drain_by = math.inf

    async def start(self) -> None:
        """Open the store and the notifier, and begin to work on the running event loop."""
        await self.store.open(self.worker)
        try:
            await self._notifier.open(self._tails.hint)
        except BaseException:
            await self.store.close()
            raise
        self.life.begin()
        self.observer.opened(self._gauges)
        self.condition.begin()
        self._keeper.begin()
        for run in (
            self._committer.run,
            self._committer.run_hints,
            self._tails.run,
            self._sweeper.run,
            self._due.run,
            self._due.run_tidy,
            self._reports.run,
            self._run_ticks,
        ):
            self.life.spawn(run(), f"inkstream-{run.__qualname__}")

    async def _run_ticks(self) -> None:
        due = self.clock.monotonic() + _TICK_S
        while True:
            await asyncio.sleep(_TICK_S)
            now = self.clock.monotonic()
            self.condition.tick(now, due)
            self.observer.lagged(now - due)
            if self.sends is not None:
                self.sends.tick()
            due = now + _TICK_S
            if self._tails:
                self._presence.has_streams(now)
            self._tails.tick(now)
            self.writers.tick(now)
            self.readers.tick(now)

    def _gauges(self) -> Gauges:
        return Gauges(len(self.writers), len(self.readers), self._committer.room.used)

    async def drain(self, grace_s: float | None = None) -> None:
        """Start no new answers, and end the answers that still run after ``grace_s`` (G8).

        The answers that this method ends get the status ``error``. ``grace_s=None`` means
        ``Timing.shutdown_grace_s``. A second call does not extend the grace time.

        Readers of the streams that this process wrote get the terminal event. All other readers are
        disconnected without a terminal event, so that their clients reconnect to another process.

        Raises:
            TimeoutError: The store was too slow to write all ends. A reader of a stream without an
                end is then disconnected without a terminal event.
        """
        now = self.clock.monotonic()
        grace = self.timing.shutdown_grace_s if grace_s is None else grace_s
        self._drain_by = min(self._drain_by, now + grace)
        self.life.draining = True
        settled = False
        try:
            await self.writers.end_all(self._drain_by - now, SHUTDOWN, self.starts.tasks)
            settled = True
        finally:
            # Disconnect readers even if the ends could not be written, because the server exits
            # only after all its connections are closed.
            self.life.drained = True
            self._tails.send_away(but_local=settled)

    async def stop(self, grace_s: float | None = None) -> None:
        """Drain, wait up to 2 s for running reports, and close the store and the notifier."""
        if self.life.loop is None:
            return
        try:
            await self.drain(grace_s)
        except TimeoutError:
            _log.warning(
                "the store was away at shutdown: another worker will end the running streams"
            )
        finally:
            await self._reports.finish(2.0)
            self._tails.send_away()
            self.observer.closed(self._gauges)
            await self.life.end()
            await self._keeper.end()
            self.writers.leave()
            await self._notifier.close()
            await self.store.close()
