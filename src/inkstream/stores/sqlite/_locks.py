"""Locks that the operating system releases when a process ends, however it ends.

All of them are ``flock`` on files beside the database, never on the database itself: to open and
close that file by another way than SQLite's drops SQLite's own locks on it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import time
from pathlib import Path
from typing import Final
from urllib.parse import quote

from inkstream._errors import StoreUnavailable

try:
    import fcntl
except ImportError:  # Windows: no lock can be tested from here
    fcntl = None  # type: ignore[assignment]

HAS_LOCKS: Final[bool] = fcntl is not None

_READY: Final = b"ready"

_held: set[int] = set()
"""Descriptors that must not live on in a forked child, where they would keep the lock alive."""


def _drop_in_child() -> None:
    for descriptor in _held:
        # never LOCK_UN: it would release the parent's lock, which shares the open file
        with contextlib.suppress(OSError):
            os.close(descriptor)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_drop_in_child)


def _open(path: Path, like: Path) -> int:
    """Open a lock file; a new one gets the rights of the database, as SQLite's own files do."""
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
    mode = _rights(like)
    try:
        descriptor = os.open(path, flags | os.O_EXCL, mode)
        os.fchmod(descriptor, mode)  # whatever the umask
    except FileExistsError:
        descriptor = os.open(path, flags, mode)
    _held.add(descriptor)
    return descriptor


def _rights(database: Path) -> int:
    try:
        return database.stat().st_mode & 0o666
    except OSError:
        return 0o600


def _close(descriptor: int) -> None:
    if descriptor in _held:
        _held.discard(descriptor)
        os.close(descriptor)


class WritersLock:
    """The lock on which the writers of several processes queue, in the order they came.

    It makes sure that no two connections write or checkpoint at once, which SQLite before 3.51.3
    must not do to a write-ahead log, and it wakes the next writer at once, where SQLite's own
    busy handler sleeps.
    """

    def __init__(self, database: Path) -> None:
        self._database = database
        self._path = Path(f"{database}-inkstream-lock")
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Wait for the lock, without bound: the caller's deadline stands above this thread."""
        if not HAS_LOCKS:
            return
        if self._descriptor not in _held:  # not open yet, or dropped by a fork
            self._descriptor = _open(self._path, self._database)
        assert self._descriptor is not None
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)

    def release(self) -> None:
        """Let the next one write."""
        if HAS_LOCKS and self._descriptor is not None:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *exc: object) -> None:
        self.release()

    def close(self) -> None:
        """Close the file."""
        if self._descriptor is not None:
            _close(self._descriptor)
            self._descriptor = None


class WorkerLocks:
    """A file for each worker of a database, locked for as long as the worker's process lives."""

    def __init__(self, database: Path) -> None:
        self._database = database
        self._directory = Path(f"{database}-workers")
        self._descriptor: int | None = None
        self._ready = False

    def hold(self, worker: str) -> None:
        """Take the lock in a worker's name, unless it is held here.

        Raises:
            StoreUnavailable: Somebody else holds it.
        """
        if not HAS_LOCKS or self._holds(worker):
            return
        self.release()
        self._make_directory()
        descriptor = _open(self._file(worker), self._database)
        deadline = time.monotonic() + 2
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                # a moment's test by another process, most likely; this one is a thread of its own
                if time.monotonic() > deadline:
                    _close(descriptor)
                    raise StoreUnavailable(
                        f"a worker named {worker!r} is already at work on this database"
                    ) from None
                time.sleep(0.002)
        os.ftruncate(descriptor, 0)
        self._descriptor, self._ready = descriptor, False

    def _make_directory(self) -> None:
        try:
            self._directory.mkdir()
        except FileExistsError:
            return
        rights = _rights(self._database)
        self._directory.chmod(rights | (rights & 0o444) >> 2)  # to search it, for those who read

    def _holds(self, worker: str) -> bool:
        if self._descriptor is None or self._descriptor not in _held:
            return False
        try:
            mine, there = os.fstat(self._descriptor), self._file(worker).stat()
        except OSError:
            return False  # somebody removed the file
        return (mine.st_dev, mine.st_ino) == (there.st_dev, there.st_ino)

    def is_held(self, worker: str) -> bool | None:
        """Tell whether a worker of this host holds its lock; ``None`` where there is none to test.

        A file that is missing says nothing: somebody cleaned up, and a worker that lives makes it
        anew with its next heartbeat.
        """
        return self._is_held(self._file(worker))

    def _is_held(self, file: Path) -> bool | None:
        if not HAS_LOCKS:
            return None
        try:
            descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            # shared: two that test at once do not take each other for the worker
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return None
        finally:
            os.close(descriptor)
        return False

    def show_ready(self) -> None:
        """Say that this worker is past what must be done after a restore; see ``Generations``."""
        if not self._ready and self._descriptor in _held:
            assert self._descriptor is not None
            os.pwrite(self._descriptor, _READY, 0)
            self._ready = True

    def others_are_ready(self) -> bool:
        """Tell whether a worker that lives has said so: then there was no restore before now."""
        if not HAS_LOCKS or not self._directory.is_dir():
            return False
        return any(
            self._is_held(file) and file.read_bytes() == _READY
            for file in self._directory.glob("*.lock")
        )

    def remove(self, worker: str) -> None:
        """Remove the file of a worker that is dead; one that lives keeps it."""
        if self.is_held(worker) is False:
            self._file(worker).unlink(missing_ok=True)

    def release(self) -> None:
        """Let go of the lock."""
        if self._descriptor is not None:
            _close(self._descriptor)
            self._descriptor = None

    def _file(self, worker: str) -> Path:
        name = quote(worker, safe="")
        if len(name) > 200:
            name = hashlib.sha256(name.encode()).hexdigest()
        return self._directory / f"{name}.lock"


def host_identity() -> str:
    """Return what all processes that share this machine's locks have in common until it reboots."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return platform.node()
