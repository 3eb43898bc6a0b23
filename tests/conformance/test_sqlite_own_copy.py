"""A process that copies its own database with ``shutil.copy`` loses SQLite's locks, but no text."""
# ruff: noqa: ASYNC240  (these tests may block, because nothing else runs on their loop)

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from inkstream import wire
from inkstream._errors import StoreUnavailable
from inkstream._types import Change, Committed, Group, Kind, NewStream, StreamId
from inkstream.stores.sqlite import SQLiteStore, check_streams
from inkstream.testing.store_suite.harness import text_in

pytestmark = pytest.mark.skipif(
    sys.platform != "linux",
    reason="only Linux has locks that survive a close of the same file by the same process",
)

COME_AND_GO = """
import os, sqlite3, sys
times, parent = int(sys.argv[2]), os.getppid()
while times and os.getppid() == parent:
    times -= 1
    connection = sqlite3.connect(sys.argv[1])
    connection.execute("SELECT * FROM inkstream_meta").fetchall()
    connection.close()
"""
FILES = {
    "the database": [""],
    "database and log": ["", "-wal"],
    "all": ["", "-wal", "-shm", "-inkstream-lock", "-workers/one.lock"],
}


def copy(path: Path, which: str) -> None:
    """Open and close the files, as a copy does."""
    for suffix in FILES[which]:
        Path(f"{path}{suffix}").read_bytes()


async def append(store: SQLiteStore, text: str) -> None:
    (segment,) = wire.encode_messages([text], 0)
    (outcome,) = await store.commit([Group((Change(internal_id=1, append=segment),))])
    assert isinstance(outcome, Committed)


async def opened(path: Path, worker: str) -> SQLiteStore:
    store = SQLiteStore(path)
    await store.open(worker)
    return store


@pytest.mark.parametrize("which", FILES)
async def test_outsiders_come_and_go(tmp_path: Path, which: str) -> None:
    """G1, G2: if another program closes the file after a copy, the ``-wal`` file stays.

    By copying, the process loses SQLite's locks. Without a lock of the store, the other program
    would take itself for the last user of the database, and remove the ``-wal`` file with the
    newest text.
    """
    path = tmp_path / "streams.db"
    store = await opened(path, "one")
    await store.create(NewStream(stream_id=StreamId("s"), kind=Kind.LOG, created_at=0.0))
    await append(store, "first ")
    log = Path(f"{path}-wal").stat().st_ino
    written = "first "
    for number in range(3):
        copy(path, which)
        command = [sys.executable, "-c", COME_AND_GO, str(path), "1"]
        await asyncio.to_thread(subprocess.run, command, check=True, timeout=20)
        assert Path(f"{path}-wal").stat().st_ino == log, (
            "the log was removed while a writer used it"
        )
        await append(store, f"{number} ")
        written += f"{number} "
        assert await text_in(store, "s") == written
    await store.close()
    assert not Path(f"{path}-wal").exists(), "the last connection must remove the log"
    assert await asyncio.to_thread(check_streams, path) == []


async def test_outsiders_come_and_go_all_the_time(tmp_path: Path) -> None:
    """G1: if another program opens and closes the file during commits, no text is lost."""
    path = tmp_path / "streams.db"
    store = await opened(path, "one")
    await store.create(NewStream(stream_id=StreamId("s"), kind=Kind.LOG, created_at=0.0))
    outsider = await asyncio.create_subprocess_exec(
        sys.executable, "-c", COME_AND_GO, str(path), "1000000"
    )
    try:
        for number in range(150):
            copy(path, "all")
            await append(store, f"{number} ")
    finally:
        outsider.kill()
        await outsider.wait()
    assert await text_in(store, "s") == "".join(f"{number} " for number in range(150))
    await store.close()
    assert await asyncio.to_thread(check_streams, path) == []


async def test_new_connections(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "streams.db"
    store = await opened(path, "one")
    await store.create(NewStream(stream_id=StreamId("s"), kind=Kind.LOG, created_at=0.0))
    await store.heartbeat(beat=True)
    copy(path, "all")
    other = await opened(path, "two")
    await append(other, "by another")
    assert "shutil.copy" in caplog.text
    states = await other.heartbeat(beat=True)
    assert {state.worker: state.locked for state in states}["one"] is True
    await other.close()
    copy(path, "all")
    await append(store, ", and on")
    assert await text_in(store, "s") == "by another, and on"
    await store.close()


async def test_a_hold_that_a_fork_inherited(tmp_path: Path) -> None:
    """G1: if a child was forked without Python's hooks, ``connect`` refuses the child.

    The child has inherited the open files, but not the locks.
    """
    path = tmp_path / "streams.db"
    store = await opened(path, "one")
    await store.create(NewStream(stream_id=StreamId("s"), kind=Kind.LOG, created_at=0.0))
    assert await asyncio.to_thread(fork_without_hooks, path) == 0, "the child was not refused"
    await store.close()


def fork_without_hooks(path: Path) -> int:
    import ctypes

    pid = ctypes.PyDLL(None).fork()
    if pid == 0:
        code = 1
        with contextlib.suppress(BaseException):
            from inkstream.stores.sqlite._connection import Settings, connect

            try:
                connect(Settings(path, "full", 1.0), read_only=True)
            except StoreUnavailable:
                code = 0
        os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
