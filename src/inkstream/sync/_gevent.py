"""The event loop's thread, where gevent has made a greenlet of it."""

from __future__ import annotations

import asyncio
import os
import selectors
import sys
import threading


def new_event_loop() -> asyncio.AbstractEventLoop:
    """Return an event loop for a thread, or for the greenlet that stands for one."""
    monkey = sys.modules.get("gevent.monkey")
    if monkey is None or not monkey.is_module_patched("threading"):
        return asyncio.new_event_loop()
    selector = selectors.DefaultSelector()  # gevent's: while it waits, other greenlets run
    wait = selector.select
    pid = os.getpid()
    others: asyncio.AbstractEventLoop | None = None

    def select(timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        nonlocal others
        # The others share what asyncio takes for a thread, and asyncio would say that an event loop
        # runs where they are: asyncio.run and Django's database refuse to work then.
        own = asyncio._get_running_loop()
        asyncio._set_running_loop(others)
        ready = wait(timeout)
        if os.getpid() != pid:
            # A fork takes greenlets along. Two processes must not run one loop, under one worker's
            # name and on the same connections: the child's sleeps for ever.
            threading.Event().wait()
        others = asyncio._get_running_loop()
        asyncio._set_running_loop(own)
        return ready

    selector.select = select  # type: ignore[method-assign]
    return asyncio.SelectorEventLoop(selector)
