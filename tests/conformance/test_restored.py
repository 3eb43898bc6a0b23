"""G2, G10: after a restore, a reader gets no mixture of lost text and later text.

A reader whose offset lies in the lost text gets ``OffsetGone``.
"""

from __future__ import annotations

import contextlib
import signal
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from inkstream import OffsetGone, PersistentTextStreaming, StoreUnavailable
from inkstream._types import Fork, Kind, NewStream
from inkstream.stores.postgres import PostgresStore
from inkstream.stores.sqlite import SQLiteStore
from inkstream.testing.store_suite.harness import append, new, state_of
from inkstream.wire import Offset
from tests import postgres_server


class Database:
    def __init__(
        self,
        url: str,
        back_up: Callable[[], Awaitable[None]],
        restore: Callable[[], Awaitable[None]],
    ) -> None:
        self.url = url
        self.back_up = back_up
        self.restore = restore


def copy_of(source: Path, target: Path) -> None:
    """Copy a SQLite database. ``target`` may be in use."""
    with (
        contextlib.closing(sqlite3.connect(source)) as one,
        contextlib.closing(sqlite3.connect(target)) as two,
    ):
        one.backup(two)


def put_back(copy: Path, path: Path) -> None:
    for end in ("-wal", "-shm"):
        Path(f"{path}{end}").unlink(missing_ok=True)
    copy.replace(path)


def sqlite_database(path: Path) -> Database:
    copy = path.with_suffix(".copy")

    async def back_up() -> None:
        copy_of(path, copy)

    async def restore() -> None:
        put_back(copy, path)

    return Database(f"sqlite:///{path}", back_up, restore)


def postgres_database(server: postgres_server.Server, url: str) -> Database:
    """Return a database whose backup also contains the unlogged tables."""
    name = url.rpartition("/")[2].partition("?")[0]

    async def back_up() -> None:
        await server.execute(f"CREATE DATABASE {name}_copy TEMPLATE {name}")

    async def restore() -> None:
        await server.execute(
            f"DROP DATABASE {name} WITH (FORCE)", f"ALTER DATABASE {name}_copy RENAME TO {name}"
        )

    return Database(url, back_up, restore)


@pytest_asyncio.fixture(params=["sqlite", *postgres_server.versions()])
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    if request.param == "sqlite":
        yield sqlite_database(tmp_path / "streams.db")
        return
    server = postgres_server.server(request.param)
    url = await server.make_database()
    yield postgres_database(server, url)
    await server.drop_database(url)


async def read_on(
    streams: PersistentTextStreaming, stream_id: str, offset: str | None = None
) -> tuple[list[str], str]:
    """Return the pieces of text after an offset, and the offset after these pieces."""
    follow = streams.follow(stream_id, offset)
    texts = [item async for item in follow if isinstance(item, str)]
    assert follow.offset is not None
    return texts, follow.offset


async def write(streams: PersistentTextStreaming, stream_id: str, *pieces: str) -> None:
    """Take a stream over, write text to the stream, and let the stream go."""
    writer = streams.write(stream_id, takeover=True)
    handle = await writer.__aenter__()
    for text in pieces:
        await handle.append(text)
        await handle.flush()
    await handle.release()
    with contextlib.suppress(Exception):
        await writer.__aexit__(None, None, None)


async def here(streams: PersistentTextStreaming, stream_id: str) -> str:
    return (await streams.read(stream_id)).offset


async def test_text_grows_past_a_lost_offset(database: Database) -> None:
    async with PersistentTextStreaming(database.url) as streams:
        await streams.create("job", takeover_within_s=600)
        await write(streams, "job", "A1 ")
        kept = await here(streams, "job")
    await database.back_up()
    async with PersistentTextStreaming(database.url) as streams:
        await write(streams, "job", "A2 ", "A3 ")
        lost = await here(streams, "job")
    await database.restore()
    async with PersistentTextStreaming(database.url) as streams:
        async with streams.write("job", takeover=True) as handle:
            for text in ("B2 ", "B3 ", "B4 "):
                await handle.append(text)
                await handle.flush()
        with pytest.raises(OffsetGone):
            await read_on(streams, "job", lost)
        assert "".join((await read_on(streams, "job", kept))[0]) == "B2 B3 B4 "
        assert (await streams.read("job")).text == "A1 B2 B3 B4 "


async def test_log_grows_past_a_lost_offset(database: Database) -> None:
    async with PersistentTextStreaming(database.url) as streams:
        await streams.create("log", kind="log")
        kept = await streams.post("log", "A1 ")
    await database.back_up()
    async with PersistentTextStreaming(database.url) as streams:
        lost = await streams.post("log", "A2 ")
    await database.restore()
    async with PersistentTextStreaming(database.url) as streams:
        found = [await streams.post("log", text) for text in ("B2 ", "B3 ")]
        await streams.close("log")
        with pytest.raises(OffsetGone):
            await read_on(streams, "log", str(lost))
        assert "".join((await read_on(streams, "log", str(kept)))[0]) == "B2 B3 "
        assert "".join((await read_on(streams, "log", str(found[0])))[0]) == "B3 "


async def test_reused_internal_id_is_a_fault(database: Database) -> None:
    async with PersistentTextStreaming(database.url) as streams:
        await streams.create("before")
    await database.back_up()
    offsets: list[str] = []
    async with PersistentTextStreaming(database.url) as streams:
        await streams.create("chat")
        async with streams.write("chat") as handle:
            await handle.append("old ")
            await handle.flush()
            offsets.append(await here(streams, "chat"))
        offsets.append(await here(streams, "chat"))
    assert offsets[1].endswith(".end")
    await database.restore()
    async with PersistentTextStreaming(database.url) as streams:
        await streams.create("chat")
        async with streams.write("chat") as handle:
            await handle.append("new ")
        again = await here(streams, "chat")
        assert Offset.parse(again).internal_id == Offset.parse(offsets[0]).internal_id
        for offset in offsets:
            with pytest.raises(OffsetGone):
                await read_on(streams, "chat", offset)


async def test_lost_end_is_not_seen(database: Database) -> None:
    """G5: if a restore lost the end of a stream, the offset of this end is refused.

    This holds even after the stream has ended again.
    """
    async with PersistentTextStreaming(database.url) as streams:
        await streams.create("s", takeover_within_s=600)
        await write(streams, "s", "text")
        kept = await here(streams, "s")
    await database.back_up()
    async with PersistentTextStreaming(database.url) as streams:
        async with streams.write("s", takeover=True):
            pass
        lost = await here(streams, "s")
    await database.restore()
    async with PersistentTextStreaming(database.url) as streams:
        with pytest.raises(OffsetGone):
            await read_on(streams, "s", lost)
        await streams.cancel("s")
        with pytest.raises(OffsetGone):
            await read_on(streams, "s", lost)
        assert (await read_on(streams, "s", kept))[0] == []


async def test_forks_across_a_restore(database: Database) -> None:
    store = _store(database)
    await store.open("one")
    source = await store.create(new("source", kind=Kind.LOG))
    await append(store, source, "A1")
    await store.close()
    await database.back_up()
    store = _store(database)
    await store.open("two")
    await append(store, source, "A2", "A3")
    lost = await store.create(_fork(source.internal_id, 2))
    await store.close()
    await database.restore()
    store = _store(database)
    await store.open("three")
    try:
        await append(store, source, "B2", "B3")
        again = await store.create(_fork(source.internal_id, 2))
        assert again.internal_id == lost.internal_id
        assert not Offset.at(lost, 2).lies_in(again)
        assert Offset.at(lost, 1).lies_in(again), "the messages inherited before the restore remain"
        found = await state_of(store, "source")
        assert again.runs[:2] == found.runs[:2]
    finally:
        await store.close()


def _fork(source: int, position: int) -> NewStream:
    return new("fork", kind=Kind.LOG, fork=Fork(source, position))


def _store(database: Database) -> SQLiteStore | PostgresStore:
    make = SQLiteStore if database.url.startswith("sqlite") else PostgresStore
    return make(database.url)


async def test_sqlite_restored_in_place(tmp_path: Path) -> None:
    """The next commit notices the restore, because the largest id of a live row became smaller."""
    database = sqlite_database(tmp_path / "streams.db")
    async with PersistentTextStreaming(database.url) as streams:
        await streams.create("log", kind="log")
        kept = await streams.post("log", "A1 ")
        await database.back_up()
        lost = [await streams.post("log", text) for text in ("A2 ", "A3 ")]
        follow = streams.follow("log", str(lost[-1]))
        waiting = anext(follow)
        copy_of(tmp_path / "streams.copy", tmp_path / "streams.db")
        for text in ("B2 ", "B3 ", "B4 "):
            await streams.post("log", text)
        with pytest.raises(OffsetGone):
            await waiting
        for offset in lost:
            with pytest.raises(OffsetGone):
                await anext(streams.follow("log", str(offset)))
        assert await anext(streams.follow("log", str(kept))) == "B2 B3 B4 "


@pytest.mark.parametrize("version", postgres_server.versions())
async def test_postgres_restored_in_place(version: str) -> None:
    """A restore lowers the stored number of beats, so the next beat draws a new generation."""
    server = postgres_server.server(version)
    url = await server.make_database()
    store = PostgresStore(url)
    await store.open("one")
    try:
        state = await store.create(new(kind=Kind.LOG))
        before = await append(store, state, "A")
        for _ in range(3):
            await store.heartbeat(beat=True)
        assert (await append(store, state, "A")).generation == before.generation
        connection = await asyncpg.connect(url)
        await connection.execute("UPDATE inkstream.generation SET beats = 1")
        await connection.close()
        await store.heartbeat(beat=True)
        assert (await append(store, state, "B")).generation != before.generation
        after = (await state_of(store)).runs[-1].generation
        await store.heartbeat(beat=True)
        assert (await append(store, state, "B")).generation == after
    finally:
        await store.close()
        await server.drop_database(url)


async def test_postgres_draws_only_after_a_server_restart() -> None:
    """A crash or a restart of the server changes the generation, because commits may be lost.

    If only the store's connections end, no commits are lost, and the generation stays.
    """
    server = postgres_server.own_server()
    try:
        url = await server.make_database()
        store = PostgresStore(url)
        await store.open("one")
        try:
            state = await store.create(new(kind=Kind.LOG))
            seen = [(await append(store, state, "x")).generation]
            await server.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                " WHERE application_name = 'inkstream'"
            )
            seen.append(await _appended(store))
            assert seen[1] == seen[0]
            for how in (signal.SIGQUIT, signal.SIGINT):
                server.stop(how)
                server.start()
                seen.append(await _appended(store))
            assert len(set(seen)) == 3
            runs = (await state_of(store)).runs
            assert [run.generation for run in runs] == [seen[0], *seen[2:]]
        finally:
            await store.close()
    finally:
        server.destroy()


async def _appended(store: PostgresStore) -> int:
    for _ in range(20):
        try:
            state = await state_of(store)
            return (await append(store, state, "x")).generation
        except StoreUnavailable:
            continue
    raise AssertionError("the store did not come back")
