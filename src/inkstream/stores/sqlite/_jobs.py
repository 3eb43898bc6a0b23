"""Jobs are calls that the event loop sends to a thread, because the calls may block."""

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
from inkstream.stores.sqlite._open_files import is_written_here, other_writer

T = TypeVar("T")


class Job(Generic[T]):
    """A call that waits for a thread.

    The thread calls ``claim`` before it runs the call. A caller that no longer waits calls
    ``claim`` to give the call up. The first of the two gets ``True``.
    """

    __slots__ = ("_claim", "_loop", "alone", "future", "run")

    def __init__(
        self,
        run: Callable[[sqlite3.Connection], T],
        *,
        alone: bool = False,
    ) -> None:
        self.run = run
        self.alone = alone
        """Whether the job gets its own transaction.

        Otherwise other jobs of the same transaction would get their outcomes only after this job.
        """
        self._loop = asyncio.get_running_loop()
        self.future: asyncio.Future[T] = self._loop.create_future()
        self._claim = threading.Lock()

    def claim(self) -> bool:
        """Return True to one caller only: this caller must run the job or give it up."""
        return self._claim.acquire(blocking=False)

    @property
    def is_claimed(self) -> bool:
        """Whether a caller of ``claim`` got True."""
        return self._claim.locked()

    def expire(self) -> None:
        """Fail the job if it has not begun; call this on the job's event loop."""
        if self.claim() and not self.future.done():
            self.future.set_exception(TimeoutError())

    def resolve(self, result: T | None, error: BaseException | None) -> None:
        """Return the outcome of the job to its event loop. The thread calls this."""
        with contextlib.suppress(RuntimeError):  # the loop is closed, so nothing waits any more
            self._loop.call_soon_threadsafe(self._set, result, error)

    def _set(self, result: Any, error: BaseException | None) -> None:
        if self.future.done():
            return
        if error is None:
            self.future.set_result(result)
        else:
            self.future.set_exception(error)


class ThreadJob(Job[T]):
    """A job for which a thread waits, because the event loop may be blocked."""

    __slots__ = ("outcome",)

    def __init__(self, run: Callable[[sqlite3.Connection], T]) -> None:
        self.run = run
        self.alone = False
        self.outcome: concurrent.futures.Future[T] = concurrent.futures.Future()
        self._claim = threading.Lock()

    def resolve(self, result: T | None, error: BaseException | None) -> None:
        """Return the outcome of the job to the waiting thread."""
        if error is None:
            self.outcome.set_result(cast("T", result))
        else:
            self.outcome.set_exception(error)


def run_from_thread(
    jobs: queue.SimpleQueue[Job[Any] | None],
    job: ThreadJob[T],
    wait_s: float,
    why: Callable[[], str],
) -> T:
    """Queue a job and block until it is done. After ``wait_s``, raise ``StoreUnavailable``."""
    jobs.put(job)
    try:
        return job.outcome.result(wait_s)
    except TimeoutError:
        job.claim()  # a job that has not begun will now never begin
        raise StoreUnavailable(why()) from None


async def run(
    jobs: queue.SimpleQueue[Job[Any] | None], job: Job[T], wait_s: float, why: Callable[[], str]
) -> T:
    """Queue a job and wait for its outcome.

    If the caller is cancelled before the job begins, the job never runs. ``why`` may block, and
    returns why the job has not begun.

    Raises:
        StoreUnavailable: The job had not begun after ``wait_s`` seconds.
    """
    timer = asyncio.get_running_loop().call_later(wait_s, job.expire)
    jobs.put(job)
    try:
        return await job.future
    except TimeoutError:
        raise StoreUnavailable(await asyncio.to_thread(why)) from None
    except asyncio.CancelledError:
        job.claim()
        raise
    finally:
        timer.cancel()


def has_ended(thread: threading.Thread, until: float) -> bool:
    """Wait for a thread until a deadline; return whether the thread has ended."""
    thread.join(max(0.0, until - time.monotonic()))
    return not thread.is_alive()


def wrapped(exc: BaseException, path: Path, *, committing: bool = False) -> BaseException:
    """Return inkstream's error for an error of the driver; return any other error unchanged."""
    if isinstance(exc, InkstreamError) or not isinstance(exc, Exception):
        return exc
    if isinstance(exc, sqlite3.Error) and _faults.primary_code(exc) == sqlite3.SQLITE_BUSY:
        return _busy(exc, path)
    error = _faults.translate(exc, str(path), committing=committing)
    error.__cause__ = exc
    return error


def _busy(exc: sqlite3.Error, path: Path) -> BaseException:
    writer = other_writer(path)
    if is_written_here(path):
        error: BaseException = StoreUnavailable(
            f"{path}: a connection of this process's own is inside a transaction that writes. End "
            "that transaction first, or pass the connection (connection=). The first call on a "
            "file also creates the tables; `inkstream migrate` creates them earlier"
        )
    elif writer is not None:
        error = StoreUnavailable(f"{path}: process {writer} has not ended its transaction ({exc})")
    else:
        error = _faults.translate(exc, str(path))
    error.__cause__ = exc
    return error
