"""With each supported driver, calls with ``connection=`` join the application's transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import asyncpg
import psycopg
import pytest
import sqlalchemy
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from inkstream import wire
from inkstream._errors import SchemaOutdated, StoreUnavailable, StreamExists, StreamNotFound
from inkstream._types import (
    Change,
    Committed,
    End,
    Fork,
    Group,
    Kind,
    NewStream,
    Query,
    Refused,
    Status,
    StreamId,
)
from inkstream.stores.postgres import PostgresStore
from tests import postgres_server

Finish = Callable[[bool], Awaitable[None]]
"""A function that commits if its argument is true, and otherwise rolls back."""

Opened = AbstractAsyncContextManager[tuple[Any, Finish]]


@pytest.fixture
async def store(url: str) -> AsyncIterator[PostgresStore]:
    store = PostgresStore(url)
    await store.open("one")
    yield store
    await store.close()


@asynccontextmanager
async def through_asyncpg(url: str) -> AsyncIterator[tuple[Any, Finish]]:
    connection = await asyncpg.connect(url)
    transaction = connection.transaction()
    await transaction.start()

    async def finish(commit: bool) -> None:
        await (transaction.commit() if commit else transaction.rollback())

    yield connection, finish
    await connection.close()


@asynccontextmanager
async def through_asyncpg_pool(url: str) -> AsyncIterator[tuple[Any, Finish]]:
    pool = asyncpg.create_pool(url, min_size=1, max_size=1)
    async with pool, pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()

        async def finish(commit: bool) -> None:
            await (transaction.commit() if commit else transaction.rollback())

        yield connection, finish


@asynccontextmanager
async def through_psycopg(url: str) -> AsyncIterator[tuple[Any, Finish]]:
    with psycopg.connect(url) as connection:

        async def finish(commit: bool) -> None:
            (connection.commit if commit else connection.rollback)()

        yield connection, finish


@asynccontextmanager
async def through_async_psycopg(url: str) -> AsyncIterator[tuple[Any, Finish]]:
    async with await psycopg.AsyncConnection.connect(url) as connection:

        async def finish(commit: bool) -> None:
            await (connection.commit if commit else connection.rollback)()

        yield connection, finish


def _sync_engine(url: str) -> sqlalchemy.Engine:
    return sqlalchemy.create_engine(
        url.replace("postgresql:", "postgresql+psycopg:"), poolclass=NullPool
    )


@asynccontextmanager
async def through_sqlalchemy_connection(url: str) -> AsyncIterator[tuple[Any, Finish]]:
    with _sync_engine(url).connect() as connection:

        async def finish(commit: bool) -> None:
            (connection.commit if commit else connection.rollback)()

        yield connection, finish


@asynccontextmanager
async def through_sqlalchemy_session(url: str) -> AsyncIterator[tuple[Any, Finish]]:
    with Session(_sync_engine(url)) as session:

        async def finish(commit: bool) -> None:
            (session.commit if commit else session.rollback)()

        yield session, finish


def _async_url(url: str, driver: str) -> str:
    given = url if driver == "psycopg" else url.partition("?")[0]
    return given.replace("postgresql:", f"postgresql+{driver}:")


@asynccontextmanager
async def through_sqlalchemy_async_connection(url: str) -> AsyncIterator[tuple[Any, Finish]]:
    engine = create_async_engine(
        _async_url(url, "asyncpg"), connect_args={"ssl": False}, poolclass=NullPool
    )
    async with engine.connect() as connection:

        async def finish(commit: bool) -> None:
            await (connection.commit if commit else connection.rollback)()

        yield connection, finish


@asynccontextmanager
async def through_sqlalchemy_async_session(url: str) -> AsyncIterator[tuple[Any, Finish]]:
    engine = create_async_engine(
        _async_url(url, "asyncpg"), connect_args={"ssl": False}, poolclass=NullPool
    )
    async with AsyncSession(engine) as session:

        async def finish(commit: bool) -> None:
            await (session.commit if commit else session.rollback)()

        yield session, finish


@asynccontextmanager
async def through_sqlalchemy_async_psycopg(url: str) -> AsyncIterator[tuple[Any, Finish]]:
    engine = create_async_engine(_async_url(url, "psycopg"), poolclass=NullPool)
    async with AsyncSession(engine) as session:

        async def finish(commit: bool) -> None:
            await (session.commit if commit else session.rollback)()

        yield session, finish


each_driver = pytest.mark.parametrize(
    "connect",
    [
        through_asyncpg,
        through_asyncpg_pool,
        through_psycopg,
        through_async_psycopg,
        through_sqlalchemy_connection,
        through_sqlalchemy_session,
        through_sqlalchemy_async_connection,
        through_sqlalchemy_async_session,
        through_sqlalchemy_async_psycopg,
    ],
)
Connect = Callable[[str], Opened]

NASTY = "nul \0 and ☃ and \r\n :p1 $1 %s"


def new(stream_id: str, **fields: Any) -> NewStream:
    return NewStream(**{"stream_id": StreamId(stream_id), "created_at": 1.5, **fields})


@each_driver
async def test_rollback_leaves_no_trace(connect: Connect, url: str, store: PostgresStore) -> None:
    """G1: if the application rolls back, inkstream's changes are undone too."""
    kept = await store.create(new("kept", kind=Kind.LOG))
    (segment,) = wire.encode_messages(["gone"], 0)
    async with connect(url) as (connection, finish):
        await store.create(new("lost"), connection=connection)
        append = Group((Change(internal_id=kept.internal_id, append=segment),))
        assert await store.commit([append], connection=connection)
        inside = await store.read(StreamId("kept"), 0, 100, connection=connection)
        assert inside.segments, "the transaction must see its own writes"
        assert not (await store.read(StreamId("kept"), 0, 100)).segments, (
            "other connections must not see the writes"
        )
        await finish(False)
    assert [state.stream_id for state in await store.find(Query())] == ["kept"]
    assert (await store.read(StreamId("kept"), 0, 0)).state == kept


@each_driver
async def test_every_call_through_every_driver(
    connect: Connect, url: str, store: PostgresStore
) -> None:
    """G11: text, bytes, numbers and metadata pass unchanged through each driver."""
    (segment,) = wire.encode_messages([NASTY, wire.RawJSON(b'{"a": 1.0}')], 0)
    async with connect(url) as (connection, finish):
        a = await store.create(
            new(
                "a",
                owner="me",
                group="us",
                metadata={"k": [1, 2.5, None, NASTY]},
                due_at=7.25,
                append=segment,
                marks={"m": b"\0\xff"},
                max_live=2,
            ),
            connection=connection,
        )
        b = await store.create(
            new("b:p1", fork=Fork(a.internal_id, 1), end=End(Status.ERROR, message=NASTY)),
            connection=connection,
        )
        with pytest.raises(StreamExists):
            await store.create(new("a"), connection=connection)
        accepted, refused = await store.commit(
            [
                Group(
                    (
                        Change(
                            internal_id=a.internal_id,
                            if_status=(Status.PENDING,),
                            if_worker=None,
                            if_tail=2,
                            next_epoch=True,
                            status=Status.STREAMING,
                            worker="one",
                            due_at=None,
                            at=2.0,
                            report=True,
                            marks={"n": b"2"},
                            max_marks=2,
                        ),
                    )
                ),
                Group((Change(internal_id=b.internal_id, if_epoch=5, append=segment),)),
            ],
            connection=connection,
        )
        assert isinstance(accepted, Committed)
        assert isinstance(refused, Refused)
        assert refused.state == b
        page = await store.read(
            StreamId("a"), 0, 1000, marks=["m", "n", "o"], connection=connection
        )
        fork = await store.read(StreamId("b:p1"), 0, 1000, connection=connection)
        found = await store.find(
            Query(owner="me", group="us", statuses=(Status.STREAMING,), worker="one"),
            connection=connection,
        )
        assert found == [page.state]
        assert await store.delete([b.internal_id, 12345], connection=connection) == 1
        with pytest.raises(StreamNotFound):
            await store.read(StreamId("b:p1"), 0, 0, connection=connection)
        await finish(True)
    assert list(wire.decode_messages(page.segments)) == [NASTY, wire.RawJSON(b'{"a": 1.0}')]
    assert page.marks == {"m": b"\0\xff", "n": b"2"}
    assert page.state.metadata == {"k": [1, 2.5, None, NASTY]}
    assert (page.state.due_at, page.state.started_at, page.state.created_at) == (None, 2.0, 1.5)
    assert list(wire.decode_messages(fork.segments)) == [NASTY]
    assert fork.state.message == NASTY
    assert await store.read(StreamId("a"), 0, 1000, marks=["m", "n"]) == page


@each_driver
async def test_an_error_of_the_database_is_ours(connect: Connect, url: str) -> None:
    """G12: an error on the application's connection becomes an error of inkstream.

    A call with ``connection=`` uses no pool, so the store need not be open.
    """
    async with connect(url) as (connection, finish):
        with pytest.raises(SchemaOutdated, match="inkstream migrate"):
            await PostgresStore(url, schema="elsewhere").create(new("s"), connection=connection)
        with pytest.raises(StoreUnavailable):  # the first error has aborted the transaction
            await PostgresStore(url).create(new("s"), connection=connection)
        await finish(False)


async def test_foreign_connections_are_refused(url: str, store: PostgresStore) -> None:
    pool = asyncpg.create_pool(url)
    lite = sqlite3.connect(":memory:")
    engine = sqlalchemy.create_engine("sqlite://")
    with engine.connect() as connection, Session(engine) as session:
        for other in (pool, lite, engine, connection, session, object(), "postgresql://"):
            with pytest.raises(TypeError):
                await store.create(new("s"), connection=other)
    lite.close()
    engine.dispose()
    assert await store.find(Query()) == []


@each_driver
async def test_a_connection_of_another_database_is_refused(
    connect: Connect, store: PostgresStore
) -> None:
    """G1: the store refuses a connection to another database.

    The store's readers would not find the streams of that database.
    """
    server = postgres_server.server(postgres_server.versions()[0])
    other = await server.make_database()
    elsewhere = PostgresStore(other)
    await elsewhere.open("there")
    there = await elsewhere.create(new("s"))
    change = Change(internal_id=there.internal_id, append=wire.encode_whole(["lost"]))
    calls: list[Callable[[object], Coroutine[Any, Any, object]]] = [
        lambda connection: store.create(new("t"), connection=connection),
        lambda connection: store.read(there.stream_id, 0, 0, connection=connection),
        lambda connection: store.commit([Group((change,))], connection=connection),
        lambda connection: store.find(Query(owner="me"), connection=connection),
        lambda connection: store.delete([there.internal_id], connection=connection),
    ]
    async with connect(other) as (connection, finish):
        for call in calls:
            with pytest.raises(TypeError, match="another database"):
                await call(connection)
        await finish(True)
    assert await elsewhere.find(Query()) == [there], "the other database must not change"
    await elsewhere.close()
    await server.drop_database(other)


async def test_the_ways_to_name_a_database(url: str) -> None:
    """A store accepts a pool, an engine of SQLAlchemy or a URL, and does not close the pool."""
    engine = create_async_engine(_async_url(url, "asyncpg") + "?ssl=disable", poolclass=NullPool)
    async with asyncpg.create_pool(url, min_size=1, max_size=2) as pool:
        for number, database in enumerate(
            [pool, engine, url.replace("postgresql:", "postgres:"), url + "&pooler=true"]
        ):
            store = PostgresStore(database)
            await store.open(f"worker {number}")
            await store.heartbeat(beat=True)
            await store.create(new(f"s{number}"))
            await store.close()
        assert await pool.fetchval("SELECT count(*) FROM inkstream.streams") == 4
    with pytest.raises(TypeError):
        PostgresStore(7)
    with pytest.raises(ValueError, match="not a postgresql"):
        PostgresStore("sqlite:///x.db")
