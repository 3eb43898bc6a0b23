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

        If the stream needs a report all the same, another worker claims the report later.
        """
        return self.worker if self.reports and state.report else None
