"""Jobs: calls that the event loop hands to a thread which may block."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

from inkstream._errors import InkstreamError, StoreUnavailable
from inkstream.stores.sqlite import _faults
from inkstream.stores.sqlite._open_files import is_written_here

T = TypeVar("T")


class Job(Generic[T]):
    """A call that waits for its thread; the first to claim it decides whether it happens."""

    __slots__ = ("_claim", "_loop", "alone", "future", "run", "writes")

    def __init__(
        self,
        run: Callable[[sqlite3.Connection], T],
        *,
        alone: bool = False,
        writes: bool = True,
    ) -> None:
        self.run = run
        self.alone = alone
        """Whether it needs a transaction of its own, so that no other waits for its end."""
        self.writes = writes
        """Whether it has to wait until no other program is inside a transaction that writes."""
        self._loop = asyncio.get_running_loop()
        self.future: asyncio.Future[T] = self._loop.create_future()
        self._claim = threading.Lock()

    def claim(self) -> bool:
        """Return True to exactly one caller: the thread that will run it, or one who gave it up."""
        return self._claim.acquire(blocking=False)

    def expire(self) -> None:
        """Fail the job if it has not begun; to be called on its event loop."""
        if self.claim() and not self.future.done():
            self.future.set_exception(
                StoreUnavailable(
                    "another process or a slow disk keeps the writers' lock; try again"
                )
            )

    def resolve(self, result: T | None, error: BaseException | None) -> None:
        """Pass on what came of it, from the thread."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._settle, result, error)

    def _settle(self, result: Any, error: BaseException | None) -> None:
        if self.future.done():
            return
        if error is None:
            self.future.set_result(result)
        else:
            self.future.set_exception(error)


class ThreadJob(Job[T]):
    """A job that another thread than the event loop's waits for, for that loop may be blocked."""

    __slots__ = ("outcome",)

    def __init__(self, run: Callable[[sqlite3.Connection], T]) -> None:
        self.run = run
        self.alone = False
        self.writes = True
        self.outcome: concurrent.futures.Future[T] = concurrent.futures.Future()
        self._claim = threading.Lock()

    def resolve(self, result: T | None, error: BaseException | None) -> None:
        """Pass on what came of it."""
        if error is None:
            self.outcome.set_result(cast("T", result))
        else:
            self.outcome.set_exception(error)


def run_from_thread(
    jobs: queue.SimpleQueue[Job[Any] | None], job: ThreadJob[T], wait_s: float
) -> T:
    """Hand over a job and block until it is done.

    Raises:
        StoreUnavailable: It was not done in time.
    """
    jobs.put(job)
    try:
        return job.outcome.result(wait_s)
    except TimeoutError:
        job.claim()  # if it has not begun, it never does
        raise StoreUnavailable("another process or a slow disk keeps the writers' lock") from None


async def run(jobs: queue.SimpleQueue[Job[Any] | None], job: Job[T], wait_s: float) -> T:
    """Hand over a job and wait for it; given up while it waits, it never happens.

    Raises:
        StoreUnavailable: It had not begun after ``wait_s``.
    """
    timer = asyncio.get_running_loop().call_later(wait_s, job.expire)
    jobs.put(job)
    try:
        return await job.future
    except asyncio.CancelledError:
        job.claim()
        raise
    finally:
        timer.cancel()


def has_ended(thread: threading.Thread, until: float) -> bool:
    """Wait for a thread until a given time; return whether it has ended."""
    thread.join(max(0.0, until - time.monotonic()))
    return not thread.is_alive()


def wrapped(exc: BaseException, path: Path, *, committing: bool = False) -> BaseException:
    """Return one of inkstream's errors for one of the driver's, and any other as it is."""
    if isinstance(exc, InkstreamError) or not isinstance(exc, Exception):
        return exc
    if isinstance(exc, sqlite3.Error) and _faults.primary_code(exc) == sqlite3.SQLITE_BUSY:
        return _busy(exc, path)
    error = _faults.translate(exc, str(path), committing=committing)
    error.__cause__ = exc
    return error


def _busy(exc: sqlite3.Error, path: Path) -> BaseException:
    error = (
        StoreUnavailable(
            f"{path}: a connection of this process's own is inside a transaction that writes: end "
            "that first, or pass the connection (connection=). The first call of a process also "
            "makes the tables; any call at deployment (`inkstream ls`) makes them before"
        )
        if is_written_here(path)
        else _faults.translate(exc, str(path))
    )
    error.__cause__ = exc
    return error
