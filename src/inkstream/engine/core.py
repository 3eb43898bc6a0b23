"""The few objects that most parts of an engine need."""

from __future__ import annotations

from dataclasses import dataclass

from inkstream._types import StreamState
from inkstream.abc import Store
from inkstream.engine.calendar import Calendar
from inkstream.engine.life import Life
from inkstream.engine.observer import Observer
from inkstream.engine.settings import Limits, Timing


@dataclass(frozen=True, slots=True)
class Core:
    """One worker's identity, its store and clock, its settings, and its life.

    Attributes:
        worker: The worker's identity, new with every start.
        store: The store of the streams.
        clock: Time for waits, and for expiry while the wall clock is trusted.
        limits: How much streams may cost.
        timing: How long things may take.
        life: The event loop and the tasks.
        observer: Records events in logs, metrics and traces.
        reports: Whether this worker has an ``on_end`` and so reports ends.
    """

    worker: str
    store: Store
    clock: Calendar
    limits: Limits
    timing: Timing
    life: Life
    observer: Observer
    reports: bool

    def reporter(self, state: StreamState) -> str | None:
        """Return the worker that reports an end of this process; ``None``: a sweep assigns one."""
        return self.worker if self.reports and state.report else None
