"""Keeps rows of ``inkstream_heads`` in memory, from one commit to the next."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Sequence
from typing import Any, Final

from inkstream._types import Status
from inkstream.stores.sqlite import _rows
from inkstream.stores.sqlite._connection import SQL

_KEPT: Final = 4096


class HeadRow:
    """A row of ``inkstream_heads``."""

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
    """A token for one transaction; see ``Heads.written``."""


class Heads:
    """Keep the heads of earlier commits, so that the next commit need not read them.

    The kept heads are valid only if the last transaction was committed, and no connection has
    written anything since then. ``data_version`` shows writes of other connections, and
    ``total_changes`` shows writes of this connection.
    """

    def __init__(self) -> None:
        self.committed: Commit | None = None
        """The newest transaction that was committed. The caller sets it after ``COMMIT``."""
        self._rows: dict[int, HeadRow] = {}
        self._commit: Commit | None = None
        self._connection: sqlite3.Connection | None = None
        self._version = -1
        self._mark: tuple[int, int] | None = None

    def read(
        self, db: sqlite3.Connection, ids: Collection[int], *, anew: bool
    ) -> dict[int, HeadRow]:
        """Return the heads of the streams ``ids``, and maybe of other streams.

        Call this in a transaction. With ``anew``, every head is read from the file. The caller
        changes the rows in place, writes them, and then calls ``written``.
        """
        (version,) = db.execute("PRAGMA data_version").fetchone()
        valid = (
            not anew
            and db is self._connection
            and self._commit is self.committed
            and self._mark == (version, db.total_changes)
            and len(self._rows) < _KEPT
        )
        # The caller changes the rows in place. If the caller fails before it calls ``written``, the
        # rows may differ from the file, so the next transaction must not use them.
        self._connection = None
        self._version = version
        if not valid:
            self._rows = {}
        missing = [id_ for id_ in ids if id_ not in self._rows]
        if missing:
            self._rows.update((row[0], HeadRow(row)) for row in _read(db, missing))
        return self._rows

    def written(self, db: sqlite3.Connection) -> Commit:
        """Record that the rows were written, and return a token for this transaction.

        After ``COMMIT``, the caller sets ``committed`` to the token. Only then are the rows valid.
        """
        self._commit = Commit()
        self._connection = db
        self._mark = (self._version, db.total_changes)
        return self._commit


def _read(db: sqlite3.Connection, ids: Sequence[int]) -> Sequence[Sequence[Any]]:
    if len(ids) == 1:
        return db.execute(SQL.head, tuple(ids)).fetchall()
    return db.execute(SQL.heads, (_rows.dump_ids(ids),)).fetchall()
