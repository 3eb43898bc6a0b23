"""The event loop, the process and the tasks of an engine, from start to stop."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
from collections.abc import Coroutine
from contextvars import ContextVar
from typing import Any

from inkstream._errors import NotRunning

_log = logging.getLogger("inkstream")

inline: ContextVar[bool] = ContextVar("inkstream-inline", default=False)
"""True while a call runs in a synchronous caller's thread, on the caller's database connection.

Such a call must not wait, and must use no object that belongs to the event loop.
"""


def running_loop() -> asyncio.AbstractEventLoop:
    """Return the running asyncio event loop.

    Raises:
        NotRunning: No asyncio event loop runs in this thread. Trio's event loop does not count.
    """
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise NotRunning(
            "no asyncio event loop runs in this thread: make the endpoint or background task "
            "'async def' (a framework runs one declared with 'def' in a thread), or use "
            "inkstream.sync in a thread. Under trio or anyio, choose the backend 'asyncio'"
        ) from None


class Life:
    """Hold the event loop and the tasks of one engine.

    Attributes:
        loop: The event loop of the engine, or ``None`` if the engine is not running.
        draining: True after the drain began. The engine then accepts no new starts.
        drained: True at the end of the drain. The engine then accepts no new readers either.
    """

    def __init__(self) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None
        self.draining = False
        self.drained = False
        self._pid = 0
        self._tasks: dict[asyncio.Task[Any], None] = {}

    def begin(self) -> None:
        """Use the running event loop from now on."""
        self.loop = running_loop()
        self._pid = os.getpid()

    async def end(self) -> None:
        """Cancel every task of the engine, and wait until all are done."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.loop = None

    def check(self) -> None:
        """Raise ``NotRunning`` unless the engine runs in this process and on this event loop.

        While ``inline`` is true, the event loop is not checked.
        """
        if self.loop is None:
            raise NotRunning(
                "streams are not running: give the app lifespan=streams.lifespan, or use "
                "'async with streams:' around what uses them"
            )
        if self._pid != os.getpid():
            raise NotRunning(
                "streams were started before this process was forked: start them in each process "
                "(for example in the lifespan of each worker)"
            )
        if inline.get():
            return
        if self.loop is not running_loop():
            raise NotRunning(
                "streams run on another event loop: use one instance for each loop, or start them "
                "in the lifespan of the app that uses them"
            )

    def spawn(self, coro: Coroutine[Any, Any, Any], name: str | None = None) -> asyncio.Task[Any]:
        """Run a coroutine in a task of the engine.

        The task gets an empty context, because it may run longer than the request that started it.
        """
        assert self.loop is not None
        task = self.loop.create_task(coro, name=name, context=contextvars.Context())
        self._tasks[task] = None
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.pop(task, None)
        if not task.cancelled() and task.exception() is not None:
            _log.critical("%s failed", task.get_name(), exc_info=task.exception())
