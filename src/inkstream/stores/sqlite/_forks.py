"""Closes connections before the process forks. A child that would have no locks gets an error.

In this module, a fork is a call of ``os.fork``, and not the fork of a stream.

SQLite keeps a record of its locks in process memory. If a process forks while a connection is open,
the child inherits the record but not the locks. The child's own connections then take no locks. A
process that closes the file may then remove the write-ahead log while the child still uses the log,
and the child's commits are lost. (https://www.sqlite.org/howtocorrupt.html, 2.6)
"""

from __future__ import annotations

import logging
import os
import sqlite3
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
_PROBE_S: Final = 5.0


class Gate:
    """Threads with a connection pass this gate between two jobs, or wait while the gate is shut."""

    def __init__(self) -> None:
        self.is_shut = False
        """If a thread finds ``is_shut`` true, it closes its connection and calls ``wait``."""
        self._changed = threading.Condition()
        self._threads = 0
        self._waiting = 0

    def enter(self) -> None:
        """Count the calling thread among those that must wait before a fork."""
        with self._changed:
            self._threads += 1

    def leave(self) -> None:
        """Count the calling thread no longer, because it ends and has no connection."""
        with self._changed:
            self._threads -= 1
            self._changed.notify_all()

    def wait(self) -> None:
        """Wait until the gate opens. In a forked child the gate never opens."""
        with self._changed:
            self._waiting += 1
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self.is_shut)
            self._waiting -= 1

    def shut(self) -> None:
        """Stop every thread before its next job."""
        self.is_shut = True

    def all_wait(self, until: float) -> bool:
        """Return whether, before ``until``, every thread that called ``enter`` waits."""
        with self._changed:
            return self._changed.wait_for(
                lambda: self._waiting >= self._threads, max(0.0, until - time.monotonic())
            )

    def open(self) -> None:
        """Open the gate, so that the threads continue."""
        with self._changed:
            self.is_shut = False
            self._changed.notify_all()


class Parkable:
    """The threads of a store, which can close their connections before a fork."""

    path: Path

    def park(self, until: float) -> bool:
        """Close every connection; return whether that was done before the deadline ``until``."""
        raise NotImplementedError

    def resume(self) -> None:
        """Let the threads open connections again."""
        raise NotImplementedError


_parkable: set[Parkable] = set()
_one_fork = threading.Lock()
_unparked: dict[FileId | None, Parkable] = {}
"""Files for which the parent process had an open connection when it forked this process.

Each value keeps the inherited connection open. If this process closed that connection, SQLite could
remove the write-ahead log that the parent still uses.
"""


_is_usable = True
"""False in a forked child until a call of SQLite has returned there."""


def register(parkable: Parkable) -> None:
    """Call ``parkable.park`` before every fork, until ``forget`` is called with ``parkable``."""
    _parkable.add(parkable)


def forget(parkable: Parkable) -> None:
    """Stop calling ``parkable.park`` before forks, because the threads have ended."""
    _parkable.discard(parkable)


def _before() -> None:
    # A second fork must wait. Otherwise connections that the threads open after the first fork
    # would be open during the second fork.
    _one_fork.acquire()
    until = time.monotonic() + _PARK_S
    for each in list(_parkable):
        if not each.park(until):
            _unparked[file_at(each.path)] = each


def _in_parent() -> None:
    for each in list(_parkable):
        each.resume()
    for file in [file for file, each in _unparked.items() if each in _parkable]:
        del _unparked[file]  # only the child lacks locks; the parent still has its own locks
    _one_fork.release()


def _in_child() -> None:
    global _one_fork, _is_usable
    _is_usable = False
    # Leave the gates shut. gevent copies the threads into the child, where they must not go on.
    _parkable.clear()
    _one_fork = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)


def check_usable() -> None:
    """Raise an error if every call of SQLite would hang in this forked child.

    If a thread is inside SQLite during a fork, the child inherits the lock of SQLite's allocator,
    but not the thread that would release the lock. That thread usually belongs to the application,
    because the stores' threads stop before a fork.

    Raises:
        StoreUnavailable
    """
    global _is_usable
    if _is_usable:
        return
    probe = threading.Thread(
        target=lambda: sqlite3.connect(":memory:").close(), name="inkstream-probe", daemon=True
    )
    probe.start()
    probe.join(_PROBE_S)
    if probe.is_alive():
        raise StoreUnavailable(
            "SQLite does not answer in this forked process: a thread was inside SQLite during the "
            "fork. Let no thread use sqlite3 during a fork, or begin the process with spawn"
        )
    _is_usable = True


def check_inherited(path: Path) -> None:
    """Raise ``StoreUnavailable`` if a store of the parent process had the file open at the fork."""
    if _unparked and file_at(path) in _unparked:
        raise _refusal(path)


def check_locked(path: Path, beside: Path) -> None:
    """Raise an error if a connection's locks exist in SQLite's memory but not in the system.

    This check finds cases that no fork hook can prevent: a connection of the application that was
    open during the fork, and servers that fork outside Python. Call this after the connection's
    first read, because after that read SQLite holds a lock on a file with a write-ahead log. If the
    file has the lock of ``_holds``, the function logs a warning and does not raise.

    ``beside`` is another file in the same folder, which shows whether this system reports locks.

    Raises:
        StoreUnavailable: SQLite would write to the file without locks.
    """
    if locks_here(path) == [] and _shows_locks(beside):
        if not _holds.is_held(path):
            raise _refusal(path)
        _log.warning(
            "%s: this process read the file other than through SQLite (shutil.copy, open), which "
            "drops SQLite's locks; inkstream continues with its own lock. Such a copy may lack the "
            "last commits: use sqlite3's backup",
            path,
        )


def _refusal(path: Path) -> StoreUnavailable:
    return StoreUnavailable(
        f"{path} was open when this process was forked, so SQLite would write to it without locks. "
        "Close your own connections to the file before the fork, and start streams after the fork "
        "(gunicorn's post_fork, Celery's worker_process_init), or begin the process with spawn. If "
        "nothing was forked, this process itself read the file other than through SQLite "
        "(shutil.copy, open), which drops SQLite's locks. Then use sqlite3's backup, and restart"
    )


def _shows_locks(beside: Path) -> bool:
    """Return whether the system reports a lock that is certainly held.

    gVisor and some FUSE filesystems do not report locks.
    """
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
