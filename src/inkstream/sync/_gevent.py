"""The event loop for programs in which gevent replaces threads by greenlets."""

from __future__ import annotations

import asyncio
import os
import selectors
import sys
import threading


def new_event_loop() -> asyncio.AbstractEventLoop:
    """Return an event loop for a thread, or for the greenlet that replaces the thread."""
    monkey = sys.modules.get("gevent.monkey")
    if monkey is None or not monkey.is_module_patched("threading"):
        return asyncio.new_event_loop()
    selector = selectors.DefaultSelector()  # while gevent's selector waits, other greenlets run
    wait = selector.select
    pid = os.getpid()
    others: asyncio.AbstractEventLoop | None = None

    def select(timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        nonlocal others
        # All greenlets share one thread. If this loop were the running loop while it waits, then
        # asyncio.run and Django's database would refuse to work in the other greenlets.
        own = asyncio._get_running_loop()
        asyncio._set_running_loop(others)
        ready = wait(timeout)
        if os.getpid() != pid:
            # A fork copies greenlets. The child must not use the parent's worker name and
            # connections, so the greenlet of the parent's loop sleeps for ever in the child.
            threading.Event().wait()
        others = asyncio._get_running_loop()
        asyncio._set_running_loop(own)
        return ready

    selector.select = select  # type: ignore[method-assign]
    return asyncio.SelectorEventLoop(selector)
