"""Keeps one connection open, for the worker's lock and for LISTEN."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg

from inkstream.stores.postgres._faults import DRIVER_ERRORS, condemns

_log = logging.getLogger("inkstream")

_QUICK_S = 0.2
_RETRY_S = (0.05, 1.0)
_READ_ONLY_RETRY_S = 0.1
_PING_S = 10.0
_PONG_S = 3.0
_IS_READ_ONLY = "SELECT current_setting('transaction_read_only') = 'on'"


class Session:
    """Keep one connection open. When the connection is lost, open a new connection immediately.

    Args:
        connect: Opens a connection; ``connect`` must succeed or fail in bounded time.
        on_connect: Awaited with every new connection, before anything else uses the connection.
        on_lost: Awaited when a lost connection cannot be replaced within 0.2 s. ``on_lost`` must
            take bounded time and never raise.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[asyncpg.Connection[Any]]],
        on_connect: Callable[[asyncpg.Connection[Any]], Awaitable[None]],
        on_lost: Callable[[], Awaitable[None]],
    ) -> None:
        self._connect = connect
        self._on_lost = on_lost
        self._on_connect = [on_connect]
        self._connection: asyncpg.Connection[Any] | None = None
        self._lost = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Connect, and keep connected from then on.

        Raises:
            Exception: The driver's error, if the first connection fails.
        """
        self._lost = asyncio.Event()
        connecting = asyncio.ensure_future(self._connect())
        try:
            await self._begin(connecting)
        finally:
            connecting.add_done_callback(self._close_unused)
        self._task = asyncio.get_running_loop().create_task(self._keep())

    async def close(self) -> None:
        """Close the connection. The server then releases the worker's lock."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None
        await self._end()

    async def attach(
        self, on_connect: Callable[[asyncpg.Connection[Any]], Awaitable[None]]
    ) -> None:
        """Call ``on_connect`` with the current connection now, and with every new connection.

        If ``on_connect`` fails on the current connection, ``attach`` raises the error, and nothing
        is attached. But if the reason is that this connection was lost meanwhile, ``attach`` raises
        nothing. The session then calls ``on_connect`` with the next connection. The session also
        does so if ``on_connect`` fails on a later connection.
        """
        self._on_connect.append(on_connect)
        connection = self._connection
        if connection is not None:
            try:
                await on_connect(connection)
            except BaseException as exc:
                is_lost = self._lost.is_set() or self._connection is not connection
                if not (is_lost and isinstance(exc, DRIVER_ERRORS)):
                    self.forget(on_connect)
                    raise

    async def detach(
        self,
        on_connect: Callable[[asyncpg.Connection[Any]], Awaitable[None]],
        undo: Callable[[asyncpg.Connection[Any]], Awaitable[None]],
    ) -> None:
        """Stop calling ``on_connect``, and call ``undo`` with the current connection."""
        self.forget(on_connect)
        if self._connection is not None:
            try:
                await undo(self._connection)
            except DRIVER_ERRORS:
                self.renew()

    def forget(self, on_connect: Callable[[asyncpg.Connection[Any]], Awaitable[None]]) -> None:
        """Stop calling ``on_connect``. If ``on_connect`` is not attached, do nothing."""
        if on_connect in self._on_connect:
            self._on_connect.remove(on_connect)

    def renew(self) -> None:
        """Replace the connection, for example because the server takes no writes."""
        if self._connection is not None:
            self._lost.set()

    async def _keep(self) -> None:
        delay_s = 0.0
        while True:
            await self._until_lost()
            await asyncio.sleep(delay_s)
            await self._end()
            connecting = asyncio.ensure_future(self._connect())
            try:
                done, _ = await asyncio.wait([connecting], timeout=_QUICK_S)
                if not done or connecting.exception() is not None:
                    await self._on_lost()
                await self._begin(connecting)
                delay_s = 0.0
            except DRIVER_ERRORS as exc:
                # Half a second after the server accepts writes again, other workers may take a
                # worker with a free lock for dead. So this worker must connect, and take its lock,
                # before then.
                longest_s = _READ_ONLY_RETRY_S if condemns(exc) else _RETRY_S[1]
                delay_s = min(max(2 * delay_s, _RETRY_S[0]), longest_s)
                _log.debug("no direct connection to PostgreSQL, trying again: %r", exc)
            finally:
                connecting.cancel()
                connecting.add_done_callback(self._close_unused)

    def _close_unused(self, connecting: asyncio.Future[asyncpg.Connection[Any]]) -> None:
        """Close a new connection that the session does not use, as after a cancellation."""
        if connecting.cancelled() or connecting.exception() is not None:
            return
        connection = connecting.result()
        if connection is not self._connection:
            connection.terminate()

    async def _until_lost(self) -> None:
        """Wait until the connection is lost or silent, or its server takes no writes."""
        while not self._lost.is_set():
            try:
                async with asyncio.timeout(_PING_S):
                    await self._lost.wait()
            except TimeoutError:
                if self._connection is not None:
                    try:
                        if await self._connection.fetchval(_IS_READ_ONLY, timeout=_PONG_S):
                            return
                    except DRIVER_ERRORS:
                        return

    async def _begin(self, connecting: asyncio.Future[asyncpg.Connection[Any]]) -> None:
        connection = await connecting
        try:
            for on_connect in self._on_connect:
                await on_connect(connection)
        except BaseException:
            connection.terminate()
            raise
        self._lost.clear()
        self._connection = connection
        connection.add_termination_listener(self._note_loss)
        if connection.is_closed():
            self._lost.set()

    def _note_loss(self, connection: object) -> None:
        if connection is self._connection:
            self._lost.set()

    async def _end(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.remove_termination_listener(self._note_loss)
            try:
                await connection.close(timeout=1.0)
            except DRIVER_ERRORS:
                connection.terminate()
