"""G2: the SQLite store keeps heads in memory, but notices changes that it did not make.

Another store, or a transaction of the application, makes such changes.
"""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from inkstream import wire
from inkstream._types import (
    Change,
    Committed,
    Group,
    NewStream,
    Outcome,
    Refused,
    StreamId,
    StreamState,
)
from inkstream.stores.sqlite import SQLiteStore, _write
from inkstream.stores.sqlite._connection import Settings, connect, create_file, ensure_schema
from inkstream.stores.sqlite._generation import Generations
from inkstream.stores.sqlite._heads import Heads

NAME = StreamId("stream")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "streams.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SQLiteStore]:
    store = SQLiteStore(path)
    await store.open("one")
    yield store
    await store.close()


def append(state: StreamState, position: int) -> Group:
    (segment,) = wire.encode_messages(["text"], position)
    change = Change(internal_id=state.internal_id, if_epoch=0, if_tail=position, append=segment)
    return Group((change,))


async def begin(store: SQLiteStore) -> StreamState:
    state = await store.create(NewStream(stream_id=NAME, created_at=0.0))
    for position in range(2):
        (outcome,) = await store.commit([append(state, position)])
        assert isinstance(outcome, Committed)
    return state


async def test_other_store_takes_over(store: SQLiteStore, path: Path) -> None:
    state = await begin(store)
    other = SQLiteStore(path)
    await other.open("two")
    try:
        await other.commit([Group((Change(internal_id=state.internal_id, next_epoch=True),))])
    finally:
        await other.close()
    (outcome,) = await store.commit([append(state, 2)])
    assert isinstance(outcome, Refused)
    assert outcome.state is not None
    assert outcome.state.epoch == 1


async def test_application_appends(store: SQLiteStore, path: Path) -> None:
    state = await begin(store)
    connection = sqlite3.connect(path)
    try:
        await store.commit([append(state, 2)], connection=connection)
        connection.commit()
    finally:
        connection.close()
    (again, next_) = await store.commit([append(state, 2), append(state, 3)])
    assert isinstance(again, Refused)
    assert isinstance(next_, Committed)


async def test_application_rolls_back(store: SQLiteStore, path: Path) -> None:
    state = await begin(store)
    connection = sqlite3.connect(path)
    try:
        await store.commit([append(state, 2)], connection=connection)
        connection.rollback()
    finally:
        connection.close()
    (outcome,) = await store.commit([append(state, 2)])
    assert isinstance(outcome, Committed)


async def test_deleted_by_the_same_store(store: SQLiteStore) -> None:
    state = await begin(store)
    await store.delete([state.internal_id])
    (outcome,) = await store.commit([append(state, 2)])
    assert isinstance(outcome, Refused)
    assert outcome.state is None


@pytest.fixture
def db(path: Path) -> Iterator[sqlite3.Connection]:
    create_file(path)
    connection = connect(Settings(path, "full", 5.0), read_only=False)
    ensure_schema(connection, path)
    yield connection
    connection.close()


class Transactions:
    def __init__(self, db: sqlite3.Connection) -> None:
        self.heads = Heads()
        self._db = db
        self._generations = Generations()
        new = NewStream(stream_id=NAME, created_at=0.0)
        self._state, _ = _write.create(db, new, self._generations)

    def append(self, position: int, end: str = "COMMIT") -> Outcome:
        self._db.execute("BEGIN IMMEDIATE")
        group = append(self._state, position)
        applied = _write.commit(self._db, [group], self._generations, self.heads)
        self._db.execute(end)
        if end == "COMMIT":
            self.heads.committed = applied.commit
        return applied.outcomes[0]


def test_rolled_back(db: sqlite3.Connection) -> None:
    """After a rollback, the store does not use the heads of the transaction that was undone."""
    transactions = Transactions(db)
    outcomes = [transactions.append(0), transactions.append(1, "ROLLBACK")]
    outcomes += [transactions.append(1), transactions.append(2)]
    assert [type(outcome) for outcome in outcomes] == [Committed] * 4


def test_heads_are_kept(db: sqlite3.Connection) -> None:
    transactions = Transactions(db)
    transactions.append(0)
    statements: list[str] = []
    db.set_trace_callback(statements.append)
    transactions.append(1)
    db.set_trace_callback(None)
    assert not [text for text in statements if "FROM inkstream_heads" in text]
