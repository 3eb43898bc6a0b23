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
        limits: What streams may cost; see ``Limits``.
        timing: How long each step may take; see ``Timing``.
        life: The engine's event loop and tasks.
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
        """Return this worker if it reports the stream's end; otherwise ``None``.

        With ``None``, a worker that has an ``on_end`` later claims the report, if one is owed.
        """
        return self.worker if self.reports and state.report else None
