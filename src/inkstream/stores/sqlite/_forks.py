"""Forks: connections are closed before one, and a child without file locks is refused.

SQLite keeps its lock records in process memory, one for each file. A child that is forked while a
connection is open inherits the records but not the locks: its own connections then take none, and
the next process that closes the file removes the log under them, with all that they committed.
(https://www.sqlite.org/howtocorrupt.html, 2.6)
"""

from __future__ import annotations

import logging
import os
import threading
import time
from pathlib import Path
from typing import Final

from inkstream._errors import StoreUnavailable
from inkstream.stores.sqlite import _holds
from inkstream.stores.sqlite._open_files import FileId, file_at, locks_here

try:
    import fcntl
except ImportError:  # Windows, which has no fork either
    fcntl = None  # type: ignore[assignment]

_log = logging.getLogger("inkstream")

_PARK_S: Final = 1.0


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
    """A store's threads, registered here: a fork must find them without connections."""

    path: Path

    def park(self, until: float) -> bool:
        """Have every connection closed; return whether all were by a given time."""
        raise NotImplementedError

    def resume(self) -> None:
        """Let the threads open connections again."""
        raise NotImplementedError


_parkable: set[Parkable] = set()
_one_fork = threading.Lock()
_unparked: dict[FileId | None, Parkable] = {}
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
            _unparked[file_at(each.path)] = each


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
    if _unparked and file_at(path) in _unparked:
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
    if locks_here(path) == [] and _shows_locks(beside):
        if not _holds.is_held(path):
            raise _refusal(path)
        _log.warning(
            "%s: this process read the file other than through SQLite (shutil.copy, open), which "
            "drops SQLite's locks; inkstream goes on under its own. Such a copy may lack the last "
            "commits: use sqlite3's backup",
            path,
        )


def _refusal(path: Path) -> StoreUnavailable:
    return StoreUnavailable(
        f"{path} was open when this process was forked, so SQLite would write to it without locks: "
        "close your own connections to it before the fork, and start streams after it (gunicorn's "
        "post_fork, Celery's worker_process_init), or begin the process with spawn. If nothing was "
        "forked, this process itself read the file other than through SQLite (shutil.copy, open), "
        "which drops its locks: use sqlite3's backup, and restart"
    )


def _shows_locks(beside: Path) -> bool:
    """Return whether a lock that is certainly held is shown: gVisor and some of FUSE show none."""
    try:
        descriptor = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        return False
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB, 1)
        return bool(locks_here(beside))
    except OSError:
        return False
    finally:
        os.close(descriptor)
