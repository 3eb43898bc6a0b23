"""Housekeeping in small steps: merge segments, delete expired streams, free disk space."""

from __future__ import annotations

import sqlite3
from typing import Final

from inkstream import wire
from inkstream._types import Segment
from inkstream.stores.sqlite import _rows, _write
from inkstream.stores.sqlite._connection import SQL

_MANY_FREE_PAGES: Final = 64
_STREAM_BYTES: Final = 1024
_ROW_BYTES: Final = 256
"""A merge costs its payload in bytes, plus ``_STREAM_BYTES``, plus ``_ROW_BYTES`` per live row."""


def tidy(db: sqlite3.Connection, now: float, max_bytes: int, long: set[int]) -> bool:
    """Do one step of housekeeping, inside a transaction; return True if there is more to do.

    The step rewrites about ``max_bytes``. ``long`` has the internal ids of streams with many live
    rows, whether these streams have ended or not. The step removes a stream from ``long`` when all
    live rows of the stream are merged.
    """
    db.execute(SQL.trim_journal)
    more = _expire(db, now, max_bytes)
    left = max_bytes
    ended = [row[0] for row in db.execute(SQL.unmerged)]
    for internal_id in [*ended, *sorted(long)]:
        if left <= 0:
            return True
        if internal_id in long:
            # Other processes notice appends by their live rows. The merge may remove those rows
            # before another process has seen them, so the journal must list the stream.
            db.execute(SQL.note_change, (internal_id,))
        used, is_merged = _merge(db, internal_id, left)
        left -= used
        if is_merged:
            long.discard(internal_id)
            db.execute(SQL.set_merged, (internal_id,))
        else:
            more = True
    return _give_back(db, max_bytes) or more


def _expire(db: sqlite3.Connection, now: float, max_bytes: int) -> bool:
    ids: list[int] = []
    size = 0
    more = False
    for internal_id, stream_size in db.execute(SQL.expired, (now,)).fetchall():
        # To free a page costs less than to write one, so a step may free more than it rewrites.
        if ids and size + stream_size > 8 * max_bytes:
            more = True
            break
        ids.append(internal_id)
        size += stream_size
    _write.delete(db, ids)
    return more or len(ids) == 100


def _merge(db: sqlite3.Connection, internal_id: int, max_bytes: int) -> tuple[int, bool]:
    """Merge a stream's oldest live rows; return the cost in bytes, and whether no row is left."""
    head = db.execute(SQL.head, (internal_id,)).fetchone()
    if head is None or head[5] is None:
        return 0, True
    where = {"internal_id": internal_id, "last_live": head[5], "after": -1}
    chain = db.execute(SQL.live_chain, where).fetchall()
    ids: list[int] = []
    size = _STREAM_BYTES
    for live_id, _, _, payload_bytes in reversed(chain):
        if ids and size >= max(max_bytes, wire.SEGMENT_BYTES):
            break
        ids.append(live_id)
        size += payload_bytes + _ROW_BYTES
    last = db.execute(SQL.last_segment, (internal_id,)).fetchone()
    segments: list[Segment] = []
    if last is not None and len(last[2]) < wire.SEGMENT_BYTES // 2:
        segments.append(Segment(*last[:4]))
        size += len(last[2])
        db.execute(SQL.delete_segment, (last[4],))
    id_list = _rows.dump_ids(ids)
    segments += _rows.segments(db.execute(SQL.live_segments, (id_list,)))
    for merged in wire.merge(segments):
        row = (internal_id, merged.position, merged.count, merged.payload, merged.index)
        db.execute(SQL.insert_segment, row)
    db.execute(SQL.keep_last_live)
    db.execute(SQL.delete_live_rows, (id_list,))
    left = len(chain) - len(ids)
    db.execute(SQL.shorten_chain, {"left": left, "internal_id": internal_id})
    return size, not left


def _give_back(db: sqlite3.Connection, max_bytes: int) -> bool:
    """Shrink the file, but keep free pages for later writes; return whether more can be freed."""
    (free,) = db.execute("PRAGMA freelist_count").fetchone()
    (pages,) = db.execute("PRAGMA page_count").fetchone()
    spare = max(_MANY_FREE_PAGES, pages // 20)
    (mode,) = db.execute("PRAGMA auto_vacuum").fetchone()
    if mode != 2 or free <= spare:  # an application's own file may have another mode
        return False
    (page_bytes,) = db.execute("PRAGMA page_size").fetchone()
    step = max(1, min(free - spare, max_bytes // page_bytes))
    for _ in range(step):
        # Free one page at a time. For each page this pragma returns a row without columns, and the
        # driver stops after the first row.
        db.execute("PRAGMA incremental_vacuum(1)")
    return bool(free - step > spare)
