"""``SQLiteStore`` decides which call runs on which thread and in which transaction."""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeVar

from inkstream._errors import InkstreamError, NotRunning, StoreUnavailable
from inkstream._types import (
    Group,
    NewStream,
    Outcome,
    Page,
    Query,
    Read,
    Roster,
    StreamId,
    StreamState,
    WorkerReport,
    WorkerState,
)
from inkstream.stores.sqlite import _faults, _read, _tidy, _write
from inkstream.stores.sqlite._connection import (
    SQL,
    Settings,
    check_place,
    create_file,
    database_path,
    is_ready,
    lock_file,
)
from inkstream.stores.sqlite._foreign_commits import ForeignCommits
from inkstream.stores.sqlite._generation import Generations
from inkstream.stores.sqlite._heads import Heads
from inkstream.stores.sqlite._jobs import Job, ThreadJob
from inkstream.stores.sqlite._locks import WorkerLocks, host_identity
from inkstream.stores.sqlite._open_files import FileId
from inkstream.stores.sqlite._threads import Threads

T = TypeVar("T")

_log = logging.getLogger("inkstream")


class SQLiteStore:
    """Keep streams in a SQLite file. Any number of processes of one machine may share the file.

    Beside the file are SQLite's own ``-wal`` and ``-shm``, the lock file on which writers queue
    (``-inkstream-lock``), and a directory with one lock file per worker (``-workers``).

    Every method that takes ``connection`` accepts a ``sqlite3.Connection`` on the same file, or
    Django's ``connection``. The method then runs in the caller's thread, inside the caller's open
    transaction. If no transaction is open, the method begins a transaction, which the caller must
    end. Until then, all other writers of the file wait. But if no transaction is open and the
    connection has ``isolation_level=None`` or ``autocommit=True``, the method commits its effect
    before it returns.

    Args:
        path_or_url: A path, ``sqlite:///relative.db`` or ``sqlite:////absolute.db``.
        synchronous: With ``"full"``, commits survive a power failure. With ``"normal"``, a commit
            does not wait for the disk, and a power failure may undo the last commits. The death of
            the process undoes no commit.
        readers: The maximum number of reading threads.
        wait_s: How long a call may wait for its turn before it raises ``StoreUnavailable``.
            ``close`` waits as long for the store's threads, but only a second if no call is left
            and a thread waits for the writers' lock.
        busy_s: How long a call waits for another program that writes to the file, if this is less
            than ``wait_s``.
    """

    host_behind_s = 0.0

    def __init__(
        self,
        path_or_url: str | os.PathLike[str],
        *,
        synchronous: Literal["full", "normal"] = "full",
        readers: int = 3,
        wait_s: float = 10.0,
        busy_s: float = 5.0,
    ) -> None:
        self.path = database_path(path_or_url)
        self._wait_s = wait_s
        self._settings = Settings(self.path, synchronous, min(busy_s, wait_s))
        self._readers = readers
        self._locks = WorkerLocks(self.path)
        self._host = ""
        self._generations = Generations()
        self._heads = Heads()
        self._settings.place.on_another = self._on_another_file
        self._changes = ForeignCommits()
        self._beats = 0
        self._long: set[int] = set()
        self._worker = ""
        self._threads: Threads | None = None

    async def open(self, worker: str) -> None:
        if self._threads is not None:
            raise NotRunning(f"the store of {self.path} is open already, as {self._worker!r}")
        self._threads = Threads(self._settings, self._readers)
        self._worker = worker
        try:
            written = await asyncio.to_thread(self._prepare, worker)
            # Do not wait for the writers' lock if the file is ready. Otherwise `inkstream show`
            # could not explain an outage in which another program keeps the lock. Also, the first
            # call of inkstream.sync opens the store. If the caller has an open transaction on this
            # file, the store would wait for this transaction in vain.
            if not (written and await self._read(is_ready, None)):
                await self._write(lambda _: None, None)
        except BaseException:
            await self.close()
            raise

    def _prepare(self, worker: str) -> bool:
        """Take this worker's lock; return whether inkstream has written to the file before."""
        try:
            check_place(self.path)
            create_file(self.path)
            self._host = host_identity()
            # If no other worker is ready, a backup may have been restored while all workers were
            # stopped, so a new generation is due. A worker is ready only after its new generation
            # has begun. So if several workers start together, at least the first begins a new
            # generation.
            self._generations.due = not self._locks.others_are_ready()
            self._locks.hold(worker)
        except OSError as exc:
            raise StoreUnavailable(f"{self.path}: its locks cannot be made: {exc}") from exc
        return lock_file(self.path).exists()

    async def close(self) -> None:
        if self._threads is None:
            return
        threads, self._threads = self._threads, None
        if not threads.are_here:
            return  # in a forked child: the threads and locks belong to the parent

        def finish() -> None:
            # Each job that has waited for ``wait_s`` is given up. So after ``until``, no queued job
            # still waits for the threads.
            until = time.monotonic() + self._wait_s
            if not threads.close(until) and time.monotonic() >= until:
                _log.warning(
                    "%s was closed while a thread waited for another process or a slow disk: "
                    "the thread goes on waiting",
                    self.path,
                )
            self._locks.release()

        await asyncio.shield(asyncio.to_thread(finish))

    async def create(self, new: NewStream, *, connection: object | None = None) -> StreamState:
        state, last_live = await self._write(
            lambda db: _write.create(db, new, self._generations), connection
        )
        self._committed(last_live, connection)
        return state

    async def commit(
        self, groups: Sequence[Group], *, connection: object | None = None
    ) -> list[Outcome]:
        heads = self._heads if connection is None else Heads()
        applied = await self._write(
            lambda db: _write.commit(db, groups, self._generations, heads), connection
        )
        heads.committed = applied.commit
        self._committed(applied.last_live, connection)
        self._long.update(applied.long)
        return applied.outcomes

    def _committed(self, last_live: int, connection: object | None) -> None:
        if connection is None:  # with the application's connection, a rollback is still possible
            self._generations.committed(last_live)

    async def read(
        self,
        stream_id: StreamId,
        after: int,
        max_bytes: int,
        *,
        marks: Sequence[str] = (),
        connection: object | None = None,
    ) -> Page:
        return await self._read(
            lambda db: _read.read(db, stream_id, after, max_bytes, marks), connection
        )

    async def read_many(self, reads: Sequence[Read], max_bytes: int) -> list[Page | None]:
        return await self._read(lambda db: _read.read_many(db, reads, max_bytes), None)

    async def find(self, query: Query, *, connection: object | None = None) -> list[StreamState]:
        return await self._read(lambda db: _read.find(db, query), connection)

    async def delete(
        self,
        internal_ids: Sequence[int],
        *,
        due_before: float | None = None,
        connection: object | None = None,
    ) -> int:
        return await self._write(lambda db: _write.delete(db, internal_ids, due_before), connection)

    def _beat(self, said: str | None) -> dict[str, object]:
        """Return the parameters of a beat of this worker."""
        return {
            "worker": self._worker,
            "host": self._host,
            "beat_at": time.time(),
            "said": said,
        }

    async def heartbeat(
        self, *, beat: bool, forget: Sequence[str] = (), said: str | None = None
    ) -> list[WorkerState]:
        worker = self._worker

        def move(db: sqlite3.Connection) -> tuple[list[tuple[str, int, str]], int]:
            last_live = 0
            if beat:
                last_live, _ = self._generations.basis(db)
                db.execute(SQL.beat, self._beat(said))
            forgotten = [
                name
                for name in forget
                if db.execute(SQL.forget_worker, {"worker": name}).fetchone()
            ]
            rows = db.execute(SQL.workers).fetchall()
            for name in forgotten:
                self._locks.remove(name)
            return rows, last_live

        rows, last_live = await (
            self._write(move, None) if beat or forget else self._read(move, None)
        )
        if beat:
            self._check_beat(next(beats for name, beats, _ in rows if name == worker))
            # A worker that only beats is ready too. Otherwise two such workers would each find the
            # other's new generation at every beat, and begin a new one again. Once a stream has
            # messages of more than ``MAX_RUNS`` generations, its oldest offsets are refused.
            self._generations.committed(last_live)
        return await asyncio.to_thread(self._states, worker, rows)

    def _on_another_file(self) -> None:
        self._generations.due = True

    def _check_beat(self, beats: int) -> None:
        """Raise ``StoreUnavailable`` if a backup was restored into the file while it was in use."""
        last, self._beats = self._beats, beats
        # A counter of 1 is no sign of a restore. Either this is the worker's first beat, or another
        # worker had removed this idle worker from the store, and the counter began again.
        if not 1 < beats <= last:
            return
        self._generations.due = True
        self._changes = ForeignCommits()  # so that every stream is read again
        error = StoreUnavailable(
            f"{self.path} went back to an older state while it was in use: what was committed "
            "since is lost. Stop every process before you restore a backup"
        )
        _log.error("%s", error)
        raise error

    def _states(self, worker: str, rows: list[tuple[str, int, str]]) -> list[WorkerState]:
        try:
            self._locks.hold(worker)
            if not self._generations.due:
                self._locks.show_ready()
        except OSError as exc:
            raise StoreUnavailable(f"{self.path}: its locks cannot be made: {exc}") from exc
        return [
            WorkerState(name, beats, self._locks.is_held(name) if host == self._host else None)
            for name, beats, host in rows
        ]

    def beat_from_thread(self, said: str | None) -> None:
        threads = self._threads
        if threads is None or not threads.are_here:
            return
        if said is None:
            self._locks.release()
            return

        def beat(db: sqlite3.Connection) -> None:
            self._generations.basis(db)
            db.execute(SQL.beat, self._beat(said))

        threads.write.run_from_thread(ThreadJob(beat), self._wait_s)

    async def roster(self) -> Roster:
        rows = await self._read(lambda db: db.execute(SQL.roster).fetchall(), None)

        def reports() -> tuple[WorkerReport, ...]:
            return tuple(
                WorkerReport(
                    name, self._locks.is_held(name) if host == self._host else None, beat_at, said
                )
                for name, host, beat_at, said in rows
            )

        return Roster(time.time(), await asyncio.to_thread(reports))

    async def tidy(self, now: float, max_bytes: int) -> bool:
        long = set(self._long)
        before = set(long)
        more = await self._write(lambda db: _tidy.tidy(db, now, max_bytes, long), None, alone=True)
        self._long -= before - long
        return more

    def watch(self, on_change: Callable[[list[StreamId] | None], None] | None) -> None:
        """Call ``on_change`` with the streams that others changed, usually within 20 ms.

        Others are other processes, other stores of this process, and transactions of an
        application's ``connection``. A thread of the store calls ``on_change`` with all streams
        that changed since its last call, or with ``None`` if any stream may have changed.
        ``watch(None)`` stops the calls.

        Raises:
            NotRunning: The store is not open.
        """
        writer = self._open_threads().write

        def look(connection: sqlite3.Connection, file: FileId | None) -> bool:
            changed = self._changes.look(connection, file)
            if changed is not None and not changed:
                return False
            on_change(changed)  # type: ignore[misc]
            return True

        writer.watch(None if on_change is None else look)

    async def _write(
        self,
        call: Callable[[sqlite3.Connection], T],
        connection: object | None,
        *,
        alone: bool = False,
    ) -> T:
        if connection is not None:
            return self._run_inside(connection, call)
        writer = self._open_threads().write
        return await writer.run(Job(call, alone=alone), self._wait_s)

    async def _read(self, call: Callable[[sqlite3.Connection], T], connection: object | None) -> T:
        if connection is not None:
            return self._run_inside(connection, call)
        threads = self._open_threads()
        if threads.write.suspect:
            # A failed commit may have left data in the write-ahead log that is not on the disk. The
            # next job of the write thread makes this data durable, before a reader sees it.
            await threads.write.run(Job(lambda _: None), self._wait_s)
        return await threads.read.run(call, self._wait_s)

    def _open_threads(self) -> Threads:
        if self._threads is None:
            raise NotRunning(f"the store of {self.path} is not open")
        if not self._threads.are_here:
            raise NotRunning(
                f"the store of {self.path} was opened before this process was forked: "
                "open one in this process"
            )
        return self._threads

    def _run_inside(self, connection: object, call: Callable[[sqlite3.Connection], T]) -> T:
        """Run a call as part of the transaction of the application's own connection."""
        if getattr(connection, "vendor", None) == "sqlite":
            django: Any = connection
            django.ensure_connection()
            connection = django.connection
        if not isinstance(connection, sqlite3.Connection):
            raise TypeError(
                f"connection must be a sqlite3.Connection on {self.path}, not {connection!r} "
                "(an SQLAlchemy session's is session.connection().connection.driver_connection)"
            )
        factories = connection.row_factory, connection.text_factory
        connection.row_factory, connection.text_factory = None, str
        try:
            if not self._is_ours(connection):
                raise TypeError(f"the connection is on another database than {self.path}")
            if not connection.in_transaction and not _commits_itself(connection):
                # sqlite3 itself begins a transaction only before an INSERT, UPDATE or DELETE.
                # Without a transaction, the RELEASE below would commit.
                connection.execute(f"BEGIN {connection.isolation_level}")
            connection.execute("SAVEPOINT inkstream")
            try:
                # A transaction that has only read may see an old state of the file. To a write, the
                # commits since then would look lost. So get the write lock first: it is refused if
                # there are such commits. A call that reads gets it too, because the application
                # reads before it writes, and after such a read a write cannot wait for its turn.
                connection.execute(SQL.take_write_lock)
                result = call(connection)
                connection.execute("RELEASE inkstream")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK TO inkstream")
                    connection.execute("RELEASE inkstream")
                raise
            return result
        except InkstreamError:
            raise
        except (sqlite3.Error, UnicodeEncodeError, OverflowError) as exc:
            raise _faults.translate(exc, str(self.path)) from exc
        finally:
            connection.row_factory, connection.text_factory = factories

    def _is_ours(self, connection: sqlite3.Connection) -> bool:
        # A SELECT would begin to read the file, and a call could then not wait for the write lock.
        databases = connection.execute("PRAGMA database_list").fetchall()
        file = next(file for _, name, file in databases if name == "main")
        try:
            return bool(file) and self.path.samefile(file)
        except OSError:
            return False


def _commits_itself(connection: sqlite3.Connection) -> bool:
    """Return whether the connection is in autocommit mode, in which ``commit()`` has no effect.

    A transaction that a call began on such a connection would never end.
    """
    autocommit = getattr(connection, "autocommit", None)  # new in Python 3.12
    return autocommit is True or connection.isolation_level is None
