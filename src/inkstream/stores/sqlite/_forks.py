"""Forks: connections are closed before one, and a child without file locks is refused.

SQLite keeps its lock records in process memory, one for each file. A child that is forked while a
connection is open inherits the records but not the locks: its own connections then take none, and
the next process that closes the file removes the log under them, with all that they committed.
(https://www.sqlite.org/howtocorrupt.html, 2.6)
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from pathlib import Path
from typing import Final

from inkstream._errors import StoreUnavailable

try:
    import fcntl
except ImportError:  # Windows, which has no fork either
    fcntl = None  # type: ignore[assignment]

_PARK_S: Final = 1.0

_File = tuple[int, int]


class Gate:
    """A gate that threads with a connection pass between two jobs; shut, it parks them."""

    def __init__(self) -> None:
        self.is_shut = False
        """Threads that see this close their connection and call ``wait``."""
        self._changed = threading.Condition()
        self._threads = 0
        self._waiting = 0

    def enter(self) -> None:
        """Count the calling thread among those that must be parked."""
        with self._changed:
            self._threads += 1

    def leave(self) -> None:
        """Count the calling thread no longer: it ends, without a connection."""
        with self._changed:
            self._threads -= 1
            self._changed.notify_all()

    def wait(self) -> None:
        """Wait until the gate opens; in a forked child, for ever."""
        with self._changed:
            self._waiting += 1
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self.is_shut)
            self._waiting -= 1

    def shut(self) -> None:
        """Stop every thread before its next job."""
        self.is_shut = True

    def all_wait(self, until: float) -> bool:
        """Return whether every thread is parked by a given time."""
        with self._changed:
            return self._changed.wait_for(
                lambda: self._waiting >= self._threads, max(0.0, until - time.monotonic())
            )

    def open(self) -> None:
        """Let the threads go on."""
        with self._changed:
            self.is_shut = False
            self._changed.notify_all()


class Parkable:
    """What a store registers here: its threads, which a fork must find without connections."""

    path: Path

    def park(self, until: float) -> bool:
        """Have every connection closed; return whether all were by a given time."""
        raise NotImplementedError

    def resume(self) -> None:
        """Let the threads open connections again."""
        raise NotImplementedError


_parkable: set[Parkable] = set()
_one_fork = threading.Lock()
_unparked: dict[_File | None, Parkable] = {}
"""Files with a connection open in the process of which this one is a fork.

The value keeps that connection alive: to close it here could remove the parent's log.
"""


def register(parkable: Parkable) -> None:
    """Park this before every fork, until ``forget``."""
    _parkable.add(parkable)


def forget(parkable: Parkable) -> None:
    """Park this no longer: its threads have ended."""
    _parkable.discard(parkable)


def _before() -> None:
    _one_fork.acquire()  # a second fork must not find the threads that the first has let go on
    until = time.monotonic() + _PARK_S
    for each in list(_parkable):
        if not each.park(until):
            _unparked[_file_at(each.path)] = each


def _in_parent() -> None:
    for each in list(_parkable):
        each.resume()
    for file in [file for file, each in _unparked.items() if each in _parkable]:
        del _unparked[file]  # only the child lacks the locks
    _one_fork.release()


def _in_child() -> None:
    global _one_fork
    # The gates stay shut: gevent's copies of the threads wait here for ever.
    _parkable.clear()
    _one_fork = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)


def check_inherited(path: Path) -> None:
    """Refuse a file that a store of the parent still had open when it forked this process.

    Raises:
        StoreUnavailable: SQLite would write to it without locks.
    """
    if _unparked and _file_at(path) in _unparked:
        raise _refusal(path)


def check_locked(path: Path, beside: Path) -> None:
    """Refuse a connection that SQLite believes to be locked but the system does not.

    This finds what no hook can close: a connection of the application's own that crossed the fork,
    and servers that fork without Python's knowledge. To be called when the connection has read, for
    from then on SQLite holds a lock on a file with a write-ahead log.

    Args:
        path: The database.
        beside: Another file of the same folder, on which to see whether this system shows locks.

    Raises:
        StoreUnavailable: SQLite would write to it without locks.
    """
    if _is_locked_here(path) is False and _shows_locks(beside):
        raise _refusal(path)


def _refusal(path: Path) -> StoreUnavailable:
    return StoreUnavailable(
        f"{path} was open when this process was forked, so SQLite would write to it without locks: "
        "close your own connections to it before the fork, and start streams after it (gunicorn's "
        "post_fork, Celery's worker_process_init), or begin the process with spawn"
    )


def _file_at(path: Path) -> _File | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _is_locked_here(path: Path) -> bool | None:
    """Return whether this process holds a POSIX lock on a file that it has open; None: unknown.

    ``/proc/self/fdinfo`` shows for each descriptor the locks of this process alone. ``/proc/locks``
    would have to be searched by device and process id, and names others than ``stat`` and
    ``getpid`` do on btrfs, on overlay filesystems and where ``/proc`` is another container's.
    """
    file = _file_at(path)
    try:
        descriptors = [int(entry.name) for entry in Path("/proc/self/fd").iterdir()]
    except OSError:
        return None
    found: bool | None = None
    for descriptor in descriptors:
        with contextlib.suppress(OSError):  # closed meanwhile
            status = os.fstat(descriptor)
            if (status.st_dev, status.st_ino) == file:
                shown = Path(f"/proc/self/fdinfo/{descriptor}").read_text()
                if any(line.startswith("lock:") and "POSIX" in line for line in shown.splitlines()):
                    return True
                found = False
    return found


def _shows_locks(beside: Path) -> bool:
    """Return whether a lock that is certainly held is shown: gVisor and some of FUSE show none."""
    try:
        descriptor = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        return False
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB, 1)
        return _is_locked_here(beside) is True
    except OSError:
        return False
    finally:
        os.close(descriptor)
