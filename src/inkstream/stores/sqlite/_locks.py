"""Locks that the operating system releases when a process ends in any way.

These locks are on files beside the database, never on the database itself. A process that opens and
closes the database file without SQLite would drop SQLite's own locks on the file.
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
from inkstream.stores.sqlite._open_files import other_holder, other_writer

try:
    import fcntl
except ImportError:  # Windows: this module cannot test a lock there
    fcntl = None  # type: ignore[assignment]

HAS_LOCKS: Final[bool] = fcntl is not None

_READY: Final = b"ready"

_held: set[int] = set()
"""Descriptors that a forked child must close. Otherwise the locks would outlive the parent."""


def _drop_in_child() -> None:
    for descriptor in _held:
        # Never use LOCK_UN here. Parent and child share the open file, so LOCK_UN would release the
        # parent's lock too.
        with contextlib.suppress(OSError):
            os.close(descriptor)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_drop_in_child)


def _open(path: Path, like: Path) -> int:
    """Open a lock file. A new file gets the database's permissions, like SQLite's own files."""
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
    mode = _rights(like)
    try:
        descriptor = os.open(path, flags | os.O_EXCL, mode)
        os.fchmod(descriptor, mode)  # so that the umask does not change the mode
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
    """The lock on which the writers of several processes queue.

    A store's write thread writes and makes checkpoints only while it holds this lock. In SQLite
    before 3.51.3, a write and a checkpoint at the same time may damage the database. A writer that
    releases this lock wakes the next writer immediately. SQLite's own busy handler would sleep
    between attempts.
    """

    def __init__(self, database: Path) -> None:
        self._database = database
        self._path = Path(f"{database}-inkstream-lock")
        self._descriptor: int | None = None
        self.is_awaited = False
        """Whether a thread waits for the lock in ``acquire``. Any thread may ask."""

    def acquire(self) -> None:
        """Wait for the lock without a time limit."""
        if not HAS_LOCKS:
            return
        if self._descriptor not in _held:  # not yet opened, or closed in a forked child
            self._descriptor = _open(self._path, self._database)
        assert self._descriptor is not None
        self.is_awaited = True
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        finally:
            self.is_awaited = False

    def why_taken(self) -> str:
        """Return who keeps writers waiting, as far as the system shows this. The call blocks."""
        holder = other_holder(self._path)
        if holder is None:
            writer = other_writer(self._database)
            if writer is not None:
                return f"{self._database}: process {writer} has not ended its transaction"
        who = "another process or a slow disk" if holder is None else f"process {holder}"
        return f"{who} keeps the writers' lock ({self._path})"

    def release(self) -> None:
        """Release the lock for the next writer."""
        if HAS_LOCKS and self._descriptor is not None:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *exc: object) -> None:
        self.release()

    def close(self) -> None:
        """Close the lock file."""
        if self._descriptor is not None:
            _close(self._descriptor)
            self._descriptor = None


class WorkerLocks:
    """The lock files of a database's workers.

    A file stays locked until its worker releases the lock, or the worker's process ends.
    """

    def __init__(self, database: Path) -> None:
        self._database = database
        self._directory = Path(f"{database}-workers")
        self._descriptor: int | None = None
        self._ready = False

    def hold(self, worker: str) -> None:
        """Take the lock in a worker's name, unless this object already holds it.

        Raises:
            StoreUnavailable: Another process or store holds the lock.
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
                # Probably another process is only testing the lock. No event loop runs on this
                # thread, so this thread may sleep.
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
        # A user who may read the database may also list the directory.
        self._directory.chmod(rights | (rights & 0o444) >> 2)

    def _holds(self, worker: str) -> bool:
        if self._descriptor is None or self._descriptor not in _held:
            return False
        try:
            mine, there = os.fstat(self._descriptor), self._file(worker).stat()
        except OSError:
            return False  # the file was removed
        return (mine.st_dev, mine.st_ino) == (there.st_dev, there.st_ino)

    def is_held(self, worker: str) -> bool | None:
        """Return whether a worker of this host holds its lock; ``None`` if no lock can be tested.

        A missing lock file proves nothing, because a cleanup may have removed the file. A living
        worker creates its file again with its next heartbeat.
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
            # The test takes a shared lock, so that two processes that test at the same time do not
            # take each other for the worker.
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return None
        finally:
            os.close(descriptor)
        return False

    def show_ready(self) -> None:
        """Record in the lock file: this worker is ready, because no new generation is due.

        See ``Generations.due``.
        """
        if not self._ready and self._descriptor in _held:
            assert self._descriptor is not None
            os.pwrite(self._descriptor, _READY, 0)
            self._ready = True

    def others_are_ready(self) -> bool:
        """Return whether a living worker called ``show_ready``.

        If so, no backup was restored after that worker's call, because a backup may be restored
        only while all workers are stopped.
        """
        if not HAS_LOCKS or not self._directory.is_dir():
            return False
        return any(
            self._is_held(file) and file.read_bytes() == _READY
            for file in self._directory.glob("*.lock")
        )

    def remove(self, worker: str) -> None:
        """Remove the lock file of a dead worker; keep the file of a living worker."""
        if self.is_held(worker) is False:
            self._file(worker).unlink(missing_ok=True)

    def release(self) -> None:
        """Release this worker's lock."""
        if self._descriptor is not None:
            _close(self._descriptor)
            self._descriptor = None

    def _file(self, worker: str) -> Path:
        name = quote(worker, safe="")
        if len(name) > 200:
            name = hashlib.sha256(name.encode()).hexdigest()
        return self._directory / f"{name}.lock"


def host_identity() -> str:
    """Return a value that is the same, until a reboot, in all processes that share these locks."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return platform.node()
