"""Begin to drain when the server gets the signal to stop.

An ASGI lifespan ends only after all connections have closed, and connections that follow live
streams close only when those end: the lifespan comes too late. So the signal itself is watched,
and passed on to the handler that was there before.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any


class DrainSignals:
    """Call ``drain(hurry)`` on SIGTERM, and on SIGINT with ``hurry``, besides what happens anyway.

    Signals that nobody handled are left alone: then no server is there to wait for. Off the main
    thread, where Python allows no handlers, nothing is installed.
    """

    def __init__(self, drain: Callable[[bool], None]) -> None:
        self._drain = drain
        self._before: dict[signal.Signals, Any] = {}

    def install(self) -> None:
        """Take the place of the present handlers, which are still called."""
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
        """Give back the handlers that are still ours."""
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
