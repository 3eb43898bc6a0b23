"""The reads of the store. Every function runs inside one snapshot."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from inkstream import wire
from inkstream._errors import StreamGone, StreamNotFound
from inkstream._types import KEEP, Page, Query, Read, Segment, Status, StreamId, StreamState
from inkstream.stores._share import share_of
from inkstream.stores.sqlite import _rows
from inkstream.stores.sqlite._connection import SQL

Database = sqlite3.Connection | sqlite3.Cursor

_LIVE: Final = frozenset({Status.PENDING, Status.STREAMING, Status.OPEN})


def read(
    db: Database,
    stream_id: StreamId,
    after: int,
    max_bytes: int,
    marks: Sequence[str],
) -> Page:
    """Return a page of a stream."""
    row = db.execute(SQL.state_by_name, (stream_id,)).fetchone()
    if row is None:
        raise StreamNotFound(stream_id)
    state = _rows.state(row)
    if state.gone:
        raise StreamGone(stream_id)
    segments: list[Segment] = []
    if max_bytes > 0 and after < state.tail:
        stretches = _stretches(
            db, (state.internal_id, *row[_rows.STATE_COLUMNS :]), after, state.tail
        )
        segments = _messages(db, stretches, max_bytes)
    return Page(
        state,
        tuple(segments),
        segments[-1].end if segments else after,
        dict(db.execute(SQL.marks, (state.internal_id, _rows.dump_ids(marks)))) if marks else {},
    )


def read_many(db: Database, reads: Iterable[Read], max_bytes: int) -> list[Page | None]:
    """Return a page of each stream, or ``None`` for each stream that does not exist or is gone."""
    reads = list(reads)
    share = share_of(max_bytes, len(reads))
    pages: list[Page | None] = []
    for one in reads:
        try:
            pages.append(read(db, one.stream_id, one.after, share, ()))
        except StreamNotFound:
            pages.append(None)
    return pages


class _Stretch(NamedTuple):
    """A range of one stream's own messages that a read must return."""

    internal_id: int
    last_live: int | None
    after: int
    until: int


def _stretches(
    db: Database, stream: tuple[int, int | None, int | None, int], after: int, tail: int
) -> list[_Stretch]:
    """Return the ranges that hold the messages after ``after``. A fork's own range is the last.

    ``stream`` has the stream's internal id, its newest live row, the internal id of the stream that
    it copies, and its number of inherited messages.
    """
    stretches: list[_Stretch] = []
    until = tail
    while True:
        internal_id, last_live, source, inherited = stream
        if max(after, inherited) < until:
            stretches.append(_Stretch(internal_id, last_live, max(after, inherited), until))
        if source is None or after >= inherited:
            return stretches[::-1]
        until = min(until, inherited)
        stream = (source, *db.execute(SQL.lineage, (source,)).fetchone())


def _messages(db: Database, stretches: Iterable[_Stretch], max_bytes: int) -> list[Segment]:
    """Return the messages of the stretches, in merged segments.

    Read up to ``max_bytes``, but at least one stored segment.
    """
    segments: list[Segment] = []
    size = 0
    for stretch in stretches:
        found: list[Segment] = []
        for row in _rows_of(db, stretch, max_bytes - size):
            segment = Segment(*row)
            size += len(segment.payload)
            if size > max_bytes and (found or segments):
                return segments + wire.merge(found)
            if segment.end > stretch.until:
                part = wire.cut(segment, segment.position, stretch.until)
                assert part is not None
                segment = part
            found.append(segment)
        segments += wire.merge(found)
    return segments


def _rows_of(db: Database, stretch: _Stretch, max_bytes: int) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of a stretch: all merged rows, then live rows up to about ``max_bytes``."""
    where = stretch._asdict()
    after, until = stretch.after, stretch.until
    for row in db.execute(SQL.merged_segments, where):
        if row[0] + row[1] > after:
            max_bytes -= len(row[2])
            yield row
    if stretch.last_live is None:
        return
    wanted: list[int] = []
    for live_id, position, count, payload_bytes in reversed(
        db.execute(SQL.live_chain, where).fetchall()
    ):
        if position + count <= after or position >= until:
            continue
        if wanted and payload_bytes > max_bytes:
            break
        wanted.append(live_id)
        max_bytes -= payload_bytes
    yield from db.execute(SQL.live_segments, (_rows.dump_ids(wanted),))


def find(db: Database, query: Query) -> list[StreamState]:
    """Return the states that match a query."""
    terms = ["NOT s.gone"]
    values: list[Any] = []

    def add(term: str, *bound: Any) -> None:
        terms.append(term)
        values.extend(bound)

    if query.stream_ids is not None:
        add("s.stream_id IN (SELECT value FROM json_each(?))", _rows.dump_ids(query.stream_ids))
    if query.owner is not None:
        add("s.owner = ?", query.owner)
    if query.group is not None:
        add("s.group_name = ?", query.group)
    if query.statuses is not None:
        marks = ", ".join("?" * len(query.statuses))
        add(f"s.status IN ({marks})", *[status.value for status in query.statuses])
        if _LIVE.issuperset(query.statuses):
            # SQLite uses the index of live streams only if the query has the index's WHERE clause.
            add("s.status IN ('pending', 'streaming', 'open')")
    if query.worker is None:
        add("s.worker IS NULL")
    elif query.worker is not KEEP:
        add("s.worker = ?", query.worker)
    if query.due_before is not None:
        add("s.due_at <= ?", query.due_before)
    if query.unreported:
        add("s.report = 1 AND s.status NOT IN ('pending', 'streaming', 'open')")
    if query.before is not None:
        add("s.internal_id < ?", query.before)
    # Without the + sign, SQLite could scan all streams by descending internal id. If there are few
    # matches, it is cheaper to find them with an index and to sort them.
    sign = "+" if _matches_few(query) else ""
    sql = f"{SQL.states}\nWHERE {' AND '.join(terms)} ORDER BY {sign}s.internal_id DESC LIMIT ?"
    return [_rows.state(row) for row in db.execute(sql, (*values, query.limit))]


def _matches_few(query: Query) -> bool:
    return (
        query.stream_ids is not None
        or query.worker not in (None, KEEP)
        or query.due_before is not None
        or query.unreported
        or (query.statuses is not None and _LIVE.issuperset(query.statuses))
    )


def state_of(db: Database, internal_id: int) -> StreamState | None:
    """Return a stream's state by its internal id."""
    row = db.execute(f"{SQL.states}\nWHERE s.internal_id = ?", (internal_id,)).fetchone()
    return None if row is None else _rows.state(row)
