"""The store turns errors of SQLite into errors of inkstream, and works again after an error."""
# ruff: noqa: ASYNC240  (these tests may block, because nothing else runs on their loop)

from __future__ import annotations

import asyncio
import ctypes
import os
import resource
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from unittest.mock import Mock

import pytest

from inkstream import wire
from inkstream._errors import (
    InvalidInput,
    NotRunning,
    OutcomeUnknown,
    SchemaOutdated,
    StoreUnavailable,
    StreamNotFound,
)
from inkstream._types import Change, Committed, Group, Kind, NewStream, Outcome, StreamId
from inkstream.stores.sqlite import SQLiteStore, _connection
from inkstream.stores.sqlite._jobs import Job
from inkstream.stores.sqlite._locks import WritersLock
from inkstream.testing.store_suite.harness import EVERYTHING, text_in
from tests.prerequisites import missing, program


def new(name: str = "s", **fields: object) -> NewStream:
    return NewStream(stream_id=StreamId(name), kind=Kind.LOG, created_at=0.0, **fields)  # type: ignore[arg-type]


async def append(store: SQLiteStore, text: str, internal_id: int = 1) -> Outcome:
    (segment,) = wire.encode_messages([text], 0)
    (outcome,) = await store.commit([Group((Change(internal_id=internal_id, append=segment),))])
    return outcome


async def text_of(store: SQLiteStore, name: str = "s") -> str:
    return await text_in(store, name)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "streams.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SQLiteStore]:
    store = SQLiteStore(path, busy_s=0.05, wait_s=5.0)
    await store.open("one")
    yield store
    await store.close()


@pytest.mark.parametrize(
    "url",
    [":memory:", "", "sqlite://", "sqlite:///:memory:", "postgresql://host/db", "file:x?mode=ro"],
)
def test_non_file_urls_are_refused(url: str) -> None:
    with pytest.raises(InvalidInput):
        SQLiteStore(url)


def test_urls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert SQLiteStore("sqlite:///a%20b.db").path == tmp_path / "a b.db"
    assert SQLiteStore(f"sqlite:///{tmp_path}/c.db").path == tmp_path / "c.db"
    assert SQLiteStore("d.db").path == tmp_path / "d.db"


async def test_a_store_that_is_not_open(path: Path) -> None:
    store = SQLiteStore(path)
    with pytest.raises(NotRunning):
        await store.create(new())
    with pytest.raises(NotRunning):
        await store.read(StreamId("s"), 0, 0)


async def refuses_to_open(path: Path, error: type[Exception], match: str) -> None:
    store = SQLiteStore(path, busy_s=0.05)
    with pytest.raises(error, match=match):
        await store.open("one")
    with pytest.raises(NotRunning):
        await store.create(new())


async def test_no_directory(tmp_path: Path) -> None:
    await refuses_to_open(tmp_path / "no" / "s.db", StoreUnavailable, "create it first")


async def test_not_a_database(path: Path) -> None:
    path.write_bytes(b"this is a text, and a long one, but not a database" * 100)
    await refuses_to_open(path, StoreUnavailable, "not a SQLite database")
    assert path.read_bytes().startswith(b"this is a text")


async def test_path_is_a_directory(path: Path) -> None:
    path.mkdir()
    await refuses_to_open(path, StoreUnavailable, "cannot be opened")


@pytest.mark.parametrize(
    ("filesystem", "why"),
    [
        *[(name, "network filesystem") for name in ("nfs4", "ceph", "lustre", "smb3")],
        *[(name, "machine's host") for name in ("9p", "drvfs", "virtiofs", "grpcfuse")],
        *[(name, "in user space") for name in ("fuse", "fuse.sshfs", "fuse.osxfs", "fuse.rclone")],
    ],
)
async def test_filesystem_without_safe_locks(
    path: Path, monkeypatch: pytest.MonkeyPatch, filesystem: str, why: str
) -> None:
    """G1, G3: the store refuses a file if other machines or processes may not see its locks."""
    monkeypatch.setattr(_connection, "_filesystem_of", lambda _: filesystem)
    await refuses_to_open(path, StoreUnavailable, f"{why}.*local disk")
    assert not path.exists()


@pytest.mark.parametrize(
    "filesystem", [None, "ext4", "xfs", "btrfs", "zfs", "overlay", "tmpfs", "fuseblk", "apfs"]
)
async def test_a_local_filesystem(
    path: Path, monkeypatch: pytest.MonkeyPatch, filesystem: str | None
) -> None:
    monkeypatch.setattr(_connection, "_filesystem_of", lambda _: filesystem)
    store = SQLiteStore(path)
    await store.open("one")
    await store.close()


async def test_newer_schema_is_refused(path: Path, store: SQLiteStore) -> None:
    await store.close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE inkstream_meta SET value = 2 WHERE key = 'schema_version'")
    connection.close()
    await refuses_to_open(path, SchemaOutdated, "upgrade the package")


async def test_missing_table(path: Path, store: SQLiteStore) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TABLE inkstream_marks")
    connection.close()
    await store.create(new())
    with pytest.raises(SchemaOutdated):
        await store.read(StreamId("s"), 0, 0, marks=["m"])


async def test_shared_file_keeps_the_applications_data(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE users (name TEXT)")
        connection.execute("PRAGMA user_version = 41")
    store = SQLiteStore(path)
    await store.open("one")
    try:
        await store.create(new())
        await store.tidy(0.0, 1 << 20)
    finally:
        await store.close()
    assert connection.execute("PRAGMA user_version").fetchone() == (41,)
    assert connection.execute("SELECT count(*) FROM users").fetchone() == (0,)
    connection.close()


async def test_first_call_inside_an_open_transaction(path: Path) -> None:
    """If this process has an open transaction on the file, the error says so.

    Otherwise an operator would search for another program.
    """
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("BEGIN IMMEDIATE")
    await refuses_to_open(path, StoreUnavailable, "connection of this process's own")
    connection.close()


async def test_another_process_that_writes(path: Path, store: SQLiteStore) -> None:
    await store.create(new())
    held = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None); "
    held += "c.execute('BEGIN IMMEDIATE'); print(flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", held, str(path)]
    with subprocess.Popen(  # noqa: ASYNC220
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(
            StoreUnavailable, match=f"process {process.pid} has not ended|another program keeps"
        ):
            await append(store, "a")
        process.communicate()


async def test_a_program_that_holds_the_database(path: Path, store: SQLiteStore) -> None:
    """G12: an append that waits in vain for a locked file changes nothing, and later calls work."""
    await store.create(new())
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable, match="connection of this process's own"):
        await append(store, "a")
    assert await text_of(store) == ""
    connection.execute("ROLLBACK")
    connection.close()
    await append(store, "b")
    assert await text_of(store) == "b"


@pytest.fixture
async def impatient(path: Path) -> AsyncIterator[SQLiteStore]:
    store = SQLiteStore(path, wait_s=0.05)
    await store.open("impatient")
    yield store
    await store.close()


async def test_timed_out_call_never_runs(path: Path, impatient: SQLiteStore) -> None:
    """G12: if a call times out or is cancelled before it gets the writers' lock, it never runs."""
    store = impatient
    await store.create(new())
    lock = WritersLock(path)
    await asyncio.to_thread(lock.acquire)
    try:
        with pytest.raises(StoreUnavailable, match="lock"):
            await append(store, "never")
        cancelled = asyncio.ensure_future(append(store, "nor this"))
        await asyncio.sleep(0)
        cancelled.cancel()
        await asyncio.wait([cancelled])
    finally:
        lock.release()
        lock.close()
    await append(store, "then")
    assert await text_of(store) == "then"


async def test_a_close_does_not_wait_for_ever(
    path: Path, impatient: SQLiteStore, caplog: pytest.LogCaptureFixture
) -> None:
    """G8: ``close`` returns even if another process holds the writers' lock for ever."""
    await impatient.create(new())
    lock = WritersLock(path)
    await asyncio.to_thread(lock.acquire)
    try:
        waiting = asyncio.ensure_future(append(impatient, "never"))
        await asyncio.sleep(0)
        await asyncio.wait_for(impatient.close(), 5)
        with pytest.raises(StoreUnavailable):
            await waiting
    finally:
        lock.release()
        lock.close()
    assert "goes on waiting" in caplog.text
    again = SQLiteStore(path)
    await again.open("again")
    await append(again, "then")
    assert await text_of(again) == "then"
    await again.close()


async def test_a_close_lets_a_call_finish(path: Path, store: SQLiteStore) -> None:
    """G1: ``close`` waits for a call that waits for the writers' lock."""
    await store.create(new())
    lock = WritersLock(path)
    await asyncio.to_thread(lock.acquire)
    call = asyncio.ensure_future(append(store, "kept"))
    await asyncio.sleep(0)
    closing = asyncio.ensure_future(store.close())
    try:
        done, _ = await asyncio.wait([closing], timeout=1.5)
        assert not done, "closed although a call waits"
    finally:
        lock.release()
        lock.close()
    await asyncio.gather(call, closing)
    again = SQLiteStore(path)
    await again.open("again")
    assert await text_of(again) == "kept"
    await again.close()


async def test_a_slow_call_waits_for_no_lock(
    store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For a call that only runs long, nothing asks or logs who keeps the writers' lock."""
    blocked = threading.Event()
    job: Job[bool] = Job(lambda _: blocked.wait(5))
    writer = store._open_threads().write
    running = asyncio.ensure_future(writer.run(job, 5))
    async with asyncio.timeout(5):
        while not job.is_claimed:  # noqa: ASYNC110 - a thread claims the job
            await asyncio.sleep(0.001)
    asks = Mock()
    with monkeypatch.context() as patch:
        patch.setattr(asyncio.get_running_loop(), "run_in_executor", asks)
        writer._say(job)  # as the timer of the call does after a second
        assert not asks.called
    blocked.set()
    assert await running


async def test_reads_without_new_threads(
    store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No thread can start while an interpreter ends, so the existing threads do the reads."""
    await store.create(NewStream(stream_id=StreamId("s"), created_at=0.0))

    def refused(thread: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    await store.read(StreamId("s"), 0, 1)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refused)
        pages = await asyncio.gather(*[store.read(StreamId("s"), 0, 1) for _ in range(5)])
    assert [page.end for page in pages] == [0] * 5


async def test_invalid_call_does_not_affect_others(store: SQLiteStore) -> None:
    """Calls share a transaction, but a failed call does not undo the other calls."""
    calls = [store.create(new(str(n), owner="\ud800" if n == 3 else "o")) for n in range(6)]
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(result) for n, result in enumerate(results) if n == 3] == [InvalidInput]
    for n in (0, 1, 2, 4, 5):
        assert (await store.read(StreamId(str(n)), 0, 0)).state.owner == "o"
    with pytest.raises(StreamNotFound):
        await store.read(StreamId("3"), 0, 0)


@pytest.fixture
def file_size_limit() -> Iterator[None]:
    """Let each write beyond the first 400 kB of a file fail, as on a broken disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


async def fill(store: SQLiteStore, text: str) -> tuple[str, str | None]:
    """Append until an append fails. Return the acknowledged text.

    If the outcome of the failed append is unknown, also return its piece, and otherwise ``None``.
    """
    acknowledged = ""
    for number in range(200):
        piece = f"{number}{text}"
        try:
            assert isinstance(await append(store, piece), Committed)
        except OutcomeUnknown:
            return acknowledged, piece
        except StoreUnavailable:
            return acknowledged, None
        acknowledged += piece
    raise AssertionError("no append failed")


async def test_a_write_that_fails(store: SQLiteStore, path: Path, file_size_limit: None) -> None:
    """G1, G12: no acknowledged text is lost, and the store works again when the disk works."""
    await store.create(new())
    first, maybe_first = await fill(store, "x" * 20_000)
    again, maybe_again = await fill(store, "y" * 60_000)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    outcome = await append(store, "end")
    assert isinstance(outcome, Committed)
    assert await text_of(store) in {
        first + one + again + two + "end"
        for one in ("", maybe_first or "")
        for two in ("", maybe_again or "")
    }
    page = await store.read(StreamId("s"), 0, EVERYTHING)
    assert page.end == page.state.tail == outcome.heads[0].tail


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"tmpfs", os.fsencode(disk), b"tmpfs", 0, b"size=1m"):
        missing(f"mounting is not permitted here: {os.strerror(ctypes.get_errno())}")
    yield disk
    assert libc.umount(os.fsencode(disk)) == 0


async def test_a_full_disk(small_disk: Path) -> None:
    """G1, G12: on a full disk, appends fail and reads work.

    When the disk has room again, appends work again.
    """
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"0" * 300_000)
    store = SQLiteStore(small_disk / "s.db")
    await store.open("one")
    try:
        await store.create(new())
        acknowledged, unknown = await fill(store, "x" * 10_000)
        assert unknown is None, "on a full disk, the outcome must be known"
        assert await text_of(store) == acknowledged
        ballast.unlink()
        await append(store, "end")
        assert await text_of(store) == acknowledged + "end"
    finally:
        await store.close()


async def test_a_read_only_disk(small_disk: Path) -> None:
    store = SQLiteStore(small_disk / "s.db")
    await store.open("one")
    await store.close()
    remount, read_only = 32, 1
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.mount(b"", os.fsencode(small_disk), b"", remount | read_only, b"") == 0
    await refuses_to_open(small_disk / "s.db", StoreUnavailable, "not writable")


COMMITS = """
import asyncio, sys
from inkstream import wire
from inkstream._types import *
from inkstream._errors import *
from inkstream.stores.sqlite import SQLiteStore

def say(what, value):
    sys.stdout.write(f"{what} {value}\\n")  # in one system call, for the trace
    sys.stdout.flush()

async def main():
    store = SQLiteStore(sys.argv[1])
    await store.open("one")
    state = await store.create(NewStream(stream_id=StreamId("s"), created_at=0.0))
    for number in range(12):
        segment = wire.encode_messages([f"{number},"], 0)[0]
        try:
            await store.commit([Group((Change(internal_id=state.internal_id, append=segment),))])
            say("committed", number)
        except OutcomeUnknown:
            say("unknown", number)
            page = await store.read(StreamId("s"), 0, 1 << 20)
            say("found", page.end)
    page = await store.read(StreamId("s"), 0, 1 << 20)
    say("text", "".join(wire.decode_messages(page.segments)))
    await store.close()

asyncio.run(main())
"""


def run_traced(path: Path, trace: Path, *options: str) -> list[list[str]]:
    """Run ``COMMITS`` under strace. Return the lines that it printed."""
    done = subprocess.run(
        [
            *(program("strace"), "-f", "-qq", "-y", "-s", "40", "-o", str(trace)),
            *("-e", "trace=fdatasync,ftruncate,write", *options),
            *(sys.executable, "-c", COMMITS, str(path)),
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=20,
    )
    return [line.split(maxsplit=1) for line in done.stdout.splitlines()]


def test_a_failed_fsync_is_not_trusted_again(tmp_path: Path) -> None:
    """G1: after a failed fsync, the outcome of the commit is unknown.

    The next fsync of the ``-wal`` file would report success, although some of its pages were not
    written. So before a read, the store must move the content of the ``-wal`` file into the
    database.
    """
    trace = tmp_path / "trace"
    run_traced(tmp_path / "healthy.db", trace)
    begin = trace.read_text().split('"committed 4')[0]
    fsyncs = begin.count("fdatasync(")
    said = run_traced(
        tmp_path / "s.db", trace, "-e", f"inject=fdatasync:error=EIO:when={fsyncs + 1}"
    )
    unknown = [value for what, value in said if what == "unknown"]
    committed = [value for what, value in said if what == "committed"]
    assert len(unknown) == 1
    (text,) = [value for what, value in said if what == "text"]
    present = text.rstrip(",").split(",")
    assert [number for number in present if number not in unknown] == committed
    (found,) = [int(value) for what, value in said if what == "found"]
    assert found == len([number for number in present if int(number) <= int(unknown[0])])
    after = trace.read_text().split("(INJECTED)")[1].splitlines()
    begun_anew = next(number for number, line in enumerate(after) if "-wal>, 0)" in line)
    seen = next(number for number, line in enumerate(after) if '"found' in line)
    assert begun_anew < seen
