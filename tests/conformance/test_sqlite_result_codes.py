"""The store turns each error of SQLite into the error of inkstream that ``TABLE`` names."""

from __future__ import annotations

import sqlite3

import pytest

from inkstream._errors import (
    InvalidInput,
    OutcomeUnknown,
    SchemaOutdated,
    StoreError,
    StoreUnavailable,
)
from inkstream.stores.sqlite._faults import translate

# The table has a row for each of SQLite's primary error codes. The store raises the first error if
# a statement returns the code, and the second error if COMMIT returns the code.
TABLE: dict[str, tuple[type[Exception], type[Exception]]] = {
    "SQLITE_ERROR": (StoreError, StoreError),
    "SQLITE_INTERNAL": (StoreError, StoreError),
    "SQLITE_PERM": (StoreUnavailable, OutcomeUnknown),
    "SQLITE_ABORT": (StoreUnavailable, OutcomeUnknown),
    "SQLITE_BUSY": (StoreUnavailable, StoreUnavailable),
    "SQLITE_LOCKED": (StoreUnavailable, OutcomeUnknown),
    "SQLITE_NOMEM": (StoreUnavailable, OutcomeUnknown),
    "SQLITE_READONLY": (StoreUnavailable, StoreUnavailable),
    "SQLITE_INTERRUPT": (StoreUnavailable, OutcomeUnknown),
    "SQLITE_IOERR": (StoreUnavailable, OutcomeUnknown),
    "SQLITE_CORRUPT": (StoreUnavailable, OutcomeUnknown),
    "SQLITE_NOTFOUND": (StoreError, StoreError),
    "SQLITE_FULL": (StoreUnavailable, StoreUnavailable),
    "SQLITE_CANTOPEN": (StoreUnavailable, OutcomeUnknown),
    "SQLITE_PROTOCOL": (StoreUnavailable, OutcomeUnknown),
    "SQLITE_EMPTY": (StoreError, StoreError),
    "SQLITE_SCHEMA": (StoreError, StoreError),
    "SQLITE_TOOBIG": (InvalidInput, InvalidInput),
    "SQLITE_CONSTRAINT": (StoreError, StoreError),
    "SQLITE_MISMATCH": (StoreError, StoreError),
    "SQLITE_MISUSE": (StoreError, StoreError),
    "SQLITE_NOLFS": (StoreUnavailable, OutcomeUnknown),
    "SQLITE_AUTH": (StoreUnavailable, OutcomeUnknown),
    "SQLITE_FORMAT": (StoreUnavailable, OutcomeUnknown),
    "SQLITE_RANGE": (StoreError, StoreError),
    "SQLITE_NOTADB": (StoreUnavailable, OutcomeUnknown),
}


@pytest.mark.parametrize("name", TABLE)
def test_every_result_code_is_mapped(name: str) -> None:
    """G12: each result code of SQLite becomes the error that ``TABLE`` names."""
    exc = sqlite3.OperationalError("what SQLite says")
    # SQLite often returns an extended code, whose low byte is the primary code.
    exc.sqlite_errorcode = getattr(sqlite3, name) | 5 << 8
    statement, commit = TABLE[name]
    assert type(translate(exc, "the.db")) is statement
    mapped = translate(exc, "the.db", committing=True)
    assert type(mapped) is commit
    assert "the.db" in str(mapped)


@pytest.mark.parametrize("name", ["SHMOPEN", "SHMSIZE", "SHMMAP"])
def test_an_error_of_the_shm_file_asks_for_the_disk(name: str) -> None:
    """If SQLite cannot make the ``-shm`` file, the error asks whether the disk is full."""
    exc = sqlite3.OperationalError("disk I/O error")
    exc.sqlite_errorcode = getattr(sqlite3, f"SQLITE_IOERR_{name}")
    assert "is the disk full?" in str(translate(exc, "the.db"))


def test_the_table_is_complete() -> None:
    """``TABLE`` has every primary error code of this version of Python's sqlite3."""
    not_errors = {"SQLITE_OK", "SQLITE_NOTICE", "SQLITE_WARNING", "SQLITE_ROW", "SQLITE_DONE"}
    other = {"SQLITE_DENY", "SQLITE_IGNORE"}  # an authoriser callback returns these values
    primary = {
        name
        for name, value in vars(sqlite3).items()
        if name.startswith("SQLITE_")
        and name.count("_") == 1
        and isinstance(value, int)
        and not name.startswith("SQLITE_LIMIT")
    }
    errors = {name for name in primary - not_errors - other if translatable(name)}
    assert errors == set(TABLE)


def translatable(name: str) -> bool:
    """Return whether ``name`` is a result code, and not an action that an authoriser checks.

    Actions have the same numbers as result codes, so only the name shows the difference.
    """
    actions = "ALTER ANALYZE ATTACH DELETE DETACH FUNCTION INSERT PRAGMA READ RECURSIVE REINDEX"
    others = "SAVEPOINT SELECT TRANSACTION UPDATE"
    return not name.endswith((*actions.split(), *others.split()))


@pytest.mark.parametrize(
    ("exc", "expected"),
    [
        (sqlite3.OperationalError("no such table: inkstream_heads"), SchemaOutdated),
        (sqlite3.DataError("too big"), InvalidInput),
        (sqlite3.ProgrammingError("Cannot operate on a closed database."), StoreUnavailable),
        (OverflowError("Python int too large"), InvalidInput),
        (UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates"), InvalidInput),
        (ValueError("a bug"), StoreError),
    ],
)
def test_errors_without_a_code(exc: Exception, expected: type[Exception]) -> None:
    if isinstance(exc, sqlite3.OperationalError):
        exc.sqlite_errorcode = sqlite3.SQLITE_ERROR
    assert type(translate(exc, "the.db")) is expected
