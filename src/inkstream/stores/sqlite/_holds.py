"""Locks a database file, with a lock that this process cannot lose by accident.

SQLite's own locks are POSIX locks. When a process closes any descriptor of a file, it loses all its
POSIX locks on the file. So ``shutil.copy`` of a database drops SQLite's locks, and SQLite does not
notice. When another process closes the file, that process then finds no lock, and removes the
write-ahead log. Everything that this process commits later is lost.
(https://www.sqlite.org/howtocorrupt.html, 2.2)

An open-file-description lock stays when the process closes another descriptor of the file. While
this lock is held, other processes do not remove the log. This module puts the lock on SQLite's own
descriptors. If the module opened the file itself and closed it again, SQLite's locks would be lost.
"""

from __future__ import annotations

import contextlib
import os
import struct
import sys
from pathlib import Path
from typing import Final

from inkstream.stores.sqlite._open_files import FileId, descriptors_of, file_at

try:
    import fcntl
except ImportError:  # Windows, where a lock belongs to its handle
    fcntl = None  # type: ignore[assignment]

HAS_HOLDS: Final = sys.platform == "linux" and sys.maxsize > 2**32
"""True if the system has open-file-description locks, with the C structure that ``_lock`` packs."""

_IN_USE: Final = (0x40000002, 510)
"""The bytes that a connection locks while the file is in use (SHARED_FIRST, SHARED_SIZE)."""
_MAPPED: Final = (128, 1)
"""The byte of the ``-shm`` file that a connection locks while the file is mapped (UNIX_SHM_DMS)."""

_holders: dict[FileId, int] = {}
"""For each file, the id of the process that took the lock.

In a forked child, an inherited id is still the id of the parent, because only the parent has that
lock.
"""


def hold(path: Path) -> None:
    """Stop other processes from removing the log. Call this after a connection's first read."""
    file = file_at(path)
    if not HAS_HOLDS or file is None:
        return
    if _lock(path, fcntl.F_RDLCK, _IN_USE):
        _holders[file] = os.getpid()
    _lock(Path(f"{path}-shm"), fcntl.F_RDLCK, _MAPPED)


def let_go(path: Path) -> None:
    """Release the lock. Otherwise the file's last connection could not remove the log."""
    file = file_at(path)
    if HAS_HOLDS and file is not None:
        _lock(path, fcntl.F_UNLCK, _IN_USE)
        _holders.pop(file, None)


def is_held(path: Path) -> bool:
    """Return whether this process holds the lock. A parent process's lock does not count."""
    file = file_at(path)
    return file is not None and _holders.get(file) == os.getpid()


def _lock(path: Path, kind: int, where: tuple[int, int]) -> bool:
    wanted = struct.pack("@hhqqi4x", kind, os.SEEK_SET, *where, 0)
    done = False
    for descriptor in descriptors_of(path) or ():
        with contextlib.suppress(OSError):  # the file was closed, or does not support this lock
            fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, wanted)
            done = True
    return done
