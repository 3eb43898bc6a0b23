"""If a database is deleted, replaced or restored while it is in use, the store notices."""
# ruff: noqa: ASYNC240  (these tests may block, because nothing else runs on their loop)

from __future__ import annotations

import contextlib
import logging
import sqlite3
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from inkstream import wire
from inkstream._errors import StoreUnavailable, StreamNotFound
from inkstream._types import Change, Committed, Group, Kind, NewStream, StreamId
from inkstream.stores.sqlite import SQLiteStore
from inkstream.testing.store_suite.harness import text_in


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "streams.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SQLiteStore]:
    store = SQLiteStore(path)
    await store.open("one")
    await store.create(NewStream(stream_id=StreamId("s"), kind=Kind.LOG, created_at=0.0))
    await append(store, "kept ")
    yield store
    await store.close()


async def append(store: SQLiteStore, text: str) -> None:
    (segment,) = wire.encode_messages([text], 0)
    (outcome,) = await store.commit([Group((Change(internal_id=1, append=segment),))])
    assert isinstance(outcome, Committed)


def back_up(path: Path, target: Path) -> None:
    with (
        contextlib.closing(sqlite3.connect(path)) as a,
        contextlib.closing(sqlite3.connect(target)) as b,
    ):
        a.backup(b)


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm"])
async def test_deleted(
    store: SQLiteStore, path: Path, suffix: str, caplog: pytest.LogCaptureFixture
) -> None:
    """G1, G12: the store does not acknowledge a commit into a deleted file."""
    Path(f"{path}{suffix}").unlink()
    with pytest.raises(StoreUnavailable, match=r"was (moved or )?deleted while it was in use"):
        await append(store, "lost")
    assert caplog.records[-1].levelno == logging.ERROR


async def test_deleted_file_is_not_created_again(store: SQLiteStore, path: Path) -> None:
    """G1, G12: the store creates no empty database in place of a missing file.

    The error says that the ``-wal`` file may have the newest text, so that nobody removes it.
    """
    aside = path.with_suffix(".aside")
    path.rename(aside)
    with pytest.raises(StoreUnavailable, match="put it back beside its -wal"):
        await text_in(store, "s")
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match="put it back beside its -wal"):
            await append(store, "lost")
    assert not path.exists()
    aside.rename(path)
    await append(store, "more")
    assert (await text_in(store, "s")).startswith("kept ")


@pytest.mark.parametrize("log", ["removed", "left"])
async def test_replaced(store: SQLiteStore, path: Path, log: str) -> None:
    """G1: if a backup replaces the file, the store refuses the next commit."""
    backup = path.with_suffix(".backup")
    back_up(path, backup)
    await append(store, "newer ")
    backup.replace(path)
    if log == "removed":
        for suffix in "-wal", "-shm":
            Path(f"{path}{suffix}").unlink()
    with pytest.raises(StoreUnavailable, match="was replaced while it was in use"):
        await append(store, "lost ")
    if log == "left":
        for _ in range(2):
            with pytest.raises(StoreUnavailable, match="belongs to the old file"):
                await append(store, "mixed ")
            with pytest.raises(StoreUnavailable, match="belongs to the old file"):
                await text_in(store, "s")
    else:
        await append(store, "anew")
        assert await text_in(store, "s") == "kept anew"


async def test_reader_opens_the_new_file(store: SQLiteStore, path: Path) -> None:
    """G1, G2: a process that only reads opens the database that has replaced its file."""
    reader = SQLiteStore(path)
    await reader.open("reader")
    try:
        assert await text_in(reader, "s") == "kept "
        other = path.with_name("other.db")
        another = SQLiteStore(other)
        await another.open("another")
        await another.close()
        for suffix in "-wal", "-shm":
            Path(f"{path}{suffix}").unlink()
        other.replace(path)
        with pytest.raises(StreamNotFound):
            await text_in(reader, "s")
    finally:
        await reader.close()


async def test_restored_into_the_file(
    store: SQLiteStore, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """G1: if SQLite's own restore writes older content into the file, the next beat raises."""
    for _ in range(3):
        await store.heartbeat(beat=True)
    backup = path.with_suffix(".backup")
    back_up(path, backup)
    for _ in range(3):
        await store.heartbeat(beat=True)
    back_up(backup, path)
    with pytest.raises(StoreUnavailable, match="went back to an older state"):
        await store.heartbeat(beat=True)
    assert caplog.records[-1].levelno == logging.ERROR
    await store.heartbeat(beat=True)


async def test_hard_link(store: SQLiteStore, path: Path) -> None:
    """G1: ``open`` refuses a file that has two names.

    SQLite would write a separate ``-wal`` file for each name, and could damage the database.
    """
    other = path.with_name("other.db")
    other.hardlink_to(path)
    second = SQLiteStore(other)
    with pytest.raises(StoreUnavailable, match="has another name"):
        await second.open("two")
    await append(store, "on")
    assert await text_in(store, "s") == "kept on"


async def test_a_copy_elsewhere_changes_nothing(store: SQLiteStore, path: Path) -> None:
    subprocess.run(["cp", path, path.with_suffix(".copy")], check=True)  # noqa: ASYNC221
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    await append(store, "on")
    assert await text_in(store, "s") == "kept on"


async def test_only_its_owner_may_read(tmp_path: Path) -> None:
    """Other users may not read the files, because the files contain answers and prompts."""
    path = tmp_path / "private.db"
    store = SQLiteStore(path)
    await store.open("one")
    try:
        await store.create(NewStream(stream_id=StreamId("s"), created_at=0.0))
        rights = {
            file.name.removeprefix("private.db"): oct(file.stat().st_mode & 0o777)
            for file in tmp_path.rglob("*")
        }
    finally:
        await store.close()
    assert rights.pop("-workers") == "0o700"
    assert rights.pop("one.lock") == "0o600"
    assert rights == dict.fromkeys(["", "-wal", "-shm", "-inkstream-lock"], "0o600")


async def test_files_of_a_group_stay_the_groups(tmp_path: Path) -> None:
    """If a Unix group may use a database, the group may also use the files beside it."""
    path = tmp_path / "shared.db"
    path.touch()
    path.chmod(0o660)
    store = SQLiteStore(path)
    await store.open("one")
    await store.close()
    assert path.stat().st_mode & 0o777 == 0o660
    assert Path(f"{path}-inkstream-lock").stat().st_mode & 0o777 == 0o660
    assert Path(f"{path}-workers").stat().st_mode & 0o777 == 0o770
