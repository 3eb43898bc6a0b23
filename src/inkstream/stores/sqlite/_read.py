"""What is read: every function runs inside one snapshot."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any, Final

from inkstream import wire
from inkstream._errors import StreamGone, StreamNotFound
from inkstream._types import KEEP, Page, Query, Segment, Status, StreamId, StreamState
from inkstream.stores.sqlite import _rows
from inkstream.stores.sqlite._connection import SQL

_SMALL_BYTES: Final = 4 << 20
"""A stream's live rows of no more than this may be in memory at once."""

_LIVE: Final = frozenset({Status.PENDING, Status.STREAMING, Status.OPEN})


def read(
    db: sqlite3.Connection | sqlite3.Cursor,
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
        last_live, source, inherited = row[_rows.STATE_COLUMNS :]
        segments = _messages(
            db,
            (state.internal_id, state.size, last_live, source, inherited),
            state.tail,
            after,
            max_bytes,
        )
    return Page(
        state,
        tuple(segments),
        segments[-1].end if segments else after,
        dict(db.execute(SQL.marks, (state.internal_id, _rows.dump_ids(marks)))) if marks else {},
    )


def _messages(
    db: sqlite3.Connection | sqlite3.Cursor,
    stream: tuple[int, int, int | None, int | None, int],
    tail: int,
    after: int,
    max_bytes: int,
) -> list[Segment]:
    """Return the messages after a position, those that forks inherit first.

    ``stream`` is its internal id, size, newest live row, source, and what it inherits of that.
    """
    stretches = []
    until = tail
    while True:
        internal_id, size, last_live, source, inherited = stream
        where = {
            "internal_id": internal_id,
            "last_live": last_live,
            "after": max(after, inherited),
            "until": until,
        }
        stretches.append((where, size))
        if source is None or after >= inherited:
            break
        until = min(until, inherited)
        stream = (source, *db.execute(SQL.lineage, (source,)).fetchone())
    segments: list[Segment] = []
    room = max_bytes
    end = after
    for where, size in reversed(stretches):
        if where["after"] >= where["until"]:
            continue
        if segments and room <= 0:
            break
        found = _stretch(db, where, room, not segments, size <= _SMALL_BYTES)
        room -= sum(len(segment.payload) for segment in found)
        segments += found
        end = found[-1].end if found else end
        if end < where["until"]:
            break
    return segments


def _stretch(
    db: sqlite3.Connection | sqlite3.Cursor,
    where: dict[str, int | None],
    max_bytes: int,
    at_least_one: bool,
    is_small: bool,
) -> list[Segment]:
    """Return one stream's own messages between two positions, neighbours merged."""
    until = where["until"]
    assert until is not None
    found: list[Segment] = []
    size = 0
    for segment in _own_segments(db, where, max_bytes, is_small):
        size += len(segment.payload)
        if size > max_bytes and (found or not at_least_one):
            break
        part = segment if segment.end <= until else wire.cut(segment, segment.position, until)
        if part is not None:
            found.append(part)
    return wire.merge(found) if len(found) > 1 else found


def _own_segments(
    db: sqlite3.Connection | sqlite3.Cursor,
    where: dict[str, int | None],
    max_bytes: int,
    is_small: bool,
) -> Iterator[Segment]:
    after, until = where["after"], where["until"]
    assert after is not None
    assert until is not None
    for row in db.execute(SQL.merged_segments, where):
        if row[0] + row[1] > after:
            yield Segment(*row)
    if where["last_live"] is None:
        return
    if is_small:
        for row in reversed(db.execute(SQL.live_chain_whole, where).fetchall()):
            if row[0] + row[1] > after and row[0] < until:
                yield Segment(*row)
        return
    wanted: list[int] = []
    size = 0
    for live_id, position, count, payload_bytes in reversed(
        db.execute(SQL.live_chain, where).fetchall()
    ):
        if position + count <= after or position >= until:
            continue
        if wanted and size + payload_bytes > max_bytes:
            break
        wanted.append(live_id)
        size += payload_bytes
    if wanted:
        for row in db.execute(SQL.live_segments, (_rows.dump_ids(wanted),)):
            yield Segment(*row)


def find(db: sqlite3.Connection | sqlite3.Cursor, query: Query) -> list[StreamState]:
    """Return the states that match."""
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
            add("s.status IN ('pending', 'streaming', 'open')")  # what makes the index usable
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
    sql = f"{SQL.states}\nWHERE {' AND '.join(terms)} ORDER BY s.internal_id DESC LIMIT ?"
    return [_rows.state(row) for row in db.execute(sql, (*values, query.limit))]


def state_of(db: sqlite3.Connection | sqlite3.Cursor, internal_id: int) -> StreamState | None:
    """Return a stream's state by its internal id."""
    row = db.execute(f"{SQL.states}\nWHERE s.internal_id = ?", (internal_id,)).fetchone()
    return None if row is None else _rows.state(row)
