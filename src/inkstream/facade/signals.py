"""Begin to drain when the server receives the signal to stop.

A server usually ends the ASGI lifespan after all connections have closed. A connection that follows
a live stream may stay open until the stream ends. So the end of the lifespan is too late to begin
to drain.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any


class DrainSignals:
    """Call ``drain(False)`` on SIGTERM and ``drain(True)`` on SIGINT, before the previous handler.

    If SIGTERM has no handler, ``install`` does nothing, because no server waits for SIGTERM then.
    Outside the main thread, ``install`` does nothing either, because Python forbids it.
    """

    def __init__(self, drain: Callable[[bool], None]) -> None:
        self._drain = drain
        self._before: dict[signal.Signals, Any] = {}

    def install(self) -> None:
        """Install the handlers."""
        if threading.current_thread() is not threading.main_thread():
            return
        if not callable(signal.getsignal(signal.SIGTERM)):
            return
        for number in (signal.SIGTERM, signal.SIGINT):
            before = signal.getsignal(number)
            if callable(before):
                self._before[number] = before
                signal.signal(number, self._handle)

    def remove(self) -> None:
        """Restore each previous handler, unless other code has replaced this object's handler."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number, before in self._before.items():
            if signal.getsignal(number) == self._handle:
                signal.signal(number, before)
        self._before.clear()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._drain(number == signal.SIGINT)
        before = self._before.get(signal.Signals(number))
        if before is not None:
            before(number, frame)
