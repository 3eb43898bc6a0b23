"""Start an engine for its first user, and stop the engine after its last user."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from inkstream._errors import NotRunning
from inkstream.engine.engine import Engine
from inkstream.engine.life import running_loop
from inkstream.facade.signals import DrainSignals


class Running:
    """Hold at most one engine, on one event loop at a time."""

    def __init__(self, make: Callable[[], Engine]) -> None:
        self._make = make
        self._engine: Engine | None = None
        self._users = 0
        self._starting: tuple[asyncio.AbstractEventLoop, asyncio.Lock] | None = None
        self._signals: DrainSignals | None = None

    @property
    def engine(self) -> Engine:
        """The engine. Raises ``NotRunning`` if this process runs no engine on this event loop."""
        if self._engine is None:
            raise NotRunning(
                "streams are not running: give the app lifespan=streams.lifespan, or use "
                "'async with streams:' around the code that uses them. If the app has the "
                "lifespan, the server does not run the lifespan (daphne, --lifespan off), or the "
                "app is mounted in another app"
            )
        self._engine.life.check()
        return self._engine

    @property
    def is_running(self) -> bool:
        """Whether an engine runs, on any event loop."""
        return self._engine is not None

    async def enter(self) -> None:
        """Start the engine, or join the running engine."""
        loop = running_loop()
        if self._starting is None or self._starting[0] is not loop:
            self._starting = loop, asyncio.Lock()
        async with self._starting[1]:  # two callers at the same time must share one engine
            await self._start_or_join(loop)

    async def leave(self, *, hurry: bool) -> None:
        """Drain and stop the engine, if no other user of the engine remains.

        While the engine stops, running sources and calls of ``on_end`` may still use the engine.
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
        # If the old engine's event loop has stopped, start a new engine. Tests may close an event
        # loop without stopping its engine.
        engine = self._make()
        await engine.start()
        self._engine = engine
        self._users = 1

        def drain(hurry: bool) -> None:
            with contextlib.suppress(RuntimeError):  # the engine's event loop was closed
                loop.call_soon_threadsafe(_begin_drain, engine, hurry)

        self._signals = DrainSignals(drain)
        self._signals.install()


def _begin_drain(engine: Engine, hurry: bool) -> None:
    engine.life.spawn(engine.drain(0 if hurry else None))
