"""Asks the operating system about database files: which are open, replaced or locked."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from inkstream._errors import StoreUnavailable


class FileId(NamedTuple):
    """The identity of a file. A new file at the same path has another identity."""

    device: int
    inode: int


def file_at(path: str | Path) -> FileId | None:
    """Return the identity of the file at a path; ``None`` if no file can be found there."""
    try:
        status = os.stat(path)  # noqa: PTH116 - a Path costs more than the call
    except OSError:
        return None
    return FileId(status.st_dev, status.st_ino)


def descriptors_of(path: Path) -> list[int] | None:
    """Return this process's descriptors of a file; ``None`` if the system does not show them."""
    file = file_at(path)
    try:
        descriptors = [int(entry.name) for entry in Path("/proc/self/fd").iterdir()]
    except OSError:
        return None
    found = []
    for descriptor in descriptors:
        with contextlib.suppress(OSError):  # closed meanwhile
            status = os.fstat(descriptor)
            if (status.st_dev, status.st_ino) == file:
                found.append(descriptor)
    return found


def locks_here(path: Path) -> list[str] | None:
    """Return this process's POSIX locks on a file.

    Return ``None`` if this process does not have the file open, or if the system has no ``/proc``.

    This function does not read ``/proc/locks``, because the devices and process ids there differ
    from the results of ``stat`` and ``getpid`` on btrfs, on overlay filesystems, and if ``/proc``
    belongs to another container.
    """
    found: list[str] | None = None
    for descriptor in descriptors_of(path) or ():
        with contextlib.suppress(OSError):  # closed meanwhile
            shown = Path(f"/proc/self/fdinfo/{descriptor}").read_text().splitlines()
            found = (found or []) + [
                line for line in shown if line.startswith("lock:") and "POSIX" in line
            ]
    return found


_WRITE_LOCK: str = "120"
"""The byte of the ``-shm`` file that a writing connection locks (WAL_WRITE_LOCK in wal.c)."""


def is_written_here(path: Path) -> bool:
    """Return whether a connection of this process writes to the database at ``path`` right now."""
    return any(
        fields[-2] == _WRITE_LOCK and "WRITE" in fields
        for fields in (line.split() for line in locks_here(Path(f"{path}-shm")) or ())
    )


def other_holder(lock_file: Path) -> int | None:
    """Return the id of another process that has the ``flock`` on a file; ``None`` if none is found.

    On some systems (see ``locks_here``) no process is found, so use the result only in messages.
    """
    return _other(lock_file, "FLOCK", "0")


def other_writer(path: Path) -> int | None:
    """Return the id of another process that writes to a database; ``None`` if none is found.

    On some systems (see ``locks_here``) no process is found, so use the result only in messages.
    """
    return _other(Path(f"{path}-shm"), "POSIX", _WRITE_LOCK)


def _other(path: Path, kind: str, byte: str) -> int | None:
    file = file_at(path)
    if file is None:
        return None
    name = f"{os.major(file.device):02x}:{os.minor(file.device):02x}:{file.inode}"
    try:
        locks = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    except OSError:
        return None
    for _, *what, pid, where, first, _ in (fields for fields in locks if len(fields) == 8):
        if what == [kind, "ADVISORY", "WRITE"] and (where, first) == (name, byte):
            return None if int(pid) == os.getpid() else int(pid)
    return None


_SUFFIXES = ("", "-wal", "-shm")


class OpenFiles:
    """The files of an open connection.

    The connection uses these files even after they were deleted, or other files took their places.
    Every commit after that is lost, because the old files exist only until the connection is
    closed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._paths = tuple(f"{path}{suffix}" for suffix in _SUFFIXES)
        self._files = self._there()
        files = zip(self._paths, self._files, strict=True)
        self._known = [(path, file) for path, file in files if file is not None]

    @property
    def database(self) -> FileId | None:
        """The identity of the database file."""
        return self._files[0]

    def are_in_place(self) -> bool:
        """Return whether other processes would open the same files."""
        if len(self._known) < len(_SUFFIXES):
            return self._there() == self._files
        try:
            for path, file in self._known:
                status = os.stat(path)  # noqa: PTH116 - a Path costs more than the call
                if status.st_ino != file.inode or status.st_dev != file.device:
                    return False
        except OSError:
            return False
        return True

    def check(self) -> None:
        """Raise ``StoreUnavailable`` if one of the files was deleted or replaced."""
        if self.are_in_place():
            return
        there = self._there()
        moved = [at for at in range(len(_SUFFIXES)) if there[at] != self._files[at]]
        if not moved:
            return
        self._check_log_alone(there)
        how = "deleted" if there[moved[0]] is None else "replaced"
        raise StoreUnavailable(
            f"{self._path}{_SUFFIXES[moved[0]]} was {how} while it was in use: what was committed "
            "just now is lost. Stop every process before you restore or remove a database"
        )

    def check_log(self) -> None:
        """Raise an error if SQLite would remove the write-ahead log, or mix it with a new database.

        Raises:
            StoreUnavailable
        """
        there = self._there()
        self._check_log_alone(there)
        database, log, _ = there
        if database != self._files[0] and log is not None and log == self._files[1]:
            raise StoreUnavailable(
                f"{self._path} was replaced while it was in use, but {self._path}-wal belongs to "
                "the old file, and may have its newest text: stop every process, move the -wal and "
                "the -shm away, and restore the backup again"
            )

    def _check_log_alone(self, there: tuple[FileId | None, ...]) -> None:
        """Raise ``StoreUnavailable`` if the database is gone, but its write-ahead log is there.

        The log may have the newest text. If SQLite created a new database beside the log, it would
        remove the log.
        """
        database, log, _ = there
        if database is None and log is not None and log == self._files[1]:
            raise StoreUnavailable(
                f"{self._path} was moved or deleted while it was in use, and {self._path}-wal may "
                "have its newest text. If the file was moved, put it back beside its -wal before "
                "you do anything else"
            )

    def _there(self) -> tuple[FileId | None, ...]:
        return tuple(map(file_at, self._paths))


class LastOpened:
    """Remembers the files that a store's last connection opened."""

    def __init__(self) -> None:
        self._last: OpenFiles | None = None
        self.on_another: Callable[[], None] = lambda: None
        """Called, on any thread, when a connection opens another file than the last connection."""

    def check(self) -> None:
        """Raise ``StoreUnavailable`` as ``OpenFiles.check_log`` does."""
        if self._last is not None:
            self._last.check_log()

    def opened(self, path: Path) -> OpenFiles:
        """Return the files of a connection that has just been opened."""
        last, self._last = self._last, OpenFiles(path)
        if last is not None and last.database != self._last.database:
            self.on_another()
        return self._last
