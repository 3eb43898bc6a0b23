"""The event loop's thread, where gevent has made a greenlet of it."""

from __future__ import annotations

import asyncio
import os
import selectors
import sys
import threading


class _Selector(selectors.DefaultSelector):
    """Step aside while the loop waits, for then other greenlets of the same thread run.

    They would be told that an event loop runs where they are: ``asyncio.run`` and Django's database
    refuse to work then.
    """

    def __init__(self) -> None:
        super().__init__()
        self._pid = os.getpid()
        self._other: asyncio.AbstractEventLoop | None = None

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        own = asyncio._get_running_loop()
        asyncio._set_running_loop(self._other)
        ready = super().select(timeout)
        if os.getpid() != self._pid:
            # A fork takes greenlets along. Two processes must not run one loop, under one worker's
            # name and on the same connections: the child's sleeps for ever.
            threading.Event().wait()
        self._other = asyncio._get_running_loop()
        asyncio._set_running_loop(own)
        return ready


def new_event_loop() -> asyncio.AbstractEventLoop:
    """Return an event loop for a thread, or for the greenlet that stands for one."""
    monkey = sys.modules.get("gevent.monkey")
    if monkey is None or not monkey.is_module_patched("threading"):
        return asyncio.new_event_loop()
    return asyncio.SelectorEventLoop(_Selector())
