"""A PostgreSQL store leaves no direct connection open. These tests need no server."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg

from inkstream.stores.postgres._session import Session


class Connection:
    closed = False

    def __init__(self) -> None:
        self.ended = asyncio.Event()

    def add_termination_listener(self, listener: object) -> None:
        pass

    def remove_termination_listener(self, listener: object) -> None:
        pass

    def is_closed(self) -> bool:
        return self.closed

    def terminate(self) -> None:
        self.closed = True

    async def close(self, timeout: float) -> None:
        self.closed = True
        self.ended.set()


async def nothing(connection: object = None) -> None:
    pass


async def test_no_connection_is_left_by_a_close_during_a_reconnect() -> None:
    made: list[Any] = []
    closing: asyncio.Future[asyncio.Task[None]] = asyncio.get_running_loop().create_future()

    async def connect() -> Any:
        made.append(Connection())
        if len(made) == 2:  # ``close`` runs before the session gets this connection
            closing.set_result(asyncio.get_running_loop().create_task(session.close()))
        return made[-1]

    session = Session(connect, nothing, nothing)
    await session.open()
    session.renew()
    await (await closing)
    assert [connection.closed for connection in made] == [True, True]


async def test_a_connection_that_is_replaced_during_an_attach() -> None:
    """The session may replace a connection at any moment, for example after a failover."""
    made: list[Any] = []
    attached: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    async def connect() -> Any:
        made.append(Connection())
        return made[-1]

    async def on_connect(connection: Any) -> None:
        if connection is made[0]:
            session.renew()
            await connection.ended.wait()
            raise asyncpg.InternalClientError("the connection was closed during a statement")
        attached.set_result(connection)

    session = Session(connect, nothing, nothing)
    await session.open()
    await session.attach(on_connect)
    assert await asyncio.wait_for(attached, 5) is made[1]
    await session.close()


async def test_no_connection_is_left_by_a_cancelled_open() -> None:
    made: list[Any] = []

    async def connect() -> Any:
        made.append(Connection())
        asyncio.get_running_loop().call_soon(opening.cancel)
        return made[-1]

    opening = asyncio.ensure_future(Session(connect, nothing, nothing).open())
    await asyncio.wait([opening])
    await asyncio.sleep(0)
    assert opening.cancelled()
    assert made[0].closed
