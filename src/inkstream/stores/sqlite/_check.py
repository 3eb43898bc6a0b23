"""Checks that the streams of a file are complete, for ``inkstream verify`` and for tests."""

from __future__ import annotations

import contextlib
import itertools
import os
import sqlite3
from collections.abc import Iterator
from typing import Any, Final

from inkstream._types import Status
from inkstream.stores._check import run_faults, segment_fault
from inkstream.stores.sqlite import _rows
from inkstream.stores.sqlite._connection import SCHEMA, SQL, Settings, connect, database_path
from inkstream.stores.sqlite._jobs import wrapped

_MOST: Final = 1_000
"""After this many faults, the check stops, because every stream may have a fault."""


def check_streams(path_or_url: str | os.PathLike[str]) -> list[str]:
    """Compare each stream's segments with the stream's state; return a list of faults.

    The check begins with SQLite's own quick check. Then it finds missing tables, gaps and overlaps
    between segments, wrong sizes and indexes, text that is not UTF-8, wrong runs, and ends that do
    not fit the status. The check reads one snapshot, and writers may run meanwhile. The call
    blocks.

    Raises:
        StoreUnavailable: The file cannot be read.
        InvalidInput: The URL does not name a SQLite file.
    """
    path = database_path(path_or_url)
    try:
        db = connect(Settings(path, "full", 5.0), read_only=True)
        try:
            db.execute("BEGIN")
            faults: list[str] = []
            for fault in _faults(db):
                faults.append(fault)
                if len(faults) >= _MOST:
                    return [*faults, "and more"]
            return faults
        finally:
            db.close()
    except sqlite3.Error as exc:
        raise wrapped(exc, path) from exc


def _faults(db: sqlite3.Connection) -> Iterator[str]:
    for (said,) in db.execute("PRAGMA quick_check(100)"):
        if said != "ok":
            yield f"SQLite: {said}"
    missing = _missing(db)
    yield from (f"missing: {name}" for (name,) in missing)
    if any(name.startswith("table") for (name,) in missing):
        return
    for what, sql in ("state", SQL.lost_states), ("segments", SQL.lost_segments):
        for (internal_id,) in db.execute(sql):
            yield f"{what} of no stream: internal id {internal_id}"
    for row in db.execute(SQL.checked_streams):
        for fault in _faults_of(db, row):
            yield f"stream {row[1]!r} ({row[0]}): {fault}"


def _missing(db: sqlite3.Connection) -> list[tuple[str]]:
    """Return the tables and indexes that the file should have and does not have."""
    names = "SELECT type || ' ' || name FROM sqlite_schema"
    with contextlib.closing(sqlite3.connect(":memory:")) as model:
        model.executescript(SCHEMA)
        return sorted({*model.execute(names)} - {*db.execute(names)})


def _faults_of(db: sqlite3.Connection, row: tuple[Any, ...]) -> Iterator[str]:
    internal_id, _, status, ordinal, tail, size, last_live, chain, begin, gone, ended_at = row[:11]
    facts = {"last_live": last_live, "internal_id": internal_id}
    live = db.execute(SQL.checked_chain, facts).fetchall()[::-1]
    if len(live) != chain:
        yield f"it says {chain} live rows and has {len(live)}"
    at, total = begin, 0
    for position, count, payload, index in itertools.chain(
        db.execute(SQL.checked_segments, (internal_id,)), live
    ):
        if position != at:
            what = "a gap" if position > at else "an overlap"
            yield f"{what} between positions {at} and {position}"
        fault = segment_fault(count, payload, index)
        if fault is not None:
            yield f"the segment at {position} {fault}"
        at = position + count
        total += len(payload)
    if at != tail:
        yield f"its tail is {tail}, and its messages end at {at}"
    if total != size:
        yield f"its size is {size}, and its messages have {total} bytes"
    if (ended_at is not None) != Status(status).ended:
        yield f"its status is {status}, but its end does not fit"
    if not gone and ordinal != _rows.ORDINALS[Status(status)]:
        yield f"its status is {status}, but its head has another"
    yield from run_faults(row[11], tail, row[12])
