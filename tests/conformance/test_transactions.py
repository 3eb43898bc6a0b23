"""Calls with ``connection=`` take effect only if the application's transaction commits."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from inkstream import (
    End,
    PersistentTextStreaming,
    Status,
    StreamConflict,
    StreamNotFound,
)
from inkstream.engine.settings import FinerTiming
from inkstream.stores.sqlite import SQLiteStore
from tests import postgres_server
from tests.conformance import test_postgres_connections as drivers
from tests.conformance.test_postgres_connections import Connect, Finish


@asynccontextmanager
async def through_sqlite3(url: str) -> AsyncIterator[tuple[Any, Finish]]:
    connection = sqlite3.connect(url.removeprefix("sqlite:///"))

    async def finish(commit: bool) -> None:
        # SQLite may block this test's event loop here. An application would commit on a thread.
        (connection.commit if commit else connection.rollback)()

    yield connection, finish
    connection.close()


CONNECTS: list[Connect] = [
    through_sqlite3,
    drivers.through_asyncpg,
    drivers.through_asyncpg_pool,
    drivers.through_psycopg,
    drivers.through_async_psycopg,
    drivers.through_sqlalchemy_connection,
    drivers.through_sqlalchemy_session,
    drivers.through_sqlalchemy_async_connection,
    drivers.through_sqlalchemy_async_session,
]

Opened = tuple[PersistentTextStreaming, Connect, str]


@pytest.fixture(params=CONNECTS, ids=lambda connect: connect.__name__)
async def opened(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Opened]:
    """Provide an instance, a function that connects to its database, and the database's URL."""
    connect: Connect = request.param
    server = postgres_server.server(postgres_server.versions()[0])
    if connect is through_sqlite3:
        url = f"sqlite:///{SQLiteStore(tmp_path / 'app.db').path}"
    else:
        url = await server.make_database()
    # The poll is rare, so followers and writers learn of a change only from a hint.
    async with PersistentTextStreaming(url, timing=FinerTiming(poll_s=60.0)) as streams:
        yield streams, connect, url
    if connect is not through_sqlite3:
        await server.drop_database(url)


async def there(streams: PersistentTextStreaming, *names: str) -> set[str]:
    return set(await streams.read_many(names))


@pytest.mark.parametrize("commit", [True, False])
async def test_calls_are_part_of_the_transaction(opened: Opened, commit: bool) -> None:
    """G1: the calls of a transaction take effect together at its commit, or not at all."""
    streams, connect, url = opened
    for name in ("cancelled", "deleted"):
        await streams.create(name)
    for name in ("log", "closed"):
        await streams.create(name, kind="log")
    async with connect(url) as (connection, finish):
        assert await streams.create("new", owner="me", connection=connection) == "new"
        await streams.post("log", "a", {"b": 1}, connection=connection)
        await streams.post("log", "c", connection=connection)
        assert await streams.cancel("cancelled", connection=connection)
        assert not await streams.cancel("cancelled", connection=connection), (
            "the stream was cancelled already"
        )
        assert await streams.cancel("new", owner="me", connection=connection)
        assert await streams.close("closed", connection=connection)
        assert await streams.delete("deleted", connection=connection)
        assert not await streams.delete("deleted", connection=connection)
        with pytest.raises(StreamConflict):
            await streams.cancel("log", connection=connection)
        with pytest.raises(StreamNotFound):
            await streams.cancel("new", owner="another", connection=connection)
        assert await there(streams, "new", "deleted") == {"deleted"}, "nothing is committed yet"
        assert (await streams.read("log")).parts == ()
        await finish(commit)
    assert await there(streams, "new", "deleted") == ({"new"} if commit else {"deleted"})
    assert (await streams.read("log")).parts == (("a", {"b": 1}, "c") if commit else ())
    expected = (Status.CANCELLED, Status.DONE) if commit else (Status.PENDING, Status.OPEN)
    found = ((await streams.read("cancelled")).status, (await streams.read("closed")).status)
    assert found == expected


@pytest.mark.parametrize("commit", [True, False])
async def test_delete_all_is_part_of_the_transaction(opened: Opened, commit: bool) -> None:
    """G1: ``delete_all`` deletes streams only if the application's transaction commits."""
    streams, connect, url = opened
    names = [f"{n}" for n in range(3)]
    for name in names:
        await streams.create(name, owner="me")
    await streams.create("other", owner="you")
    async with connect(url) as (connection, finish):
        await streams.create("new", owner="me", connection=connection)
        assert await streams.delete_all(owner="me", connection=connection) == 4
        assert await streams.delete_all(owner="me", connection=connection) == 0
        assert await there(streams, *names) == set(names), "nothing is committed yet"
        await finish(commit)
    assert await there(streams, *names, "new") == (set() if commit else set(names))
    assert await there(streams, "other") == {"other"}


async def test_reader_waits_for_the_creating_commit(opened: Opened) -> None:
    streams, connect, url = opened
    app = streams.asgi(allow_anonymous=True)
    asking = asyncio.Event()

    async def watched(scope: Any, receive: Any, send: Any) -> None:
        asking.set()
        await app(scope, receive, send)

    transport = httpx.ASGITransport(watched)
    async with httpx.AsyncClient(transport=transport, base_url="http://app.example") as client:
        async with connect(url) as (connection, finish):
            await streams.create("new", connection=connection)
            early = asyncio.ensure_future(client.get("/new?format=json"))
            never = asyncio.ensure_future(client.get("/absent?format=json"))
            async with asyncio.timeout(5):
                await asking.wait()
            await finish(True)
        assert (await early).status_code == 200
        assert (await early).json()["status"] == "pending"
        assert (await never).status_code == 404


async def test_commit_wakes_followers_and_writers(opened: Opened) -> None:
    """G6: the commit causes a hint, so followers and writers do not wait for the poll."""
    streams, connect, url = opened
    await streams.create("log", kind="log")
    await streams.create("text")
    heard: list[Any] = []
    stopped = asyncio.Event()

    async def follow() -> None:
        heard.extend([item async for item in streams.follow("log")])

    async def write() -> None:
        async with streams.write("text") as writer:
            writing.set()
            await writer.stopped()
            stopped.set()

    writing = asyncio.Event()
    following, job = asyncio.create_task(follow()), asyncio.create_task(write())
    async with asyncio.timeout(5):
        await writing.wait()
    async with connect(url) as (connection, finish):
        await streams.post("log", "now", connection=connection)
        await streams.close("log", connection=connection)
        await streams.cancel("text", connection=connection)
        await finish(True)
        async with asyncio.timeout(1):
            await following
            await stopped.wait()
    assert heard == ["now", End(Status.DONE)]
    await job
