"""Runs all writing jobs of a store on one thread."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from typing import Any, Final, TypeVar

from inkstream._errors import InkstreamError, StoreUnavailable
from inkstream.stores.sqlite import _connection, _faults, _forks, _holds
from inkstream.stores.sqlite._connection import Settings
from inkstream.stores.sqlite._jobs import Job, ThreadJob, has_ended, run, run_from_thread, wrapped
from inkstream.stores.sqlite._locks import WritersLock
from inkstream.stores.sqlite._open_files import FileId, OpenFiles

_JOBS_IN_A_TRANSACTION: Final = 64
_CHECKPOINT_BYTES: Final = 4 << 20
_TRUNCATE_BYTES: Final = 32 << 20
_CHANGE_BYTES: Final = 150
_COMMIT_BYTES: Final = 12 << 10
_WATCH_S: Final = 0.005
_QUIET_WATCH_S: Final = 0.02
_QUIET_AFTER_S: Final = 1.0
_SAY_AFTER_S: Final = 1.0
_SAY_AGAIN_S: Final = 60.0
_COURTESY_S: Final = 1.0

T = TypeVar("T")

Watch = Callable[[sqlite3.Connection, FileId | None], bool]
_log = logging.getLogger("inkstream")


class WriteThread:
    """The thread that writes. Jobs that wait together can share a transaction and an fsync."""

    def __init__(self, settings: Settings) -> None:
        self.jobs: queue.SimpleQueue[Job[Any] | None] = queue.SimpleQueue()
        self._calls = 0
        self._said_at = -_SAY_AGAIN_S
        self.suspect = False
        """True if a failed write may have left data in the log that is not on the disk.

        Reads must then wait until another job has run.
        """
        self._settings = settings
        self._path = settings.path
        self._wal = f"{settings.path}-wal"
        self._lock = WritersLock(settings.path)
        self._connection: sqlite3.Connection | None = None
        self._files: OpenFiles | None = None
        self._next_job: Job[Any] | None = None
        self._closing = False
        self._written = 0
        self._wal_mark = 0
        self._watch: Watch | None = None
        self._watch_at = 0.0
        self._quiet_at = 0.0
        self._gate = _forks.Gate()
        self._thread = threading.Thread(target=self._work, name="inkstream-write", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    async def run(self, job: Job[T], wait_s: float) -> T:
        """Run a job. If it has not begun after a second, log the cause, once a minute at most."""
        slow = asyncio.get_running_loop().call_later(_SAY_AFTER_S, self._say, job)
        self._calls += 1
        try:
            return await run(self.jobs, job, wait_s, self._lock.why_taken)
        finally:
            self._calls -= 1
            slow.cancel()

    def run_from_thread(self, job: ThreadJob[T], wait_s: float) -> T:
        """Run a job, and block until it is done."""
        return run_from_thread(self.jobs, job, wait_s, self._lock.why_taken)

    def _say(self, job: Job[Any]) -> None:
        now = time.monotonic()
        if job.is_claimed or now < self._said_at + _SAY_AGAIN_S:
            return
        self._said_at = now
        asyncio.get_running_loop().run_in_executor(
            None, lambda: _log.warning("waiting: %s", self._lock.why_taken())
        )

    def watch(self, call: Watch | None) -> None:
        """Run the function ``call`` on this thread every few milliseconds; with ``None``, stop.

        ``call`` gets the writing connection, outside a transaction, and the identity of the file.
        On this connection, ``PRAGMA data_version`` changes only by commits of other connections.
        ``call`` returns whether there were such commits. After a second without such commits,
        ``call`` is called less often.
        """
        self._watch = call
        self.jobs.put(None)

    def close(self, until: float) -> bool:
        """End the thread after all queued jobs; return whether it ended before ``until``."""
        self._closing = True
        self.jobs.put(None)
        at = time.monotonic() + _COURTESY_S
        while not has_ended(self._thread, min(at, until)):
            # Nothing is left to write, so a thread that waits for the lock need not get it. The
            # thread closes its connection when the lock becomes free, or when the process ends.
            if at >= until or (self._lock.is_awaited and not self._calls):
                return False
            at += 0.1
        return True

    def park(self, until: float) -> bool:
        """Close the connection; return whether that was done before the deadline ``until``."""
        self._gate.shut()
        self.jobs.put(None)
        return self._gate.all_wait(until)

    def resume(self) -> None:
        """Let the thread continue."""
        self._gate.open()

    def _work(self) -> None:
        self._gate.enter()
        try:
            self._write()
        finally:
            self._gate.leave()

    def _write(self) -> None:
        while True:
            job = None if self._gate.is_shut else self._take()
            checked = job is not None
            if self._gate.is_shut:
                self._close_connection()
                self._gate.wait()
            if job is not None:
                self._transact(job)
                del job  # an idle thread must not keep a job's result in memory
                if self._is_large():
                    self._checkpoint()
            elif self._closing and self.jobs.empty():
                break
            watch = self._watch  # read once, because another thread may set it to None
            if watch is not None and time.monotonic() >= self._watch_at:
                self._look(watch, checked=checked)
        self._close_connection()
        self._lock.close()

    def _close_connection(self) -> None:
        if self._connection is None:
            return
        # If this is the file's last connection, it makes a checkpoint when it closes. A checkpoint
        # needs the writers' lock.
        with contextlib.suppress(OSError):
            self._lock.acquire()
        _holds.let_go(self._path)
        self._drop_connection()
        _holds.hold(self._path)  # other stores of this process may still use the file
        with contextlib.suppress(OSError):
            self._lock.release()

    def _take(self) -> Job[Any] | None:
        """Return the next job; ``None`` if the thread was woken without a job or a look is due."""
        if self._next_job is not None:
            job, self._next_job = self._next_job, None
            return job
        if self._closing and self.jobs.empty():
            return None
        if self._watch is None:
            return self.jobs.get()
        try:
            return self.jobs.get(timeout=max(0.0, self._watch_at - time.monotonic()))
        except queue.Empty:
            return None

    def _look(self, call: Watch, *, checked: bool) -> None:
        now = time.monotonic()
        self._watch_at = now + (_WATCH_S if now < self._quiet_at else _QUIET_WATCH_S)
        try:
            if self._connection is None:
                with self._lock:
                    self._connect()
            assert self._connection is not None
            assert self._files is not None
            if not checked:
                self._check_place()
            if call(self._connection, self._files.database):
                self._watch_at = now + _WATCH_S
                self._quiet_at = now + _QUIET_AFTER_S
        except (sqlite3.Error, OSError, InkstreamError):
            self._drop_connection()
            self._watch_at = time.monotonic() + 1.0

    def _transact(self, first: Job[Any]) -> None:
        try:
            self._lock.acquire()
        except OSError as exc:
            if first.claim():
                error = StoreUnavailable(f"{self._path}: the writers' lock cannot be used: {exc}")
                first.resolve(None, error)
            return
        try:
            jobs = self._gather(first)
            if jobs:
                for job, result, error_ in self._run(jobs):
                    job.resolve(result, error_)
        finally:
            self._lock.release()

    def _gather(self, first: Job[Any]) -> list[Job[Any]]:
        """Return the jobs of one transaction, also jobs that came during the wait for the lock."""
        jobs = [first] if first.claim() else []
        while not first.alone and len(jobs) < _JOBS_IN_A_TRANSACTION:
            try:
                job = self.jobs.get_nowait()
            except queue.Empty:
                break
            if job is not None and job.alone:
                self._next_job = job
                break
            if job is not None and job.claim():
                jobs.append(job)
        return jobs

    def _run(self, jobs: list[Job[Any]]) -> list[tuple[Job[Any], Any, BaseException | None]]:
        results: list[tuple[Job[Any], Any, BaseException | None]] = []
        running = committing = False
        try:
            connection = self._connect()
            connection.execute("BEGIN IMMEDIATE")
            running = True
            before = connection.total_changes
            for job in jobs:
                try:
                    results.append((job, job.run(connection), None))
                except InkstreamError as exc:  # the job wrote nothing, so the other jobs go on
                    results.append((job, None, exc))
            running, committing = False, True
            connection.execute("COMMIT")
            self._check_place()
            self._written += _COMMIT_BYTES + _CHANGE_BYTES * (connection.total_changes - before)
            return results
        except BaseException as exc:
            self._abandon(exc, committing)
            error = wrapped(exc, self._path, committing=committing)
            if running and len(jobs) > 1 and not isinstance(error, StoreUnavailable):
                # One job failed, and its error would fail all jobs of the transaction. So each job
                # gets its own transaction.
                return [result for job in jobs for result in self._run([job])]
            return [(job, None, error) for job in jobs]

    def _check_place(self) -> None:
        assert self._files is not None
        try:
            self._files.check()
        except StoreUnavailable as exc:
            _log.error("%s", exc)
            self._drop_connection()
            raise

    def _abandon(self, exc: BaseException, committing: bool) -> None:
        if isinstance(exc, sqlite3.Error) and committing and _faults.loses_outcome(exc):
            self.suspect = True
        try:
            if self._connection is not None and self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except sqlite3.Error:
            self.suspect = True
        if self.suspect:
            self._drop_connection()

    def _connect(self) -> sqlite3.Connection:
        if self._connection is None:
            connection = _connection.connect(self._settings, read_only=False)
            try:
                _connection.ensure_schema(connection, self._path)
                if self.suspect:
                    self._make_sure(connection)
            except BaseException:
                connection.close()
                raise
            self._files = self._settings.place.opened(self._path)
            self._connection = connection
            self.suspect = False
        return self._connection

    def _make_sure(self, connection: sqlite3.Connection) -> None:
        """Make sure that all data that a read finds in the write-ahead log is on the disk.

        After a failed fsync, the system marks the log's pages as clean. The next fsync would then
        succeed without writing these pages. So this method copies the readable part of the log into
        the database, and begins a new log.
        """
        (busy, *_) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            raise StoreUnavailable(
                f"{self._path}: a commit failed and may be only in part on the disk, and other "
                "programs keep reading the log; try again"
            )

    def _is_large(self) -> bool:
        """Return whether enough was written to the write-ahead log for a checkpoint.

        There are two measures, because neither sees everything. ``_written`` does not count the
        writes of other processes, or the bytes of large payloads. The size of the log does not grow
        while SQLite overwrites the log from its beginning.
        """
        try:
            size = os.stat(self._wal).st_size  # noqa: PTH116 - a Path costs more than the call
        except OSError:
            return False
        self._wal_mark = min(self._wal_mark, size)
        return self._written >= _CHECKPOINT_BYTES or size > self._wal_mark + _CHECKPOINT_BYTES

    def _checkpoint(self) -> None:
        """Copy the write-ahead log into the database.

        The callers of the last jobs do not wait for the copy, because they have their results.
        """
        if self._connection is None:
            return
        self._written = 0
        try:
            self._lock.acquire()
        except OSError:
            return
        try:
            execute = self._connection.execute
            _, frames, _ = execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            (page_bytes,) = execute("PRAGMA page_size").fetchone()
            if frames * page_bytes > _TRUNCATE_BYTES:
                # Readers used the log all the time, so SQLite could not begin a new log. Wait
                # briefly for these readers.
                execute("PRAGMA busy_timeout=200")
                execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                execute(f"PRAGMA busy_timeout={int(self._settings.busy_s * 1000)}")
            self._wal_mark = os.stat(self._wal).st_size  # noqa: PTH116
        except sqlite3.Error as exc:
            if _faults.loses_outcome(exc):
                self.suspect = True
            self._drop_connection()
        except OSError:
            self._wal_mark = 0
        finally:
            self._lock.release()

    def _drop_connection(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None
