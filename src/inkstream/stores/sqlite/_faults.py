"""Converts the driver's errors to inkstream's own errors, many with a remedy."""

from __future__ import annotations

import sqlite3
from typing import Final

from inkstream._errors import (
    InkstreamError,
    InvalidInput,
    OutcomeUnknown,
    SchemaOutdated,
    StoreError,
    StoreUnavailable,
)

_UNAVAILABLE: Final = {
    sqlite3.SQLITE_FULL: "the disk is full; free some space",
    sqlite3.SQLITE_READONLY: "it is read-only; make the file and its directory writable",
    sqlite3.SQLITE_BUSY: "another program keeps it locked; that program must end its transaction",
    sqlite3.SQLITE_LOCKED: "another connection keeps a table locked",
    sqlite3.SQLITE_PROTOCOL: "its locks are contended or broken; is it on a network filesystem?",
    sqlite3.SQLITE_IOERR: "reading or writing the file failed; look at the system's log",
    sqlite3.SQLITE_CANTOPEN: "the file cannot be opened; check the path and its directory",
    sqlite3.SQLITE_PERM: "access to the file was denied",
    sqlite3.SQLITE_AUTH: "access was denied",
    sqlite3.SQLITE_NOMEM: "there is not enough memory",
    sqlite3.SQLITE_NOLFS: "the file is larger than this system can handle",
    sqlite3.SQLITE_INTERRUPT: "the statement was interrupted",
    sqlite3.SQLITE_ABORT: "the statement was aborted",
    sqlite3.SQLITE_CORRUPT: "the file is damaged; restore it from a backup",
    sqlite3.SQLITE_NOTADB: "the file is not a SQLite database",
    sqlite3.SQLITE_FORMAT: "the file is not a SQLite database",
}

_EXTENDED: Final = {
    # Even a connection that only reads must create the -shm file.
    **dict.fromkeys(
        (
            sqlite3.SQLITE_IOERR_SHMOPEN,
            sqlite3.SQLITE_IOERR_SHMSIZE,
            sqlite3.SQLITE_IOERR_SHMMAP,
        ),
        "its -shm file cannot be made; is the disk full?",
    ),
    sqlite3.SQLITE_BUSY_SNAPSHOT: (
        "the transaction began with a read, and another connection has written since; roll back, "
        "and begin with BEGIN IMMEDIATE"
    ),
}
"""Remedies for extended result codes, where the remedy for the primary code would be wrong."""


def primary_code(exc: sqlite3.Error) -> int:
    """Return the primary result code of one of SQLite's errors; 0 if the error has none."""
    return (getattr(exc, "sqlite_errorcode", None) or 0) & 0xFF


def translate(exc: Exception, database: str, *, committing: bool = False) -> InkstreamError:
    """Return inkstream's error for the driver's ``exc``. The caller must raise it ``from exc``.

    ``committing`` says whether COMMIT itself raised ``exc``.
    """
    if isinstance(exc, UnicodeEncodeError | OverflowError | sqlite3.DataError):
        return InvalidInput(f"{database}: a value cannot be stored: {exc}")
    if not isinstance(exc, sqlite3.Error):
        return StoreError(f"{database}: {exc}")
    code = primary_code(exc)
    if code == sqlite3.SQLITE_TOOBIG:
        return InvalidInput(f"{database}: a value is larger than SQLite can store")
    if code in _UNAVAILABLE:
        remedy = _EXTENDED.get(exc.sqlite_errorcode, _UNAVAILABLE[code])
        why = f"{database}: {remedy} ({exc})"
        if committing and loses_outcome(exc):
            return OutcomeUnknown(f"{why}; this happened in a commit, which may have succeeded")
        return StoreUnavailable(why)
    if code in (sqlite3.SQLITE_SCHEMA, sqlite3.SQLITE_ERROR) and "no such" in str(exc):
        return SchemaOutdated(
            f"{database}: {exc}: its tables are not those of this version of inkstream"
        )
    if isinstance(exc, sqlite3.ProgrammingError):
        return StoreUnavailable(f"{database}: {exc}")
    return StoreError(f"{database}: {exc}")


def loses_outcome(exc: sqlite3.Error) -> bool:
    """Return whether the transaction may have been committed although COMMIT failed.

    SQLite finds a full disk, a busy lock and a read-only file before it writes the whole commit
    frame. After any other error, such as a failed fsync, the frame may be in the file.
    """
    return primary_code(exc) not in (
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_READONLY,
    )
