"""The part of ``PersistentTextStreaming`` that starts, holds and stops the engine."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from types import TracebackType
from typing import Any, Final, Self, TypeAlias

from inkstream._arguments import check_async, check_type
from inkstream._errors import StoreUnavailable, StreamNotFound
from inkstream._types import StreamBody, StreamState
from inkstream.abc import Clock
from inkstream.engine.engine import Engine
from inkstream.engine.identity import new_worker
from inkstream.engine.observer import Observer
from inkstream.engine.settings import Limits, Timing
from inkstream.facade.databases import DEFAULT_DATABASE, name_of, open_database
from inkstream.facade.handles import body_of
from inkstream.facade.running import Running
from inkstream.http.connection import HTTPSettings
from inkstream.http.crosssite import origins

OnEnd: TypeAlias = Callable[[StreamBody], Awaitable[None]]

_RETRY_S: Final = 1.0


class SystemClock:
    """The clocks of the operating system."""

    # Methods would be slower, and monotonic() is called for every send to a reader.
    monotonic = staticmethod(time.monotonic)
    wall = staticmethod(time.time)


class Lifespan:
    """The part of ``PersistentTextStreaming`` that starts and stops the engine."""

    def __init__(
        self,
        database: Any = None,
        *,
        on_end: OnEnd | None = None,
        allowed_origins: Collection[str] = (),
        limits: Limits | None = None,
        timing: Timing | None = None,
        http: HTTPSettings | None = None,
        clock: Clock | None = None,
        observer: Observer | None = None,
    ) -> None:
        if on_end is not None:
            check_async("on_end", on_end, "body")
        if limits is not None:
            check_type("limits", limits, Limits, "a Limits(…)")
        if timing is not None:
            check_type("timing", timing, Timing, "a Timing(…)")
        if http is not None:
            check_type("http", http, HTTPSettings, "an HTTPSettings(…)")
        if database is None:
            database = os.environ.get("INKSTREAM_DATABASE") or DEFAULT_DATABASE
        self._database = database
        self._on_end = on_end
        self._allowed_origins = origins(allowed_origins)
        self._limits = limits or Limits()
        self._timing = timing or Timing()
        self._http = http or HTTPSettings()
        self._clock = clock or SystemClock()
        self._observer = observer
        self._running = Running(self._make_engine)
        try:
            open_database(database)  # a wrong URL must raise an error now, not at the start
        except BaseException:
            self._database = None
            del database  # a traceback may show this variable, which contains the password
            raise

    def __repr__(self) -> str:
        state = "running" if self._running.is_running else "not running"
        return f"<PersistentTextStreaming on {name_of(self._database)}, {state}>"

    @contextlib.asynccontextmanager
    async def lifespan(self, app: object = None) -> AsyncIterator[None]:
        """Run the engine while the application runs: ``FastAPI(lifespan=streams.lifespan)``."""
        async with self:
            yield

    async def __aenter__(self) -> Self:
        """Start the engine, or use the engine that already runs on this event loop.

        If the server handles SIGTERM, then SIGTERM also drains the engine.

        Raises:
            NotRunning: The instance runs on another event loop of this process.
            StoreUnavailable, SchemaOutdated: The database is unavailable, or its tables are of
                another version.
        """
        await self._running.enter()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Drain and stop the engine, if nothing else uses the engine.

        If the block raised an error, the drain has no grace time.
        """
        await self._running.leave(hurry=error is not None)

    @property
    def engine(self) -> Engine:
        """The running engine.

        Raises:
            NotRunning: The instance is not started, or runs on another event loop or in another
                process.
        """
        return self._running.engine

    def _make_engine(self) -> Engine:
        store, notifier = open_database(self._database)
        return Engine(
            store,
            notifier,
            worker=new_worker(),
            clock=self._clock,
            limits=self._limits,
            timing=self._timing,
            on_end=None if self._on_end is None else self._report,
            observer=self._observer,
        )

    async def _report(self, state: StreamState) -> None:
        assert self._on_end is not None
        while True:
            try:
                pages = await self.engine.readers.pages(state.stream_id)
            except StreamNotFound:
                return
            except StoreUnavailable:  # a failed read must not count as a failed call of on_end
                await asyncio.sleep(_RETRY_S)
            else:
                if pages[-1].state.internal_id == state.internal_id:
                    await self._on_end(body_of(pages))
                return
