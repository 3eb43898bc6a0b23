"""Several processes can share one SQLite file, even if some of the processes die."""
# ruff: noqa: ASYNC240  (these tests may block, because nothing else runs on their loop)

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from inkstream import wire
from inkstream._errors import StoreUnavailable
from inkstream._types import Change, End, Group, Kind, NewStream, Status, StreamId
from inkstream.stores.sqlite import SQLiteStore
from inkstream.stores.sqlite._connection import Settings, connect, create_file, ensure_schema
from inkstream.stores.sqlite._locks import WritersLock
from inkstream.testing.store_suite.harness import EVERYTHING

SCRIPT = str(Path(__file__).with_name("sqlite_process.py"))

Start = Callable[[str, str], Awaitable["Process"]]


class Process:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.pid = process.pid

    async def line(self) -> str:
        assert self._process.stdout is not None
        return (await self._process.stdout.readline()).decode().strip()

    async def go(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(b"go\n")
        await self._process.stdin.drain()

    async def lines(self) -> list[str]:
        """Wait until the process ends. Return the rest of its output."""
        assert self._process.stdout is not None
        return (await self._process.stdout.read()).decode().split()

    def close_stdin(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()

    async def kill(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "streams.db"


@pytest.fixture
async def start(database: Path) -> AsyncIterator[Start]:
    started: list[Process] = []

    async def start(what: str, worker: str) -> Process:
        process = Process(
            await asyncio.create_subprocess_exec(
                *(sys.executable, SCRIPT, what, str(database), worker),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
        )
        started.append(process)
        return process

    yield start
    for process in started:
        await process.kill()
        process.close_stdin()
        await process.lines()


@pytest.fixture
async def store(database: Path) -> AsyncIterator[SQLiteStore]:
    store = SQLiteStore(database)
    await store.open("test")
    yield store
    await store.close()


async def locks(store: SQLiteStore) -> dict[str, bool | None]:
    return {state.worker: state.locked for state in await store.heartbeat(beat=False)}


async def until_free(store: SQLiteStore, worker: str, within_s: float) -> float:
    """Wait until the worker's lock is free. Return the seconds that passed."""
    begin = time.monotonic()
    while (await locks(store))[worker] is not False:
        assert time.monotonic() - begin < within_s, "the lock is still held"
        await asyncio.sleep(0.005)
    return time.monotonic() - begin


async def test_first_opens_at_once_make_one_schema(start: Start) -> None:
    processes = [await start("hold", f"w{number}") for number in range(4)]
    assert [await process.line() for process in processes] == ["ready"] * 4


async def test_one_claim_of_many_processes_wins(store: SQLiteStore, start: Start) -> None:
    """G3, G4: if several processes claim the same stream, exactly one claim succeeds."""
    for number in range(20):
        await store.create(NewStream(stream_id=StreamId(f"s{number}"), created_at=0.0))
    processes = [await start("claim", f"w{number}") for number in range(3)]
    for process in processes:
        assert await process.line() == "ready"
    for process in processes:
        await process.go()
    won = Counter[str]()
    for process in processes:
        won.update(await process.lines())
    assert won == Counter(str(number) for number in range(20))


async def test_kill_9_loses_nothing_acknowledged(store: SQLiteStore, start: Start) -> None:
    """G1, G2: the numbers that a killed process had acknowledged are stored, without a gap."""
    new = NewStream(stream_id=StreamId("log"), kind=Kind.LOG, created_at=0.0)
    await store.create(new)
    for round_ in range(2):
        processes = {name: await start("append", name) for name in (f"a{round_}", f"b{round_}")}
        for process in processes.values():
            assert await process.line() == "ready"
        for process in processes.values():
            await process.go()
        acknowledged: dict[str, int] = {}
        for name, process in processes.items():
            for _ in range(20):
                acknowledged[name] = int(await process.line())
        for process in processes.values():
            os.kill(process.pid, signal.SIGKILL)
        for name, process in processes.items():
            acknowledged[name] = max([acknowledged[name], *map(int, (await process.lines())[:-1])])
        page = await store.read(StreamId("log"), 0, EVERYTHING)
        messages = [
            json.loads(message.raw)
            for message in wire.decode_messages(page.segments)
            if isinstance(message, wire.RawJSON)
        ]
        assert len(messages) == page.state.tail
        for name, last in acknowledged.items():
            numbers = [number for writer, number in messages if writer == name]
            assert numbers == list(range(len(numbers)))
            assert len(numbers) > last


async def test_merge_while_another_process_reads(store: SQLiteStore, start: Start) -> None:
    """G2: if another process reads during merges, it gets the messages in order, without a gap."""
    state = await store.create(NewStream(stream_id=StreamId("numbers"), created_at=0.0))
    follower = await start("follow", "other")
    assert await follower.line() == "ready"
    await follower.go()
    for start_at in range(0, 1000, 10):
        segments = [wire.encode_messages([f"{start_at + n}".ljust(1000)], 0)[0] for n in range(10)]
        changes = [Change(internal_id=state.internal_id, append=one) for one in segments]
        await store.commit([Group((change,)) for change in changes])
        await store.tidy(0.0, 1 << 20)
    await store.commit(
        [Group((Change(internal_id=state.internal_id, end=End(Status.DONE), at=1.0),))]
    )
    counts = [int(line) for line in await follower.lines()]
    assert counts == sorted(counts)
    assert counts[-1] == 1000
    assert len(set(counts)) > 3, "the log was not read during the writes"


async def test_a_killed_process_is_seen_at_once(store: SQLiteStore, start: Start) -> None:
    """G7: other processes see within a second that the lock of a killed process is free."""
    process = await start("hold", "victim")
    assert await process.line() == "ready"
    assert (await locks(store))["victim"] is True
    os.kill(process.pid, signal.SIGKILL)
    assert await until_free(store, "victim", 2.0) < 1.0


async def test_a_stopped_process_is_not_taken_for_dead(store: SQLiteStore, start: Start) -> None:
    """G7: a stopped process keeps its lock, so other workers do not take it for dead."""
    process = await start("hold", "sleeper")
    assert await process.line() == "ready"
    os.kill(process.pid, signal.SIGSTOP)
    assert (await locks(store))["sleeper"] is True
    os.kill(process.pid, signal.SIGCONT)


async def test_a_forked_child_does_not_keep_the_lock(store: SQLiteStore, start: Start) -> None:
    """G7: if a parent is killed, its forked child keeps none of the parent's locks."""
    process = await start("fork", "parent")
    assert await process.line() == "ready"
    await process.go()
    child = int(await process.line())
    os.kill(process.pid, signal.SIGKILL)
    await until_free(store, "parent", 2.0)
    os.kill(child, 0)  # raises if the child is dead
    await store.create(NewStream(stream_id=StreamId("after"), created_at=0.0))
    process.close_stdin()


async def test_the_file_of_a_forgotten_worker_is_removed(
    store: SQLiteStore, start: Start, database: Path
) -> None:
    process = await start("hold", "a/b")
    assert await process.line() == "ready"
    directory = Path(f"{database}-workers")
    assert len(list(directory.iterdir())) == 2
    await process.kill()
    await until_free(store, "a/b", 2.0)
    states = await store.heartbeat(beat=False, forget=["a/b"])
    assert "a/b" not in {state.worker for state in states}
    assert len(list(directory.iterdir())) == 1


async def test_lock_of_another_host_is_unknown(
    store: SQLiteStore, start: Start, database: Path
) -> None:
    """G7: if a worker runs on another host, a store reports the state of its lock as unknown."""
    process = await start("hold", "far")
    assert await process.line() == "ready"
    await process.kill()
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE inkstream_workers SET host = 'elsewhere' WHERE worker = 'far'")
    connection.close()
    assert (await locks(store))["far"] is None


async def test_a_lost_lock_is_taken_again(database: Path, store: SQLiteStore) -> None:
    """G7: if a lock file is missing, the state of the lock is unknown, not free.

    The worker's next beat creates the file again.
    """
    other = SQLiteStore(database)
    await other.open("other")
    try:
        await other.heartbeat(beat=True)
        for file in Path(f"{database}-workers").iterdir():
            file.unlink()
        assert (await locks(store))["other"] is None
        await other.heartbeat(beat=True)
        assert (await locks(store))["other"] is True
    finally:
        await other.close()


def test_concurrent_schema_creation_without_locks(tmp_path: Path) -> None:
    """Where no lock file works (Windows), two connections may create the tables simultaneously."""
    path = tmp_path / "streams.db"
    create_file(path)
    first, second = (connect(Settings(path, "full", 1.0), read_only=False) for _ in range(2))

    def come_first(statement: str) -> None:
        if statement.startswith("BEGIN"):
            second.set_trace_callback(None)
            ensure_schema(first, path)

    second.set_trace_callback(come_first)
    ensure_schema(second, path)
    assert second.execute("SELECT count(*) FROM inkstream_meta").fetchone()[0] > 0
    first.close()
    second.close()


async def test_a_question_waits_for_no_writer(database: Path) -> None:
    """A store can open and read a file while another program keeps the locks for writing.

    So `inkstream show` still works if such a program is the cause of an outage.
    """
    first = SQLiteStore(database)
    await first.open("first")
    await first.create(NewStream(stream_id=StreamId("kept"), created_at=0.0))
    await first.close()
    lock = WritersLock(database)
    await asyncio.to_thread(lock.acquire)
    other = sqlite3.connect(database, isolation_level=None)
    with contextlib.closing(other), contextlib.closing(lock):
        other.execute("BEGIN IMMEDIATE")
        asking = SQLiteStore(database)
        await asking.open("asking")
        page = await asking.read(StreamId("kept"), 0, 0)
        await asking.close()
    assert page.state.stream_id == "kept"


async def test_a_locked_file_is_waited_for_once(database: Path) -> None:
    """If the first read of ``open`` waits in vain for a locked file, ``open`` raises.

    It does not wait for the writers' lock too.
    """
    first = SQLiteStore(database)
    await first.open("first")
    await first.close()
    lock = WritersLock(database)
    await asyncio.to_thread(lock.acquire)
    other = sqlite3.connect(database, isolation_level=None)
    with contextlib.closing(other), contextlib.closing(lock):
        other.execute("PRAGMA locking_mode=EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        asking = SQLiteStore(database, busy_s=0.1, wait_s=5.0)
        with pytest.raises(StoreUnavailable, match="another program keeps it locked"):
            await asking.open("asking")
