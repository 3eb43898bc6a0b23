from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from typing import Any

import psycopg
import pytest
import sqlalchemy
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from inkstream import End, Status, StreamConflict, StreamNotFound
from inkstream.engine.settings import FinerTiming
from inkstream.sync import PersistentTextStreaming

Opened = AbstractContextManager[tuple[Any, Callable[[bool], None]]]
"""A connection, and a function that commits (``True``) or rolls back (``False``)."""


@contextmanager
def through_sqlite3(url: str) -> Iterator[tuple[Any, Callable[[bool], None]]]:
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
        yield connection, lambda commit: (connection.commit if commit else connection.rollback)()


@contextmanager
def through_psycopg(url: str) -> Iterator[tuple[Any, Callable[[bool], None]]]:
    with psycopg.connect(url) as connection:
        yield connection, lambda commit: (connection.commit if commit else connection.rollback)()


def _engine(url: str) -> sqlalchemy.Engine:
    return sqlalchemy.create_engine(
        url.replace("postgresql:", "postgresql+psycopg:"), poolclass=NullPool
    )


@contextmanager
def through_sqlalchemy(url: str) -> Iterator[tuple[Any, Callable[[bool], None]]]:
    with _engine(url).connect() as connection:
        yield connection, lambda commit: (connection.commit if commit else connection.rollback)()


@contextmanager
def through_session(url: str) -> Iterator[tuple[Any, Callable[[bool], None]]]:
    with Session(_engine(url)) as session:
        yield session, lambda commit: (session.commit if commit else session.rollback)()


@pytest.fixture(params=[through_sqlite3, through_psycopg, through_sqlalchemy, through_session])
def opened(request: pytest.FixtureRequest) -> tuple[PersistentTextStreaming, Opened]:
    database = "sqlite_url" if request.param is through_sqlite3 else "postgres_url"
    url = request.getfixturevalue(database)
    # Processes poll only every 60 s, so a follower gets a change in time only by a hint.
    streams = PersistentTextStreaming(url, timing=FinerTiming(poll_s=60.0))
    streams.list()  # this creates SQLite's tables
    return streams, request.param(url)


def there(streams: PersistentTextStreaming, *names: str) -> set[str]:
    return set(streams.read_many(names))


@pytest.mark.parametrize("commit", [True, False])
def test_calls_are_part_of_the_transaction(
    opened: tuple[PersistentTextStreaming, Opened], commit: bool
) -> None:
    """G1: calls with a connection take effect only if the connection's transaction commits."""
    streams, opening = opened
    for name in ("cancelled", "deleted"):
        streams.create(name)
    for name in ("log", "closed"):
        streams.create(name, kind="log")
    with opening as (connection, finish):
        assert streams.create("new", connection=connection) == "new"
        streams.post("log", "a", {"b": 1}, connection=connection)
        streams.post("log", "c", connection=connection)
        assert streams.cancel("cancelled", connection=connection)
        assert not streams.cancel("cancelled", connection=connection), "it is cancelled already"
        assert streams.close("closed", connection=connection)
        assert streams.delete("deleted", connection=connection)
        assert not streams.delete("deleted", connection=connection)
        with pytest.raises(StreamConflict):
            streams.cancel("log", connection=connection)
        with pytest.raises(StreamNotFound):
            streams.cancel("absent", connection=connection)
        # Before the commit, other connections see none of these changes.
        assert there(streams, "new", "deleted") == {"deleted"}
        assert streams.read("log").parts == ()
        assert streams.read("cancelled").status is Status.PENDING
        finish(commit)
    assert there(streams, "new", "deleted") == ({"new"} if commit else {"deleted"})
    assert streams.read("log").parts == (("a", {"b": 1}, "c") if commit else ())
    assert streams.read("cancelled").status is (Status.CANCELLED if commit else Status.PENDING)
    assert streams.read("closed").status is (Status.DONE if commit else Status.OPEN)


def test_the_first_call_of_a_process_may_be_in_a_transaction(
    opened: tuple[PersistentTextStreaming, Opened],
) -> None:
    """G1: the first call, which also starts the instance, may come during a transaction.

    On SQLite, this transaction of the application holds the write lock.
    """
    streams, opening = opened
    starting = PersistentTextStreaming(streams._database)
    with opening as (connection, finish):
        streams.create("s", connection=connection)  # the transaction begins with this write
        starting.create("t", connection=connection)
        finish(True)
    assert there(streams, "s", "t") == {"s", "t"}


def test_followers_notice_the_commit_immediately(
    opened: tuple[PersistentTextStreaming, Opened],
) -> None:
    """G6: a reader of a log and a cancelled writer notice the commit without a poll."""
    streams, opening = opened
    streams.create("log", kind="log")
    streams.create("text")
    writing, stopped = threading.Event(), threading.Event()

    def answer():  # type: ignore[no-untyped-def]
        try:
            yield "half"
            while True:
                writing.set()
                threading.Event().wait(0.02)
                yield "."
        finally:
            stopped.set()

    streams.start("text", answer)
    heard: list[object] = []

    def follow() -> None:
        heard.extend(streams.follow("log"))

    following = threading.Thread(target=follow)
    following.start()
    assert writing.wait(5)
    with opening as (connection, finish):
        streams.post("log", "now", connection=connection)
        streams.close("log", connection=connection)
        streams.cancel("text", connection=connection)
        finish(True)
        following.join(10.0)
        assert heard == ["now", End(Status.DONE)]
    assert stopped.wait(10.0)


def test_an_asynchronous_connection_is_refused(postgres_url: str) -> None:
    streams = PersistentTextStreaming(postgres_url)
    url = postgres_url.partition("?")[0].replace("postgresql:", "postgresql+asyncpg:")
    engine = create_async_engine(url, poolclass=NullPool)
    connections = [AsyncSession(engine), engine.connect(), object()]
    for connection in connections:
        with pytest.raises(TypeError, match="connection"):
            streams.create("never", connection=connection)
    assert there(streams, "never") == set()
