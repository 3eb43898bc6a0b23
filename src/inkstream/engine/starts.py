"""Starts: claim a stream and run its source, in a task that no request owns (G4, G6)."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine
from typing import Any

from inkstream._errors import NotClaimed, ShuttingDown, StoreUnavailable, StreamGone, StreamNotFound
from inkstream._types import End, Status, StreamId, StreamState
from inkstream.engine.audience import Audience
from inkstream.engine.changes import Changes
from inkstream.engine.claims import INTERRUPTED, Claims
from inkstream.engine.core import Core
from inkstream.engine.generation import check_source, write_to_end
from inkstream.engine.writer import Writer
from inkstream.engine.writers import STORE_AWAY, Writers

_AGAIN_S = 0.5
"""The pause before a start is tried again, after the store was away."""
_LOOK_S = 0.02
_REQUEST_WAITS_S = 1.0
"""How long a request that starts a stream waits for the stream to exist; readers wait as long."""


class Starts:
    """Start sources: claim their streams, and run them to the end.

    Attributes:
        tasks: One task for each source that runs or is about to run.
    """

    def __init__(self, core: Core, claims: Claims, writers: Writers, changes: Changes) -> None:
        self._core = core
        self._life = core.life
        self._store = core.store
        self._clock = core.clock
        self._claims = claims
        self._writers = writers
        self._changes = changes
        self.tasks: dict[asyncio.Task[None], None] = {}

    def start(
        self, stream_id: StreamId, source: Any, *, cancel_without_readers: bool = False
    ) -> asyncio.Task[None]:
        """Claim a stream and run a source that writes it.

        The task ends when the stream ends. If another writer has the stream, the task ends
        immediately. The task raises what ``Claims.claim`` raises, except ``NotClaimed``. If the
        store is away, the start is tried again until ``Timing.patience_s`` is over. Then the stream
        ends ``error`` as soon as the store can write the end. If the stream does not exist yet, the
        task waits for it for ``Timing.appears_within_s``.

        Raises:
            TypeError: ``source`` is not a source.
            TooManyStreams, ShuttingDown
        """
        check_source(source)
        release = self._claims.reserve()

        async def run(context: contextvars.Context) -> None:
            try:
                writer = await self._claim_with_patience(stream_id)
            except NotClaimed:
                return
            finally:
                release()
            await self._generate(writer, source, context, cancel_without_readers)

        return self._spawn(stream_id, run, release)

    def start_for_request(
        self,
        stream_id: StreamId,
        source: Any,
        *,
        allow: Callable[[StreamState], bool],
        cancel_without_readers: bool = False,
    ) -> asyncio.Future[bool]:
        """Do the same as ``start`` for a request that waits for the outcome of the claim.

        The returned future's result says whether this call became the writer. The future raises
        what the task of ``start`` raises. If the stream does not exist, or the caller
        may not have it, the claim is tried for up to a second.
        """
        check_source(source)
        release = self._claims.reserve()
        claimed: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

        def refuse(exc: Exception) -> None:
            if not claimed.done():
                claimed.set_exception(exc)
                claimed.exception()  # otherwise asyncio warns if no caller waits for it

        async def run(context: contextvars.Context) -> None:
            writer: Writer | None = None
            try:
                writer = await self._claim_in_time(stream_id, _REQUEST_WAITS_S, allow)
            except NotClaimed:
                pass
            except Exception as exc:
                refuse(exc)
                return
            finally:
                release()
            if not claimed.done():
                claimed.set_result(writer is not None)
            if writer is not None:
                await self._generate(writer, source, context, cancel_without_readers)

        task = self._spawn(stream_id, run, release)
        task.add_done_callback(lambda _: refuse(ShuttingDown()))
        return claimed

    def _spawn(
        self,
        stream_id: StreamId,
        run: Callable[[contextvars.Context], Coroutine[Any, Any, None]],
        release: Callable[[], None],
    ) -> asyncio.Task[None]:
        context = contextvars.copy_context()
        task = self._life.spawn(run(context), f"the start of stream {stream_id!r}")
        self.tasks[task] = None

        def forget(done: asyncio.Task[None]) -> None:
            del self.tasks[done]
            release()  # a task that was cancelled before its first step did not release its room

        task.add_done_callback(forget)
        return task

    async def _claim_in_time(
        self,
        stream_id: StreamId,
        appears_within_s: float,
        allow: Callable[[StreamState], bool] | None = None,
    ) -> Writer:
        """Claim a stream. If it does not exist yet, wait for the transaction that creates it."""
        until = self._clock.monotonic() + appears_within_s
        pause = _LOOK_S
        while True:
            try:
                return await self._claims.take(stream_id, allow=allow)
            except StreamGone:
                raise
            except StreamNotFound:
                left = until - self._clock.monotonic()
                if left <= 0 or self._life.draining:
                    raise
            await asyncio.sleep(min(pause, left))
            pause = min(2 * pause, _AGAIN_S / 2)

    async def _claim_with_patience(self, stream_id: StreamId) -> Writer:
        """Claim a stream, and try again while the store is away."""
        within_s = self._core.timing.appears_within_s
        until = self._clock.monotonic() + self._core.timing.patience_s
        while True:
            try:
                return await self._claim_in_time(stream_id, within_s)
            except StreamGone:
                raise
            except StreamNotFound:
                raise StreamNotFound(
                    stream_id,
                    f"there is still no stream {stream_id!r} to start. Was it created with "
                    "connection=, in a transaction that was rolled back, or that did not commit "
                    f"within Timing.appears_within_s ({within_s:g} s)? Start it after the commit",
                ) from None
            except StoreUnavailable:
                if self._clock.monotonic() >= until:
                    await self._end_unstarted(stream_id)
                    raise
            await asyncio.sleep(_AGAIN_S)

    async def _end_unstarted(self, stream_id: StreamId) -> None:
        """End a stream whose start was given up. Otherwise its readers would wait for long."""
        while True:
            try:
                state = (await self._store.read(stream_id, 0, 0)).state
                if state.status is Status.PENDING:
                    await self._changes.end_as_seen(state, STORE_AWAY)
                return
            except StreamNotFound:
                return
            except StoreUnavailable:
                await asyncio.sleep(_AGAIN_S)

    async def _generate(
        self,
        writer: Writer,
        source: Any,
        context: contextvars.Context,
        cancel_without_readers: bool,
    ) -> None:
        async def finish(end: End) -> None:
            await self._writers.finish(writer, end)

        self._core.observer.running(writer.state, context)
        audience = Audience(self._core, self._changes, writer)
        task: asyncio.Task[None] | None = None
        watch = self._life.spawn(audience.cancel_when_gone()) if cancel_without_readers else None
        try:
            task = await write_to_end(source, writer, context, finish)
        except asyncio.CancelledError:
            if writer.active:
                self._writers.finish_soon(writer, INTERRUPTED)
            raise
        finally:
            if watch is not None:
                watch.cancel()
            self._writers.part_from(writer, task)
