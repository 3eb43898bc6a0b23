"""Start and stop an engine: the first user starts it, the last one stops it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from inkstream._errors import NotRunning
from inkstream.engine.engine import Engine
from inkstream.engine.life import running_loop
from inkstream.facade.signals import DrainSignals


class Running:
    """Hold at most one engine, on one event loop at a time.

    Args:
        make: Returns a new engine that is not started.
    """

    def __init__(self, make: Callable[[], Engine]) -> None:
        self._make = make
        self._engine: Engine | None = None
        self._users = 0
        self._starting: tuple[asyncio.AbstractEventLoop, asyncio.Lock] | None = None
        self._signals: DrainSignals | None = None

    @property
    def engine(self) -> Engine:
        """The engine. Raises ``NotRunning`` on another event loop or in another process."""
        if self._engine is None:
            raise NotRunning(
                "streams are not running: give the app lifespan=streams.lifespan, or use "
                "'async with streams:' around the code that uses them. If it has the lifespan, "
                "its server does not run it (daphne, --lifespan off), or it is mounted in another"
            )
        self._engine.life.check()
        return self._engine

    @property
    def is_running(self) -> bool:
        """Whether an engine runs, on any event loop."""
        return self._engine is not None

    async def enter(self) -> None:
        """Start the engine, or join the running engine. Under a server, SIGTERM starts a drain."""
        loop = running_loop()
        if self._starting is None or self._starting[0] is not loop:
            self._starting = loop, asyncio.Lock()
        async with self._starting[1]:  # if two start together, the second joins the first
            await self._start_or_join(loop)

    async def leave(self, *, hurry: bool) -> None:
        """Drain and stop the engine, if this was its last user.

        Until the engine has stopped, sources and ``on_end`` that still run may use it.
        """
        self._users -= 1
        if self._users:
            return
        if self._signals is not None:
            self._signals.remove()
        engine = self._engine
        if engine is None:
            return
        try:
            await engine.stop(0 if hurry else None)
        finally:
            if self._engine is engine:
                self._engine = None

    async def _start_or_join(self, loop: asyncio.AbstractEventLoop) -> None:
        running = self._engine if self._users else None  # an engine without users is stopping
        if running is not None and running.life.loop is loop:
            self._users += 1
            return
        if running is not None and running.life.loop is not None and running.life.loop.is_running():
            raise NotRunning(
                "these streams run on another event loop already: create an instance for each loop"
            )
        # A test may have closed an event loop while an engine ran on it. Start a new engine then.
        engine = self._make()
        await engine.start()
        self._engine = engine
        self._users = 1

        def drain(hurry: bool) -> None:
            with contextlib.suppress(RuntimeError):  # its loop was closed
                loop.call_soon_threadsafe(_begin_drain, engine, hurry)

        self._signals = DrainSignals(drain)
        self._signals.install()


def _begin_drain(engine: Engine, hurry: bool) -> None:
    engine.life.spawn(engine.drain(0 if hurry else None))
