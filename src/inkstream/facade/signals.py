"""Begin to drain when the server receives the signal to stop.

An ASGI lifespan ends only after all connections have closed, and connections that follow live
streams close only when the streams end. So the lifespan is too late to drain, and this module
handles the signal itself. It then calls the handler that was installed before.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any


class DrainSignals:
    """Call ``drain(hurry)`` on SIGTERM, and on SIGINT with ``hurry``, before the usual handler.

    A signal that has no handler is left alone, because no server waits for such a signal. Outside
    the main thread nothing is installed, because Python allows no signal handlers there.
    """

    def __init__(self, drain: Callable[[bool], None]) -> None:
        self._drain = drain
        self._before: dict[signal.Signals, Any] = {}

    def install(self) -> None:
        """Install handlers that drain and then call the handlers installed before."""
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
        """Restore the previous handlers, except where somebody has installed another one since."""
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
