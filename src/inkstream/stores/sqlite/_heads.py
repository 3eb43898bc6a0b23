"""Heads in memory: rows of ``inkstream_heads``, kept from one commit to the next."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Sequence
from typing import Any, Final

from inkstream._types import Status
from inkstream.stores.sqlite import _rows
from inkstream.stores.sqlite._connection import SQL

_KEPT: Final = 4096


class HeadRow:
    """A row of ``inkstream_heads`` as a commit reads it and moves it."""

    __slots__ = (
        "appended_at",
        "chain",
        "epoch",
        "generation",
        "internal_id",
        "last_live",
        "ordinal",
        "size",
        "status",
        "tail",
    )

    ordinal: int | None
    status: Status | None
    last_live: int | None
    appended_at: float | None

    def __init__(self, row: Sequence[Any]) -> None:
        (
            self.internal_id,
            self.ordinal,
            self.epoch,
            self.tail,
            self.size,
            self.last_live,
            self.chain,
            self.appended_at,
            self.generation,
        ) = row
        self.status = None if self.ordinal is None else _rows.STATUSES[self.ordinal]


class Commit:
    """A token for one transaction: whether its rows are in the database is not known before."""


class Heads:
    """Keep the heads that the last commit wrote, so that the next one need not read them.

    They are valid only if that transaction was committed and nothing was written since: not by
    another connection (``data_version`` shows that) and not by this one (``total_changes``).
    """

    def __init__(self) -> None:
        self.committed: Commit | None = None
        """The newest transaction that was committed; set after ``COMMIT``, on any thread."""
        self._rows: dict[int, HeadRow] = {}
        self._commit: Commit | None = None
        self._connection: sqlite3.Connection | None = None
        self._version = -1
        self._mark: tuple[int, int] | None = None

    def read(
        self, db: sqlite3.Connection, ids: Collection[int], *, anew: bool
    ) -> dict[int, HeadRow]:
        """Return the heads of these streams, and maybe others, inside a transaction.

        The caller moves the rows in place, writes them, and then calls ``written``.
        """
        (version,) = db.execute("PRAGMA data_version").fetchone()
        valid = (
            not anew
            and db is self._connection
            and self._commit is self.committed
            and self._mark == (version, db.total_changes)
            and len(self._rows) < _KEPT
        )
        # Whatever stops this transaction, the rows are not valid for the next one.
        self._connection = None
        self._version = version
        if not valid:
            self._rows = {}
        missing = [id_ for id_ in ids if id_ not in self._rows]
        if missing:
            self._rows.update((row[0], HeadRow(row)) for row in _read(db, missing))
        return self._rows

    def written(self, db: sqlite3.Connection) -> Commit:
        """Note that the rows were written. They are valid once ``committed`` is what this returns.

        The caller sets ``committed`` after ``COMMIT`` has succeeded.
        """
        self._commit = Commit()
        self._connection = db
        self._mark = (self._version, db.total_changes)
        return self._commit


def _read(db: sqlite3.Connection, ids: Sequence[int]) -> Sequence[Sequence[Any]]:
    if len(ids) == 1:
        return db.execute(SQL.head, tuple(ids)).fetchall()
    return db.execute(SQL.heads, (_rows.dump_ids(ids),)).fetchall()
