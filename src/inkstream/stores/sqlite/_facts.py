"""Reads facts about a database file, for operators. These reads take no write lock."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from inkstream._errors import StoreUnavailable
from inkstream.stores.sqlite._connection import (
    SCHEMA_VERSION,
    SQL,
    Settings,
    check_place,
    connect,
    database_path,
    lock_file,
)
from inkstream.stores.sqlite._jobs import wrapped


@dataclass(frozen=True, slots=True)
class FileFacts:
    """Facts about a SQLite file.

    Attributes:
        journal_mode: ``"wal"``, if inkstream has opened the file for writing.
        version: The schema version of the file; ``None`` if the file has no tables of inkstream.
        wanted: The schema version that this library needs.
        wal_bytes: The size of the file's write-ahead log.
    """

    journal_mode: str
    version: int | None
    wanted: int
    wal_bytes: int
    page_bytes: int
    pages: int
    free_pages: int


def file_and_companions(path_or_url: str | os.PathLike[str]) -> tuple[Path, list[Path]]:
    """Return the paths of the database file, and of its ``-wal``, ``-shm`` and lock file."""
    path = database_path(path_or_url)
    return path, [Path(f"{path}-wal"), Path(f"{path}-shm"), lock_file(path)]


def why_unsuitable(path: Path) -> str | None:
    """Return why a file cannot be used at its path, or ``None`` if the file can be used."""
    try:
        check_place(path)
    except StoreUnavailable as exc:
        return str(exc)
    return None


def has_tables(path: Path) -> bool:
    """Return whether a file has inkstream's tables. The call blocks, and leaves nothing behind.

    Raises:
        StoreUnavailable: The file cannot be read, or is not a SQLite database.
    """
    try:
        if path.stat().st_size == 0:
            # If SQLite opened an empty file, it would remove the write-ahead log beside the file.
            return False
        address = f"file:{quote(str(path))}?mode=rw"
        with contextlib.closing(sqlite3.connect(address, uri=True, timeout=5.0)) as db:
            return bool(db.execute(SQL.schema_exists).fetchone()[0])
    except OSError as exc:
        raise StoreUnavailable(f"{path}: the file cannot be read: {exc}") from exc
    except sqlite3.Error as exc:
        raise wrapped(exc, path) from exc


def facts_of(path: Path) -> FileFacts:
    """Return the facts about a file. The call blocks.

    Raises:
        StoreUnavailable: The file cannot be read.
    """
    try:
        db = connect(Settings(path, "full", 5.0), read_only=True)
        try:
            return _facts(db, path)
        finally:
            db.close()
    except sqlite3.Error as exc:
        raise wrapped(exc, path) from exc


def _facts(db: sqlite3.Connection, path: Path) -> FileFacts:
    version = None
    if db.execute(SQL.schema_exists).fetchone()[0]:
        (version,) = db.execute(SQL.schema_version).fetchone()
    mode, page_bytes, pages, free_pages = (
        db.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("journal_mode", "page_size", "page_count", "freelist_count")
    )
    log = Path(f"{path}-wal")
    wal_bytes = log.stat().st_size if log.exists() else 0
    return FileFacts(mode, version, SCHEMA_VERSION, wal_bytes, page_bytes, pages, free_pages)
