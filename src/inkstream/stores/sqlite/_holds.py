"""Locks on a database that this process cannot lose by accident.

SQLite's own are POSIX locks: a process loses all that it has on a file when it closes any
descriptor of it, so ``shutil.copy`` of a database drops them, and SQLite does not know. Then the
next process that closes the file takes itself for the last one and removes the log, with whatever
this process commits meanwhile. (https://www.sqlite.org/howtocorrupt.html, 2.2)

An open-file-description lock goes only when its own descriptor is closed, and keeps others from
the same step. It is put on SQLite's own descriptors: one opened here would have to be closed.
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
except ImportError:  # Windows, whose locks belong to their handle
    fcntl = None  # type: ignore[assignment]

HAS_HOLDS: Final = sys.platform == "linux" and sys.maxsize > 2**32
"""Whether the system has such locks, in the layout that is known here."""

_IN_USE: Final = (0x40000002, 510)
"""What a connection locks to say that the file is in use (SHARED_FIRST and SHARED_SIZE)."""
_MAPPED: Final = (128, 1)
"""What a connection locks in the ``-shm`` file while it has it mapped (UNIX_SHM_DMS)."""

_holders: dict[FileId, int] = {}
"""The process that holds a file: one that was forked from it finds another's number here."""


def hold(path: Path) -> None:
    """Keep other processes from removing the log; to be called when a connection has read."""
    file = file_at(path)
    if not HAS_HOLDS or file is None:
        return
    if _lock(path, fcntl.F_RDLCK, _IN_USE):
        _holders[file] = os.getpid()
    _lock(Path(f"{path}-shm"), fcntl.F_RDLCK, _MAPPED)


def let_go(path: Path) -> None:
    """Let the last connection remove the log as it closes; it could not under this very lock."""
    file = file_at(path)
    if HAS_HOLDS and file is not None:
        _lock(path, fcntl.F_UNLCK, _IN_USE)
        _holders.pop(file, None)


def is_held(path: Path) -> bool:
    """Tell whether this very process, not one that it was forked from, holds the file."""
    file = file_at(path)
    return file is not None and _holders.get(file) == os.getpid()


def _lock(path: Path, kind: int, where: tuple[int, int]) -> bool:
    wanted = struct.pack("@hhqqi4x", kind, os.SEEK_SET, *where, 0)
    done = False
    for descriptor in descriptors_of(path) or ():
        with contextlib.suppress(OSError):  # closed meanwhile, or a filesystem without such locks
            fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, wanted)
            done = True
    return done
