"""Runs statements on the store's own connections: a pool, retries, and conversion of errors."""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import asyncpg
from asyncpg.pool import Pool

from inkstream._errors import NotRunning, StoreUnavailable
from inkstream.stores.postgres._address import Address
from inkstream.stores.postgres._faults import (
    DRIVER_ERRORS,
    condemns,
    is_retryable,
    translate,
    unreachable,
    without_frames,
)
from inkstream.stores.postgres._lock_holders import ASK_S, SAY_AFTER_S, LockHolders

_CLOSE_S: Final = 5.0
_ACQUIRE_S: Final = 10.0
STATEMENT_S: Final = 30.0
ANSWER_S: Final = 10.0
"""How many seconds a check of the schema waits, for example for a lock."""
_TRIES: Final = 8
_NONE_FREE: Final = "no connection to PostgreSQL was free in time"


if TYPE_CHECKING:
    _Base = asyncpg.Connection[asyncpg.Record]
else:
    _Base = asyncpg.Connection


class _Connection(_Base):
    """A pooled connection, which needs no reset, because statements leave no session state."""

    __slots__ = ()

    def get_reset_query(self) -> str:
        """Return no query, because a reset would cost each statement a second round trip."""
        return ""


async def connect(address: Address) -> asyncpg.Connection[Any]:
    """Open one connection, in bounded time."""
    try:
        connection: asyncpg.Connection[Any] = await asyncpg.connect(**address.driver_arguments())
        return connection
    except DRIVER_ERRORS as exc:
        without_frames(exc)
        raise


class Connections:
    """Run single statements on the connections of a pool, each statement in its own transaction.

    Args:
        source: The address to connect to, or an application's own pool, which this class never
            closes.
        max_connections: The maximum size of the store's own pool.
        migrate: The command that updates the schema, for error messages.
        on_condemned: Called when a server no longer accepts writes.
        wait_s: How long a call waits for the answer to a statement. A call waits equally long for a
            free connection, but 10 s at most.
    """

    def __init__(
        self,
        source: Address | Pool[Any],
        *,
        max_connections: int,
        migrate: str,
        on_condemned: Callable[[], None] = lambda: None,
        wait_s: float = STATEMENT_S,
    ) -> None:
        self._address = source if isinstance(source, Address) else None
        self._pool = None if isinstance(source, Address) else source
        self._max_connections = max_connections
        self._migrate = migrate
        self._on_condemned = on_condemned
        self._wait_s = wait_s
        self._acquire_s = min(_ACQUIRE_S, wait_s)
        self._lock_holders = LockHolders()
        self._holders: dict[Any, str | None] = {}
        self._asking: set[asyncio.Task[None]] = set()
        self._open = False
        self._under_way = 0
        self._idle = asyncio.Event()
        self._readers = asyncio.Semaphore(max_connections)

    async def open(self) -> None:
        """Create the pool. The first statement opens the first connection."""
        self._idle = asyncio.Event()
        if self._address is not None:
            self._pool = await asyncpg.create_pool(
                min_size=0,
                max_size=self._max_connections,
                connection_class=_Connection,
                **self._address.driver_arguments(),
            )
        # Readers never get the pool's last connection, so a write need not wait for readers. If the
        # pool has only one connection, readers and writes share it.
        size = self._max_connections if self._pool is None else self._pool.get_max_size()
        self._readers = asyncio.Semaphore(max(size - 1, 1))
        self._open = True

    @property
    def is_open(self) -> bool:
        """Whether ``open`` was called, and ``close`` was not."""
        return self._open

    async def close(self) -> None:
        """Let running statements finish, then close the pool if ``open`` created the pool."""
        self._open = False
        while self._under_way:
            self._idle.clear()
            await self._idle.wait()
        if self._address is not None and self._pool is not None:
            pool, self._pool = self._pool, None
            try:
                await asyncio.wait_for(pool.close(), _CLOSE_S)
            except DRIVER_ERRORS:
                pool.terminate()

    @contextlib.contextmanager
    def under_way(self) -> Any:
        """Make ``close`` wait until this context ends. Raise ``NotRunning`` if not open."""
        if not self._open:
            raise NotRunning("the store is not open")
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._idle.set()

    @contextlib.asynccontextmanager
    async def reading(self) -> AsyncIterator[None]:
        """Wait for permission to read, so that readers do not use every connection of the pool.

        Raises:
            StoreUnavailable: Other readers used all the connections for readers for too long.
        """
        with self.under_way():
            try:
                async with asyncio.timeout(self._acquire_s):
                    await self._readers.acquire()
            except TimeoutError as exc:
                raise StoreUnavailable(_NONE_FREE) from exc
            try:
                yield
            finally:
                self._readers.release()

    async def fetch(
        self,
        sql: str,
        *args: object,
        writing: bool,
        timeout_s: float = math.inf,
        inside: bool = False,
    ) -> Sequence[Sequence[Any]]:
        """Execute one statement and return its rows.

        After a deadlock or a serialization failure, the statement is sent again, 7 times at most.
        ``inside`` says that the caller is in ``under_way``, so that ``close`` waits for this call.
        """
        loop = asyncio.get_running_loop()
        with contextlib.nullcontext() if inside else self.under_way():
            for attempt in range(1, _TRIES + 1):
                async with self._connection() as connection:
                    slow = loop.call_later(SAY_AFTER_S, self._find_holder, connection)
                    try:
                        rows: Sequence[Sequence[Any]] = await connection.fetch(
                            sql, *args, timeout=min(timeout_s, self._wait_s)
                        )
                        return rows
                    except DRIVER_ERRORS as exc:
                        if condemns(exc):
                            await self._condemn(connection)
                        error = translate(
                            exc,
                            writing=writing,
                            migrate=self._migrate,
                            holder=self._holders.get(connection),
                        )
                        if error is exc:
                            raise
                        if attempt == _TRIES or not is_retryable(exc):
                            raise error from exc
                    finally:
                        slow.cancel()
                        if self._holders:
                            self._holders.pop(connection, None)
                await asyncio.sleep(random.uniform(0, 0.002 * 2**attempt))
            raise AssertionError("unreachable")

    def _find_holder(self, waiting: Any) -> None:
        async def ask() -> None:
            with contextlib.suppress(NotRunning, *DRIVER_ERRORS), self.under_way():
                assert self._pool is not None
                # If no connection is free to ask, the holder stays unknown.
                async with self._pool.acquire(timeout=ASK_S) as asking:
                    holder = await self._lock_holders.find(asking, waiting)
                if waiting in self._holders:
                    self._holders[waiting] = holder

        self._holders[waiting] = None
        task = asyncio.get_running_loop().create_task(ask())
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)

    async def _condemn(self, connection: Any) -> None:
        """Close a connection and all others of its pool, because the server takes no writes.

        A connection in use is closed when its statement has finished. The method also closes the
        connections of an application's own pool. Otherwise that pool would give these connections
        to the application.
        """
        assert self._pool is not None
        await self._pool.expire_connections()
        connection.terminate()
        self._on_condemned()

    @contextlib.asynccontextmanager
    async def _connection(self) -> AsyncIterator[Any]:
        pool = self._pool
        assert pool is not None
        try:
            connection = await pool.acquire(timeout=self._acquire_s)
        except DRIVER_ERRORS as exc:
            if isinstance(exc, TimeoutError) and pool.get_size() == pool.get_max_size():
                raise StoreUnavailable(_NONE_FREE) from without_frames(exc)
            error = unreachable(exc, self._migrate)
            if not isinstance(error, StoreUnavailable):
                error = StoreUnavailable(f"PostgreSQL refused a connection: {exc}")
            raise error from without_frames(exc)
        try:
            yield connection
        finally:
            # An error here must not hide the statement's outcome, which is already known.
            with contextlib.suppress(*DRIVER_ERRORS):
                await pool.release(connection)
