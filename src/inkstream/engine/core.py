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
    """The objects of one worker that many parts of its engine share.

    Attributes:
        worker: The worker's identity. Each engine gets a new identity.
        store: The store of the streams.
        clock: The clock for waits, and for expiry while the wall clock is trusted.
        limits: See ``Limits``.
        timing: See ``Timing``.
        life: The engine's event loop and tasks.
        observer: Records events in logs, metrics and traces.
        reports: True if this worker has an ``on_end``. Only such a worker reports ends.
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
        """Return this worker's identity if this worker must report the end of the stream ``state``.

        Otherwise return ``None``. If the stream needs a report, a worker that has an ``on_end``
        then claims the report later.
        """
        return self.worker if self.reports and state.report else None
