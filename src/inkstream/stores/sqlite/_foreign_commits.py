"""Reads new live rows and the journal to find the streams that other connections changed."""

from __future__ import annotations

import sqlite3
from typing import Final

from inkstream._types import StreamId
from inkstream.stores.sqlite._connection import SQL
from inkstream.stores.sqlite._open_files import FileId

_MANY: Final = 4096
"""If more than this many rows are new, ``look`` does not read them, and returns ``None``."""


class ForeignCommits:
    """Uses the writing connection to find the changes of other connections.

    On that connection, ``data_version`` changes only with the commits of other connections.
    """

    def __init__(self) -> None:
        self._connection: sqlite3.Connection | None = None
        self._version = -1
        self._own_changes = -1
        self._file: FileId | None = None
        self._seen: tuple[int, int] | None = None

    def look(self, connection: sqlite3.Connection, file: FileId | None) -> list[StreamId] | None:
        """Return the streams that changed since the last look.

        ``None`` means that any stream may have changed. The list may include streams that the
        connection itself changed.
        """
        if file != self._file:
            self._file, self._seen = file, None
        (version,) = connection.execute("PRAGMA data_version").fetchone()
        is_same = connection is self._connection
        if is_same and (version, connection.total_changes) == (self._version, self._own_changes):
            return []
        # Read the version and the tables in one snapshot. If another connection committed between
        # the two reads, its rows would count as this connection's own rows, and would be missed.
        connection.execute("BEGIN")
        try:
            (version,) = connection.execute("PRAGMA data_version").fetchone()
            seen = connection.execute(SQL.ends).fetchone()
            is_own = is_same and version == self._version
            changed = [] if is_own else self._between(connection, self._seen, seen)
        finally:
            connection.execute("COMMIT")
        # Only now, because after an error the next look must find the same changes.
        self._connection, self._version = connection, version
        self._own_changes, self._seen = connection.total_changes, seen
        return changed

    def _between(
        self,
        connection: sqlite3.Connection,
        before: tuple[int, int] | None,
        now: tuple[int, int] | None,
    ) -> list[StreamId] | None:
        if before is None or now is None or now[0] < before[0] or now[1] < before[1]:
            return None  # this is the first look at the file, or a backup was restored into it
        (begin,) = connection.execute(SQL.journal_begin).fetchone()
        if now[0] - before[0] + now[1] - before[1] > _MANY or begin > before[1] + 1:
            return None
        appended = connection.execute(SQL.appended_since, (before[0], now[0]))
        names = {row[0] for row in appended}
        names.update(row[0] for row in connection.execute(SQL.changed_since, (before[1], now[1])))
        return [str.__new__(StreamId, name) for name in names]
