"""Check whether a SQLite file meets inkstream's needs. ``examine`` blocks."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from inkstream._errors import InkstreamError, StoreUnavailable
from inkstream.operations.doctor.findings import Finding, Verdict, fine
from inkstream.stores.sqlite import (
    FileFacts,
    facts_of,
    file_and_companions,
    has_tables,
    why_unsuitable,
)

_LARGE_WAL: Final = 64 << 20
_MANY_FREE: Final = 64 << 20
_LITTLE_ROOM: Final = 1 << 30


def _problem(check: str, message: str, mend: str) -> Finding:
    return Finding(check, Verdict.PROBLEM, message, {"SQLite": mend})


def examine(url: str) -> list[Finding]:
    """Return the findings about a file.

    Raises:
        StoreUnavailable: The file does not exist.
    """
    path, companions = file_and_companions(url)
    if not path.exists():
        raise StoreUnavailable(f"there is no database {path}")
    found = [_place(path), _permissions(path, companions), _disk(path)]
    if found[0].verdict is Verdict.PROBLEM:
        return found  # in an unsuitable place, opening the file could damage it
    found.append(_version())
    try:
        # A file of another program has no inkstream tables. Beside such a file, ``facts_of`` must
        # not leave a lock file.
        facts = facts_of(path) if has_tables(path) else None
    except InkstreamError as exc:
        return [*found, Finding("read", Verdict.PROBLEM, str(exc))]
    if facts is None:
        message = "it has no inkstream tables"
        return [*found, _problem("migrations", message, "start the application once")]
    return [*found, _migrations(facts), _log(facts), _free(facts)]


def _place(path: Path) -> Finding:
    why = why_unsuitable(path)
    if why is not None:
        return _problem("place", why, "use a local disk, and a folder that the process may write")
    return fine("place", f"{path}, where its locks can be relied on")


def _permissions(path: Path, companions: Iterable[Path]) -> Finding:
    mode = stat.S_IMODE(path.stat().st_mode)
    barred = [file.name for file in companions if file.exists() and not _writable(file)]
    if barred:
        mend = "one user for every process that opens it; chown the files to that user"
        return _problem("permissions", f"this user may not write {', '.join(barred)}", mend)
    if mode & (stat.S_IROTH | stat.S_IWOTH):
        message = f"every user of the machine may read the text (mode {mode:o})"
        return _problem("permissions", message, f"chmod 600 {path}")
    return fine("permissions", f"mode {mode:o}, and this user may write")


def _writable(path: Path) -> bool:
    return os.access(path, os.R_OK | os.W_OK)


def _disk(path: Path) -> Finding:
    left = shutil.disk_usage(path.parent).free
    size = path.stat().st_size
    message = f"{left / 1e9:.1f} GB are free; the file has {size / 1e6:.1f} MB"
    if left < min(_LITTLE_ROOM, max(2 * size, 64 << 20)):
        mend = "make room, or set retain_s= and delete old streams"
        return _problem("disk", message, mend)
    return fine("disk", message)


def _version() -> Finding:
    return fine("version", f"SQLite {sqlite3.sqlite_version}, the interpreter's own")


def _migrations(facts: FileFacts) -> Finding:
    if facts.version != facts.wanted:
        message = f"its tables have version {facts.version}; this inkstream needs {facts.wanted}"
        return _problem("migrations", message, "use the version of inkstream that wrote it")
    return fine("migrations", "the tables are as this version needs")


def _log(facts: FileFacts) -> Finding:
    if facts.journal_mode != "wal":
        mend = "start the application once, in one process: it changes the mode"
        return _problem("wal", f"its journal mode is {facts.journal_mode}", mend)
    message = f"its write-ahead log has {facts.wal_bytes / 1e6:.1f} MB"
    if facts.wal_bytes > _LARGE_WAL:
        mend = (
            "end the program that keeps reading from it: a backup, a shell with an open transaction"
        )
        return _problem("wal", message, mend)
    return fine("wal", message)


def _free(facts: FileFacts) -> Finding:
    message = f"{facts.free_pages} of its {facts.pages} pages are free"
    if facts.free_pages * facts.page_bytes > _MANY_FREE and facts.free_pages > facts.pages // 2:
        mend = "VACUUM in the program sqlite3, while no process has the file open"
        return _problem("free_pages", message, mend)
    return fine("free_pages", message)
