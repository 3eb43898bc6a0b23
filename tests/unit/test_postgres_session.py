"""A PostgreSQL store leaves no direct connection open. These tests need no server."""

from __future__ import annotations

import asyncio
from typing import Any

from inkstream.stores.postgres._session import Session


class Connection:
    closed = False

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
