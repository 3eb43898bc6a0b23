"""The threads that read. Each thread has its own connection."""

from __future__ import annotations

import queue
import sqlite3
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from inkstream.stores.sqlite import _connection, _forks
from inkstream.stores.sqlite._connection import Settings
from inkstream.stores.sqlite._jobs import Job, has_ended, run, wrapped
from inkstream.stores.sqlite._open_files import OpenFiles

T = TypeVar("T")


class ReadThreads:
    """A few threads that read. A new thread starts only when all existing threads are busy."""

    def __init__(self, settings: Settings, limit: int) -> None:
        self.jobs: queue.SimpleQueue[Job[Any] | None] = queue.SimpleQueue()
        self._settings = settings
        self._limit = limit
        self._threads: list[threading.Thread] = []
        self._pending = 0
        self._count = threading.Lock()
        self._closing = False
        self._gate = _forks.Gate()

    async def run(self, call: Callable[[sqlite3.Connection], T], wait_s: float) -> T:
        """Run a call inside one snapshot."""
        with self._count:
            self._pending += 1
            if self._pending > len(self._threads) < self._limit:
                thread = threading.Thread(target=self._work, name="inkstream-read", daemon=True)
                try:
                    thread.start()
                except RuntimeError:  # no new thread is possible, for example while Python exits
                    if not self._threads:
                        self._pending -= 1
                        raise
                else:
                    self._threads.append(thread)
        return await run(self.jobs, Job(call), wait_s, self._why)

    def _why(self) -> str:
        return f"{self._settings.path}: other reads or a slow disk keep every reading thread busy"

    def close(self, until: float) -> bool:
        """End the threads after all queued jobs; return whether all ended before ``until``."""
        self._closing = True
        self._wake_all()
        return all(has_ended(thread, until) for thread in self._threads)

    def park(self, until: float) -> bool:
        """Close every connection; return whether all were closed before ``until``."""
        self._gate.shut()
        self._wake_all()
        return self._gate.all_wait(until)

    def resume(self) -> None:
        """Let the threads continue."""
        self._gate.open()

    def _wake_all(self) -> None:
        for _ in range(self._limit):  # one item for each thread that may exist
            self.jobs.put(None)

    def _work(self) -> None:
        self._gate.enter()
        try:
            self._read()
        finally:
            self._gate.leave()

    def _read(self) -> None:
        connection: sqlite3.Connection | None = None
        files = OpenFiles(self._settings.path)
        while True:
            job = self.jobs.get()
            if self._gate.is_shut:
                if connection is not None:
                    connection.close()
                    connection = None
                self._gate.wait()
            if job is None:
                if self._closing:
                    break
                continue
            if job.claim():
                result, error = None, None
                try:
                    if connection is not None and not files.are_in_place():
                        connection.close()
                        connection = None
                    if connection is None:
                        connection = _connection.connect(self._settings, read_only=True)
                        files = self._settings.place.opened(self._settings.path)
                    result = _in_snapshot(connection, job.run)
                except BaseException as exc:
                    error = wrapped(exc, self._settings.path)
                    if isinstance(exc, sqlite3.Error) and connection is not None:
                        connection.close()
                        connection = None
                job.resolve(result, error)
            with self._count:
                self._pending -= 1
            del job
        if connection is not None:
            connection.close()


def _in_snapshot(connection: sqlite3.Connection, call: Callable[[sqlite3.Connection], T]) -> T:
    connection.execute("BEGIN")
    try:
        return call(connection)
    finally:
        connection.execute("COMMIT")
