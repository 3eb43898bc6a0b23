"""Hints arrive within a process, and between the programs that use one SQLite file."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Collection
from pathlib import Path
from typing import Any

import pytest

from inkstream import wire
from inkstream._types import Change, End, Group, Kind, NewStream, Status, StreamId, StreamState
from inkstream.notifiers.local import LocalNotifier
from inkstream.notifiers.sqlite import SQLiteNotifier
from inkstream.stores.sqlite import SQLiteStore
from inkstream.stores.sqlite._connection import SQL
from inkstream.stores.sqlite._foreign_commits import ForeignCommits
from inkstream.stores.sqlite._open_files import FileId
from inkstream.stores.sqlite._write_thread import Watch

Hints = asyncio.Queue[Collection[StreamId] | None]


async def hint(hints: Hints) -> set[str] | None:
    async with asyncio.timeout(5):
        got = await hints.get()
    return None if got is None else set(got)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "streams.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SQLiteStore]:
    store = SQLiteStore(path)
    await store.open("here")
    yield store
    await store.close()


@pytest.fixture
async def other(path: Path, store: SQLiteStore) -> AsyncIterator[SQLiteStore]:
    store = SQLiteStore(path)
    await store.open("there")
    yield store
    await store.close()


@pytest.fixture
async def hints(store: SQLiteStore) -> AsyncIterator[Hints]:
    """Provide the hints of a notifier for ``store``, except the hint that it gives at its start."""
    queue: Hints = asyncio.Queue()
    notifier = SQLiteNotifier(store)
    await notifier.open(queue.put_nowait)
    notifier.watch(True)
    assert await hint(queue) is None
    yield queue
    await notifier.close()


async def create(store: SQLiteStore, name: str) -> StreamState:
    new = NewStream(stream_id=StreamId(name), kind=Kind.LOG, created_at=0.0)
    return await store.create(new)


def appending(state: StreamState) -> list[Group]:
    (segment,) = wire.encode_messages(["text"], 0)
    return [Group((Change(internal_id=state.internal_id, append=segment),))]


def ending(state: StreamState) -> list[Group]:
    return [Group((Change(internal_id=state.internal_id, end=End(Status.DONE), at=1.0),))]


async def test_foreign_changes_are_reported(other: SQLiteStore, hints: Hints) -> None:
    first, second = await create(other, "first"), await create(other, "second")
    named: set[str] = set()
    while named != {"first", "second"}:
        named |= await hint(hints) or set()
    for change, state in ((appending, second), (ending, first)):
        await other.commit(change(state))
        assert await hint(hints) == {state.stream_id}
    await other.delete([second.internal_id])
    assert await hint(hints) == {"second"}


async def test_own_changes_cause_no_hint(
    store: SQLiteStore, other: SQLiteStore, hints: Hints
) -> None:
    """A process that got hints of its own changes would read its streams again at each commit."""
    mine, theirs = await create(store, "mine"), await create(other, "theirs")
    named: set[str] = set()
    while "theirs" not in named:
        named |= await hint(hints) or set()
    for _ in range(20):
        await store.commit(appending(mine))
    looked = asyncio.Event()
    loop = asyncio.get_running_loop()
    # Let the notifier look at the file twice, because its first look may precede the last commit.
    for _ in range(2):
        looked.clear()
        store._open_threads().write.watch(
            wrap(store._open_threads().write._watch, lambda: loop.call_soon_threadsafe(looked.set))
        )
        await asyncio.wait_for(looked.wait(), 5)
    assert hints.empty()
    await other.commit(appending(theirs))
    assert await hint(hints) == {"theirs"}


def wrap(look: Watch | None, then: Callable[[], object]) -> Watch:
    assert look is not None

    def both(connection: sqlite3.Connection, file: FileId | None) -> bool:
        news = look(connection, file)
        then()
        return news

    return both


async def test_changes_through_the_applications_connection(
    store: SQLiteStore, path: Path, hints: Hints
) -> None:
    """A commit through the application's connection causes a hint, even in the same process."""

    def create_through() -> None:
        connection = sqlite3.connect(path)
        call = store.create(
            NewStream(stream_id=StreamId("s"), created_at=0.0), connection=connection
        )
        with pytest.raises(StopIteration):
            call.send(None)
        connection.commit()
        connection.close()

    await asyncio.to_thread(create_through)
    assert await hint(hints) == {"s"}


class Failing(sqlite3.Connection):
    """A connection whose statement ``fails`` raises an error."""

    fails: str | None = None

    def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
        if sql == self.fails:
            raise sqlite3.OperationalError("disk I/O error")
        return super().execute(sql, *args)


@pytest.mark.parametrize(
    "fails", ["BEGIN", "ends", "journal_begin", "appended_since", "changed_since", "COMMIT"]
)
async def test_failed_look_loses_no_change(other: SQLiteStore, path: Path, fails: str) -> None:
    """If a look at the file fails, the next look finds the changes."""
    changed = await create(other, "s")
    changes = ForeignCommits()

    def look(fails: str | None = None) -> list[StreamId] | None:
        # After an error, the store opens another connection.
        connection = sqlite3.connect(path, isolation_level=None, factory=Failing)
        connection.fails = fails
        try:
            return changes.look(connection, None)
        finally:
            connection.close()

    assert await asyncio.to_thread(look) is None
    await other.commit(appending(changed))
    with pytest.raises(sqlite3.OperationalError):
        await asyncio.to_thread(look, getattr(SQL, fails, fails))
    assert await asyncio.to_thread(look) == ["s"]
    assert await asyncio.to_thread(look) == []


async def test_watch_reports_earlier_changes(store: SQLiteStore, other: SQLiteStore) -> None:
    queue: Hints = asyncio.Queue()
    notifier = SQLiteNotifier(store)
    await notifier.open(queue.put_nowait)
    notifier.watch(True)
    assert await hint(queue) is None
    notifier.watch(False)
    state = await create(other, "s")
    for _ in range(3):
        await other.commit(appending(state))
    assert queue.empty()
    notifier.watch(True)
    assert await hint(queue) == {"s"}
    await notifier.close()


async def test_appends_after_a_cleanup_are_reported(store: SQLiteStore, other: SQLiteStore) -> None:
    """New live rows must have larger ids than deleted ones, or a notifier would miss appends."""
    first, second = await create(other, "first"), await create(other, "second")
    for _ in range(5):
        await other.commit(appending(first))
    queue: Hints = asyncio.Queue()
    notifier = SQLiteNotifier(store)
    await notifier.open(queue.put_nowait)
    notifier.watch(True)
    assert await hint(queue) is None
    notifier.watch(False)
    await store.create(NewStream(stream_id=StreamId("barrier"), created_at=0.0))
    await other.delete([first.internal_id])
    await other.commit(appending(second))
    notifier.watch(True)
    assert "second" in (await hint(queue) or ())
    await notifier.close()


async def test_merged_appends_are_still_reported(store: SQLiteStore, other: SQLiteStore) -> None:
    state = await create(other, "s")
    queue: Hints = asyncio.Queue()
    notifier = SQLiteNotifier(store)
    await notifier.open(queue.put_nowait)
    notifier.watch(True)
    assert await hint(queue) is None
    notifier.watch(False)
    await store.create(NewStream(stream_id=StreamId("barrier"), created_at=0.0))
    await other.commit(
        [
            Group((Change(internal_id=state.internal_id, append=segment),))
            for segment in wire.encode_messages(["x" * 60_000] * 5, 0)
        ]
    )
    await other.tidy(1.0, 1 << 20)
    notifier.watch(True)
    assert "s" in (await hint(queue) or ())
    await notifier.close()


async def test_too_many_changes_mean_any_stream(
    store: SQLiteStore, other: SQLiteStore, hints: Hints
) -> None:
    state = await create(other, "s")
    while await hint(hints) != {"s"}:
        pass
    for _ in range(2):
        await other.commit(appending(state) * 5000)
        assert await hint(hints) is None


async def test_closed_notifier_is_silent(store: SQLiteStore, other: SQLiteStore) -> None:
    calls: list[object] = []
    notifier = SQLiteNotifier(store)
    await notifier.open(calls.append)
    notifier.watch(True)
    await notifier.close()
    before = len(calls)
    await create(other, "s")
    await create(store, "t")  # an open notifier would look at the file now
    await asyncio.sleep(0)
    assert len(calls) == before
    await notifier.notify([StreamId("s")])


async def test_local_hints_reach_all_others_of_the_database() -> None:
    queues: dict[str, Hints] = {name: asyncio.Queue() for name in ("a", "b", "elsewhere")}
    notifiers = {name: LocalNotifier("one" if name != "elsewhere" else "two") for name in queues}
    for name, notifier in notifiers.items():
        await notifier.open(queues[name].put_nowait)
        notifier.watch(True)
    await notifiers["a"].notify([StreamId("s")])
    assert await hint(queues["b"]) == {"s"}
    await notifiers["b"].close()
    await notifiers["a"].notify([StreamId("t")])
    await asyncio.sleep(0)
    assert all(queue.empty() for queue in queues.values())
    for notifier in notifiers.values():
        await notifier.close()


async def test_local_hints_cross_event_loops() -> None:
    queue: Hints = asyncio.Queue()
    here = LocalNotifier("db")
    await here.open(queue.put_nowait)

    async def tell() -> None:
        there = LocalNotifier("db")
        await there.open(lambda _: None)
        await there.notify([StreamId("s")])
        await there.close()

    await asyncio.to_thread(asyncio.run, tell())
    assert await hint(queue) == {"s"}
    await here.close()
