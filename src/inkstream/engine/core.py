"""The objects that many parts of an engine share."""

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
    """The shared objects of one worker's engine.

    Attributes:
        worker: The worker's identity. Each engine gets a new identity.
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
        """Return this worker if it must report the end of the stream ``state``; else ``None``.

        If the stream needs a report but this worker has no ``on_end``, another worker reports
        the end.
        """
        return self.worker if self.reports and state.report else None
