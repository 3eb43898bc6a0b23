"""Claims a stream and runs its source, in a task that continues after the request (G4, G6)."""

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
"""The pause between two attempts to start a stream while the store is away."""
_LOOK_S = 0.02
_REQUEST_WAITS_S = 1.0
"""How long a request to start a stream waits for a stream that does not exist yet."""


class Starts:
    """Claim streams, and run the source of each claimed stream.

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
        """Claim a stream and run ``source``, which writes the stream, in the returned task.

        The task ends when the stream ends. If the stream has another writer or has ended, the task
        ends immediately. The task raises what ``Claims.claim`` raises, except ``NotClaimed``. The
        task waits up to ``Timing.appears_within_s`` for a stream that does not exist yet. While the
        store is away, the task tries the claim again for ``Timing.patience_s``. After this time,
        the task ends the stream ``error`` as soon as the store is back, and raises
        ``StoreUnavailable``.

        With ``cancel_without_readers``, the stream is cancelled when it has no reader in any
        process (see ``Audience``).

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
        """Claim a stream and run ``source``, for a request that waits for the outcome of the claim.

        The returned future's result is true if this call claimed the stream, and false if the
        stream has another writer or has ended. The future raises the other errors of
        ``Claims.claim``. If the stream does not exist, or ``allow`` returns false for its state,
        the claim is tried again for up to a second. If the store is away, the claim is not tried
        again. For everything else, see ``start``.
        """
        check_source(source)
        release = self._claims.reserve()
        claimed: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

        def refuse(exc: Exception) -> None:
            if not claimed.done():
                claimed.set_exception(exc)
                claimed.exception()  # otherwise asyncio warns if no caller awaits the future

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
            release()  # a task that is cancelled before its first step does not call release

        task.add_done_callback(forget)
        return task

    async def _claim_in_time(
        self,
        stream_id: StreamId,
        appears_within_s: float,
        allow: Callable[[StreamState], bool] | None = None,
    ) -> Writer:
        """Claim a stream. If the stream does not exist, try again for ``appears_within_s``."""
        until = self._clock.monotonic() + appears_within_s
        pause = _LOOK_S
        while True:
            try:
                return await self._claims.claim_reserved(stream_id, allow=allow)
            except StreamGone:
                raise
            except StreamNotFound:
                left = until - self._clock.monotonic()
                if left <= 0 or self._life.draining:
                    raise
            await asyncio.sleep(min(pause, left))
            pause = min(2 * pause, _AGAIN_S / 2)

    async def _claim_with_patience(self, stream_id: StreamId) -> Writer:
        """Claim a stream. While the store is away, try again for ``Timing.patience_s``."""
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
        """End a stream that was not claimed in time, so that its readers stop waiting."""
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
