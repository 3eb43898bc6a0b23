"""An append writes little to a SQLite file, and a text needs little space in the file."""
# ruff: noqa: ASYNC240  (these tests may block, because nothing else runs on their loop)

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from inkstream import wire
from inkstream._types import Change, End, Group, NewStream, Status, StreamId, StreamState
from inkstream.stores.sqlite import SQLiteStore
from inkstream.testing.store_suite.harness import EVERYTHING, tidied

TOKEN = "token "


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "streams.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SQLiteStore]:
    store = SQLiteStore(path, synchronous="normal")
    await store.open("one")
    yield store
    await store.close()


async def streams(store: SQLiteStore, number: int) -> list[StreamState]:
    return [
        await store.create(NewStream(stream_id=StreamId(f"s{n}"), created_at=0.0))
        for n in range(number)
    ]


def tokens(states: list[StreamState], in_each: int) -> list[Group]:
    segment = wire.merge([wire.encode_messages([TOKEN], n)[0] for n in range(in_each)])[0]
    return [Group((Change(internal_id=one.internal_id, append=segment),)) for one in states]


def file_bytes(path: Path) -> int:
    """Return the size of the database, with free pages and the pages of the ``-wal`` file."""
    connection = sqlite3.connect(path)
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    (page_bytes,) = connection.execute("PRAGMA page_size").fetchone()
    connection.close()
    return int(pages * page_bytes)


async def test_the_log_grows_little_with_many_live_streams(store: SQLiteStore, path: Path) -> None:
    """With 2.5 tokens per stream and commit, a token adds less than 150 B to the ``-wal`` file."""
    states = await streams(store, 1000)
    rounds = 12
    before = Path(f"{path}-wal").stat().st_size
    for number in range(rounds):
        await store.commit(tokens(states, 2 + number % 2))
    written = Path(f"{path}-wal").stat().st_size - before
    assert written / (rounds * 2.5 * 1000) < 150


async def test_finished_streams_are_small(store: SQLiteStore, path: Path) -> None:
    """After ``tidy``, the file has less than 1.5 times the bytes of the text of its streams."""
    states = await streams(store, 150)
    for _ in range(100):
        await store.commit(tokens(states, 40))
    for state in states:
        end = Change(internal_id=state.internal_id, end=End(Status.DONE), at=1.0)
        await store.commit([Group((end,))])
    text = len(TOKEN) * 100 * 40 * len(states)
    assert file_bytes(path) > 1.1 * text
    assert await tidied(store) > 1, "tidy must take several steps"
    assert file_bytes(path) < 1.5 * text
    page = await store.read(StreamId("s7"), 0, EVERYTHING)
    assert b"".join(one.payload for one in page.segments) == TOKEN.encode() * 4000
    assert len(page.segments) == 1
    await store.delete([state.internal_id for state in states])
    await tidied(store)
    assert file_bytes(path) < text // 4, "the space of deleted streams must be freed"


@pytest.mark.parametrize(("rows", "in_each"), [(1500, 1), (300, 200)])
async def test_long_live_stream_is_merged(
    store: SQLiteStore, path: Path, rows: int, in_each: int
) -> None:
    """If ``tidy`` did not merge the live rows, a reader that is far behind would read all rows."""
    (state,) = await streams(store, 1)
    for _ in range(rows // 50):
        await store.commit(tokens([state] * 50, in_each))
    assert live_rows(path) == rows
    await tidied(store)
    assert live_rows(path) == 0
    await store.commit(tokens([state], in_each))
    page = await store.read(StreamId("s0"), 0, EVERYTHING)
    assert b"".join(one.payload for one in page.segments) == TOKEN.encode() * (rows + 1) * in_each


async def test_a_step_is_bounded_however_small_the_rows(store: SQLiteStore) -> None:
    """G9: a step of ``tidy`` merges a limited number of rows, because commits wait for the step."""
    states = await streams(store, 40)
    for _ in range(500):
        await store.commit(tokens(states, 1))
    end = [Change(internal_id=one.internal_id, end=End(Status.DONE), at=1.0) for one in states]
    await store.commit([Group((change,)) for change in end])
    assert await tidied(store) >= 4, "20,000 rows take several steps"


def live_rows(path: Path) -> int:
    connection = sqlite3.connect(path)
    (rows,) = connection.execute("SELECT count(*) FROM inkstream_live").fetchone()
    connection.close()
    return int(rows)


async def test_the_log_is_bounded(store: SQLiteStore, path: Path) -> None:
    """A writer that never pauses does not make the ``-wal`` file grow without limit."""
    states = await streams(store, 10)
    for number in range(60):
        await store.commit(tokens(states, 8000))
        if number % 10 == 0:
            await store.read(StreamId("s3"), 0, 1 << 16)
    assert file_bytes(path) > 24 << 20
    assert Path(f"{path}-wal").stat().st_size < 16 << 20
