"""Calls on a SQLite store can be part of the application's own transaction."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

from inkstream import wire
from inkstream._errors import StoreUnavailable, StreamExists, StreamNotFound
from inkstream._types import Change, Committed, Group, Kind, NewStream, Query, StreamId
from inkstream.stores.sqlite import SQLiteStore
from inkstream.testing.store_suite.harness import EVERYTHING

T = TypeVar("T")


class Autocommit(sqlite3.Connection):
    """A connection with ``autocommit=True``, which Python 3.11 does not have."""

    autocommit = True


def at_once(call: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never waits, such as a call with ``connection``."""
    try:
        call.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    raise AssertionError("the coroutine waits")


async def inside(call: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on another thread, as a synchronous handler of the application does."""
    return await asyncio.to_thread(at_once, call)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "app.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SQLiteStore]:
    store = SQLiteStore(path, busy_s=0.05)
    await store.open("one")
    yield store
    await store.close()


@pytest.fixture
def app(store: SQLiteStore, path: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(path, timeout=0.05, check_same_thread=False)
    connection.row_factory = sqlite3.Row
    connection.execute("CREATE TABLE messages (stream_id TEXT)")
    yield connection
    connection.close()


def new(name: str = "s") -> NewStream:
    return NewStream(stream_id=StreamId(name), kind=Kind.LOG, created_at=0.0)


def hello(internal_id: int) -> list[Group]:
    (segment,) = wire.encode_messages(["hello"], 0)
    return [Group((Change(internal_id=internal_id, append=segment),))]


async def test_visible_when_the_transaction_commits(
    store: SQLiteStore, app: sqlite3.Connection
) -> None:
    """A row of the application and a message of a log are committed together."""
    app.execute("INSERT INTO messages VALUES ('s')")
    state = await inside(store.create(new(), connection=app))
    (outcome,) = await inside(store.commit(hello(state.internal_id), connection=app))
    assert isinstance(outcome, Committed)
    page = await inside(store.read(StreamId("s"), 0, EVERYTHING, connection=app))
    assert page.state.tail == 1
    found = await inside(store.find(Query(), connection=app))
    assert [one.stream_id for one in found] == ["s"]
    with pytest.raises(StreamNotFound):
        await store.read(StreamId("s"), 0, EVERYTHING)
    app.commit()
    assert (await store.read(StreamId("s"), 0, EVERYTHING)) == page


async def test_rollback_removes_the_stream(store: SQLiteStore, app: sqlite3.Connection) -> None:
    kept = await store.create(new("kept"))
    await inside(store.create(new(), connection=app))
    assert await inside(store.delete([kept.internal_id], connection=app)) == 1
    assert app.in_transaction, "create must begin the transaction"
    app.rollback()
    with pytest.raises(StreamNotFound):
        await store.read(StreamId("s"), 0, EVERYTHING)
    assert (await store.read(StreamId("kept"), 0, 0)).state == kept


async def test_the_connection_of_an_sqlalchemy_session(
    store: SQLiteStore, app: sqlite3.Connection, path: Path
) -> None:
    """The store refuses an SQLAlchemy session, but accepts the session's ``driver_connection``."""
    engine = create_engine(f"sqlite:///{path}")
    with Session(engine) as session:
        with pytest.raises(TypeError, match="driver_connection"):
            await inside(store.create(new(), connection=session))
        for end in session.rollback, session.commit:
            connection = session.connection().connection.driver_connection
            await inside(store.create(new(), connection=connection))
            session.execute(text("INSERT INTO messages VALUES ('s')"))
            end()
    engine.dispose()
    assert [tuple(row) for row in app.execute("SELECT * FROM messages")] == [("s",)]
    assert (await store.read(StreamId("s"), 0, 0)).state.stream_id == "s"


async def test_a_refused_call_leaves_the_transaction_as_it_was(
    store: SQLiteStore, app: sqlite3.Connection
) -> None:
    await store.create(new())
    app.execute("INSERT INTO messages VALUES ('x')")
    with pytest.raises(StreamExists):
        await inside(store.create(new(), connection=app))
    app.commit()
    assert [tuple(row) for row in app.execute("SELECT * FROM messages")] == [("x",)]
    assert app.row_factory is sqlite3.Row


@pytest.mark.parametrize("text_factory", [bytes, bytearray, lambda value: value.decode().upper()])
async def test_text_factory(store: SQLiteStore, app: sqlite3.Connection, text_factory: Any) -> None:
    """A call ignores the connection's ``text_factory``, and leaves it as it was."""
    app.text_factory = text_factory
    state = await inside(store.create(new(), connection=app))
    await inside(store.commit(hello(state.internal_id), connection=app))
    page = await inside(store.read(StreamId("s"), 0, EVERYTHING, connection=app))
    app.commit()
    assert page == await store.read(StreamId("s"), 0, EVERYTHING)
    assert app.text_factory is text_factory


@pytest.mark.parametrize(
    "mode",
    [
        {"isolation_level": None},
        {"autocommit": True} if sys.version_info >= (3, 12) else {"factory": Autocommit},
    ],
    ids=["isolation_level", "autocommit"],
)
async def test_call_without_a_transaction_begins_one(
    store: SQLiteStore, path: Path, mode: dict[str, Any]
) -> None:
    """On a connection in autocommit mode, a call begins and commits its own transaction."""
    connection = sqlite3.connect(path, check_same_thread=False, **mode)
    await inside(store.create(new(), connection=connection))
    assert not connection.in_transaction
    connection.close()
    assert (await store.read(StreamId("s"), 0, 0)).state.tail == 0


@pytest.mark.parametrize(
    ("level", "begin"), [(None, ""), (None, "BEGIN"), ("", ""), ("EXCLUSIVE", "")]
)
@pytest.mark.parametrize("name", ["create", "find and delete"])
async def test_a_first_call_waits_for_its_turn(
    store: SQLiteStore,
    app: sqlite3.Connection,
    path: Path,
    name: str,
    level: Any,
    begin: str,
) -> None:
    """If the transaction has not read yet, a call waits for a writer, for the timeout."""
    if name != "create":
        await store.create(new())
    app.execute("INSERT INTO messages VALUES ('x')")
    waits = threading.Event()

    def note(statement: str) -> None:
        if statement.startswith(("DELETE", "BEGIN EXCLUSIVE")):
            waits.set()

    connection = sqlite3.connect(path, timeout=5, isolation_level=level, check_same_thread=False)
    connection.execute(begin)
    connection.set_trace_callback(note)

    async def calls() -> None:
        if name == "create":
            await store.create(new(), connection=connection)
        else:
            found = await store.find(Query(), connection=connection)
            await store.delete([found[0].internal_id], connection=connection)

    call = asyncio.create_task(inside(calls()))
    assert await asyncio.to_thread(waits.wait, 5)
    app.commit()
    await call
    connection.commit()
    connection.close()
    assert len(await store.find(Query())) == (name == "create")


async def test_file_in_another_encoding(tmp_path: Path) -> None:
    path = tmp_path / "wide.db"
    connection = sqlite3.connect(path, check_same_thread=False)
    connection.execute("PRAGMA encoding = 'UTF-16le'")
    connection.execute("CREATE TABLE messages (stream_id TEXT)")
    store = SQLiteStore(path)
    await store.open("worker")
    await inside(store.create(new(), connection=connection))
    connection.commit()
    connection.close()
    assert (await store.read(StreamId("s"), 0, 0)).state.tail == 0
    await store.close()


async def test_transaction_that_sees_an_old_state_begins_no_generation(
    store: SQLiteStore, app: sqlite3.Connection
) -> None:
    """G10: if a transaction began before a commit, this commit does not count as lost."""
    state = await store.create(new())
    app.execute("BEGIN")
    app.execute("SELECT * FROM messages").fetchall()
    await store.commit(hello(state.internal_id))
    with pytest.raises(StoreUnavailable, match="BEGIN IMMEDIATE"):
        await inside(store.commit(hello(state.internal_id), connection=app))
    app.rollback()
    await store.commit(hello(state.internal_id))
    assert len((await store.read(StreamId("s"), 0, 0)).state.runs) == 1


async def test_a_stores_commit_waits_for_the_transaction(
    store: SQLiteStore, app: sqlite3.Connection
) -> None:
    state = await store.create(new())
    await inside(store.commit(hello(state.internal_id), connection=app))
    with pytest.raises(StoreUnavailable):
        await store.commit(hello(state.internal_id))
    app.commit()
    (outcome,) = await store.commit(hello(state.internal_id))
    assert isinstance(outcome, Committed)
    assert outcome.heads[0].tail == 2


async def test_refused_connections(
    store: SQLiteStore, app: sqlite3.Connection, tmp_path: Path
) -> None:
    elsewhere = sqlite3.connect(tmp_path / "elsewhere.db", check_same_thread=False)
    memory = sqlite3.connect(":memory:", check_same_thread=False)
    for wrong in (object(), app.cursor(), elsewhere, memory):
        with pytest.raises(TypeError):
            await inside(store.create(new(), connection=wrong))
        with pytest.raises(TypeError):
            await inside(store.read(StreamId("s"), 0, 0, connection=wrong))
    elsewhere.close()
    memory.close()
    with pytest.raises(StreamNotFound):
        await store.read(StreamId("s"), 0, 0)
