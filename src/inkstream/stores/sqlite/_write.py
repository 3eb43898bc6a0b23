"""The store's writes. Every function runs in a transaction.

If another connection wrote between the reads and the writes of a transaction, SQLite would refuse
the writes. So a function can read the heads once, and check the conditions in Python. Each function
first makes all checks that may refuse a new stream or a group, and only then writes this stream or
group. So nothing of a refused stream or group is written.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from inkstream import wire
from inkstream._errors import OffsetGone, StreamExists, StreamGone, StreamNotFound, TooManyStreams
from inkstream._runs import Runs, dump_runs, extended, inherited
from inkstream._types import (
    KEEP,
    Change,
    Committed,
    Group,
    Head,
    Kind,
    NewStream,
    Outcome,
    Refused,
    Status,
    StreamState,
)
from inkstream.stores.sqlite import _read, _rows
from inkstream.stores.sqlite._connection import SQL
from inkstream.stores.sqlite._generation import Basis, Generations
from inkstream.stores.sqlite._heads import Commit, HeadRow, Heads
from inkstream.stores.sqlite._read import Database


def create(db: Database, new: NewStream, generations: Generations) -> tuple[StreamState, int]:
    """Insert a stream. Return its state, and the largest id that any live row ever had."""
    begin, above = _check_new(db, new)
    last_live, generation = generations.basis(db)
    end = new.end
    status = end.status if end else Status.PENDING if new.kind is Kind.TEXT else Status.OPEN
    first = new.append
    cursor = db.execute(
        SQL.insert_stream,
        (
            new.stream_id,
            new.kind.value,
            new.content_type,
            status.value,
            new.owner,
            new.group,
            _rows.dump(dict(new.metadata)),
            new.created_at,
            new.created_at if end else None,
            new.due_at,
            new.ttl_s,
            new.retain_s,
            new.takeover_within_s,
            end.code if end else None,
            _text(end.message) if end else None,
            _rows.dump(end.result) if end else None,
            new.report,
            bool(end and first),
            new.fork.source if new.fork else None,
            begin,
            dump_runs(extended(inherited(above, begin), begin, generation)),
        ),
    )
    internal_id = cursor.lastrowid
    assert internal_id is not None
    tail, size, live_id = begin, 0, None
    if first is not None:
        live_id = last_live = last_live + 1
        row = (live_id, internal_id, None, tail, first.count, first.payload, first.index)
        db.execute(SQL.insert_live, row)
        tail += first.count
        size = len(first.payload)
    db.execute(
        SQL.insert_head,
        (
            internal_id,
            _rows.ORDINALS[status],
            tail,
            size,
            live_id,
            int(bool(first)),
            time.time() if first else None,
            generation,
        ),
    )
    for name, value in new.marks.items():
        db.execute(SQL.set_mark, (internal_id, name, value))
    db.execute(SQL.note_change, (internal_id,))
    state = _read.state_of(db, internal_id)
    assert state is not None
    return state, last_live


def _check_new(db: Database, new: NewStream) -> tuple[int, Runs]:
    """Return the position at which a new stream begins, and the runs of the stream that it copies.

    Raises:
        StreamExists, StreamNotFound, StreamGone, OffsetGone, TooManyStreams
    """
    if db.execute(SQL.stream_exists, (new.stream_id,)).fetchone():
        raise StreamExists(new.stream_id)
    begin = 0
    above: Runs = ()
    if new.fork is not None:
        source = db.execute(SQL.fork_source, (new.fork.source,)).fetchone()
        if source is None:
            raise StreamNotFound(new.stream_id, "the stream to fork does not exist")
        stream_id, gone, tail, runs = source
        if gone:
            raise StreamGone(stream_id)
        begin = new.fork.position
        if begin > tail:
            raise OffsetGone(stream_id, str(wire.Offset(new.fork.source, begin)))
        above = _rows.runs(runs)
    if new.max_live is not None and new.owner is not None:
        (live,) = db.execute(SQL.count_live, (new.owner,)).fetchone()
        if live >= new.max_live:
            raise TooManyStreams(
                f"owner {new.owner!r} has {live} live streams already", limit=new.max_live
            )
    return begin, above


class Applied(NamedTuple):
    """What ``commit`` did.

    Attributes:
        outcomes: The outcome of each group.
        long: The internal ids of streams that grew enough for a merge (see ``LARGE_CHAIN_BYTES``).
        last_live: The largest id that any live row ever had.
        commit: The token that the caller stores in ``Heads.committed`` after ``COMMIT``.
    """

    outcomes: list[Outcome]
    long: list[int]
    last_live: int
    commit: Commit


def commit(
    db: sqlite3.Connection, groups: Sequence[Group], generations: Generations, heads: Heads
) -> Applied:
    """Apply groups of changes."""
    basis = generations.basis(db)
    ids = {change.internal_id for group in groups for change in group.changes}
    rows = heads.read(db, ids, anew=generations.due)
    batch = _Batch(db, rows, basis)
    outcomes = [batch.apply(group.changes) for group in groups]
    batch.flush()
    return Applied(outcomes, batch.long, batch.last_live, heads.written(db))


LONG_CHAIN: Final = 1024
LARGE_CHAIN_BYTES: Final = 256 * 1024
"""How much a stream that has not ended must grow before ``tidy`` merges it again.

The stream must get about ``LONG_CHAIN`` more live rows, or ``LARGE_CHAIN_BYTES`` more bytes.

A merge helps a reader that is far behind, because that reader must find live rows one by one. But
to remove small rows costs more than to write them, because rows of many streams share pages. So
merges must not be frequent.
"""


class _Batch:
    """The changes of one commit: the changed heads, and the new live rows."""

    def __init__(self, db: Database, heads: dict[int, HeadRow], basis: Basis) -> None:
        self._db = db
        self._heads = heads
        self._moved: dict[int, HeadRow] = {}
        self._live: list[Any] = []
        self._now = time.time()
        self.last_live = basis.last_live
        self._generation = basis.generation
        self.long: list[int] = []

    def apply(self, changes: Sequence[Change]) -> Outcome:
        """Apply one group to the heads, or refuse it."""
        for index, change in enumerate(changes):
            head = self._heads.get(change.internal_id)
            if (
                head is None
                or head.status is None
                or (change.if_epoch is not None and head.epoch != change.if_epoch)
                or (change.if_tail is not None and head.tail != change.if_tail)
                or (change.if_status is not None and head.status not in change.if_status)
                or (change.if_worker is not KEEP and self._worker(change) != change.if_worker)
                or (change.max_marks is not None and self._has_too_many_marks(change))
            ):
                return Refused(index, self._state(change.internal_id))
        heads = []
        for change in changes:
            head = self._heads[change.internal_id]
            if head.generation != self._generation and (
                change.append is not None or change.end is not None
            ):
                assert head.status is not None
                # A late result replaces the end of an ended stream. Readers may already have the
                # offset of the old end. So the new end stays in the same run, and this offset
                # stays valid.
                if not head.status.ended:
                    self._begin_run(head)
            if change.append is not None:
                self._append(head, change)
            if (
                change.status is not None
                or change.end is not None
                or change.next_epoch
                or change.worker is not KEEP
                or change.due_at is not KEEP
                or change.report is not KEEP
                or change.marks
            ):
                self._move(head, change)
            heads.append(Head(head.epoch, head.tail, head.size, head.generation))
        return Committed(tuple(heads))

    def flush(self) -> None:
        """Write the changes that are still only in memory."""
        _insert(self._db, SQL.insert_live, _LIVE_WIDTH, self._live)
        moved: list[float | None] = []
        for head in self._moved.values():
            moved += (
                head.internal_id,
                head.ordinal,
                head.epoch,
                head.tail,
                head.size,
                head.last_live,
                head.chain,
                head.appended_at,
                head.generation,
            )
        _insert(self._db, SQL.replace_head, _HEAD_WIDTH, moved)

    def _begin_run(self, head: HeadRow) -> None:
        (text,) = self._db.execute(SQL.runs, (head.internal_id,)).fetchone()
        runs = extended(_rows.runs(text), head.tail, self._generation)
        self._db.execute(SQL.set_runs, (dump_runs(runs), head.internal_id))
        head.generation = self._generation
        self._moved[head.internal_id] = head

    def _append(self, head: HeadRow, change: Change) -> None:
        segment = change.append
        assert segment is not None
        self.last_live += 1
        self._live += (
            self.last_live,
            head.internal_id,
            head.last_live,
            head.tail,
            segment.count,
            segment.payload,
            segment.index,
        )
        head.last_live = self.last_live
        head.tail += segment.count
        size, head.size = head.size, head.size + len(segment.payload)
        head.chain += 1
        head.appended_at = self._now
        if (
            head.chain % LONG_CHAIN == 0
            or size // LARGE_CHAIN_BYTES != head.size // LARGE_CHAIN_BYTES
        ):
            self.long.append(head.internal_id)
        self._moved[head.internal_id] = head

    def _move(self, head: HeadRow, change: Change) -> None:
        """Write the part of a change that is not an append, and list the stream in the journal."""
        status, end = change.status, change.end
        if end is not None:
            status = end.status
        if status is not None or change.next_epoch:
            if status is not None:
                head.status = status
                head.ordinal = _rows.ORDINALS[status]
            head.epoch += change.next_epoch
            self._moved[head.internal_id] = head
        self._db.execute(
            SQL.update_stream,
            {
                "internal_id": head.internal_id,
                "status": None if status is None else status.value,
                "starts": change.status is Status.STREAMING,
                "at": change.at,
                "ends": end is not None,
                "code": end and _text(end.code),
                "message": end and _text(end.message),
                "result": _rows.dump(end.result) if end is not None else None,
                "unmerged": head.chain > 0,
                "set_worker": change.worker is not KEEP,
                "worker": None if change.worker is KEEP else change.worker,
                "set_due_at": change.due_at is not KEEP,
                "due_at": None if change.due_at is KEEP else change.due_at,
                "report": None if change.report is KEEP else change.report,
            },
        )
        for name, value in change.marks.items():
            self._db.execute(SQL.set_mark, (head.internal_id, name, value))
        self._db.execute(SQL.note_change, (head.internal_id,))

    def _worker(self, change: Change) -> str | None:
        worker: str | None
        (worker,) = self._db.execute(SQL.worker_of, (change.internal_id,)).fetchone()
        return worker

    def _has_too_many_marks(self, change: Change) -> bool:
        if not change.marks:
            return False
        names = _rows.dump_ids(change.marks)
        facts = {"internal_id": change.internal_id, "names": names}
        there, again = self._db.execute(SQL.count_marks, facts).fetchone()
        new = len(change.marks) - again
        assert change.max_marks is not None
        return bool(new > 0 and there + new > change.max_marks)

    def _state(self, internal_id: int) -> StreamState | None:
        if internal_id in self._moved:
            self.flush()
            self._live.clear()
            self._moved.clear()
        return _read.state_of(self._db, internal_id)


_LIVE_WIDTH: Final = 7
_HEAD_WIDTH: Final = 9
_ROWS: Final = 16
_MORE_ROWS: Final = {
    width: f", ({', '.join('?' * width)})" * (_ROWS - 1) for width in (_LIVE_WIDTH, _HEAD_WIDTH)
}


def _insert(db: Database, statement: str, width: int, fields: list[Any]) -> None:
    """Insert several rows per statement. ``fields`` has the columns of all rows in one list.

    ``executemany`` would release the interpreter's lock for each row. At each row, the write thread
    might then wait until the thread of the event loop gives the lock back.
    """
    step = _ROWS * width
    many = len(fields) // step * step
    for at in range(0, many, step):
        db.execute(statement + _MORE_ROWS[width], fields[at : at + step])
    for at in range(many, len(fields), width):
        db.execute(statement, fields[at : at + width])


def delete(db: Database, internal_ids: Sequence[int], due_before: float | None = None) -> int:
    """Delete streams; return how many of them existed. See ``Store.delete``."""
    deleted = 0
    removed_live = False
    for internal_id in internal_ids:
        facts = {"internal_id": internal_id, "due_before": due_before}
        row = db.execute(SQL.is_deletable, facts).fetchone()
        if row is None:
            continue
        deleted += 1
        db.execute(SQL.note_change, (internal_id,))
        if row[0]:
            db.execute(SQL.set_gone, (internal_id,))
            db.execute(SQL.seal_head, (internal_id,))
            db.execute(SQL.delete_marks, {"internal_id": internal_id})
            continue
        if not removed_live:
            db.execute(SQL.keep_last_live)
            removed_live = True
        _remove(db, internal_id)
    return deleted


def _remove(db: Database, internal_id: int) -> None:
    """Remove a stream, and the gone streams that were kept only for this stream."""
    next_id: int | None = internal_id
    while next_id is not None:
        for statement in (
            SQL.delete_live,
            SQL.delete_segments,
            SQL.delete_marks,
            SQL.delete_head,
        ):
            db.execute(statement, {"internal_id": next_id})
        (source,) = db.execute(SQL.delete_stream, (next_id,)).fetchone()
        is_orphan = source is not None and db.execute(SQL.is_orphan, (source,)).fetchone()
        next_id = source if is_orphan else None


def _text(text: str | None) -> str | None:
    return None if text is None else wire.clean_text(text)
