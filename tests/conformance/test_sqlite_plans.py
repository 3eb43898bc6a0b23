"""Calls find rows by an index, so they do not become slower when a database grows."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from inkstream import wire
from inkstream._types import KEEP, Change, End, Group, NewStream, Query, Read, Status, StreamId
from inkstream.stores.sqlite import _read, _tidy, _write
from inkstream.stores.sqlite._connection import SQL, Settings, connect, create_file, ensure_schema
from inkstream.stores.sqlite._generation import Generations
from inkstream.stores.sqlite._heads import Heads

STREAMS = 2_000
_GENERATE = (
    """
    WITH RECURSIVE g (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM g WHERE n < ?)
    INSERT INTO inkstream_streams (stream_id, kind, content_type, status, owner, group_name,
        metadata, created_at, due_at, takeover_within_s, report, worker, runs)
    SELECT 'stream ' || n, 'text', 'application/json', iif(n % 100, 'done', 'streaming'),
        'owner ' || n % 50, 'group ' || n % 100, '{}', n, 1e9 + n, 0, n % 1000 = 1,
        iif(n % 100, NULL, 'worker ' || n % 7), '[]' FROM g
    """,
    """
    INSERT INTO inkstream_heads (internal_id, status, epoch, tail, size, chain, generation)
    SELECT internal_id, iif(status = 'done', 3, 1), 1, 0, 0, 0, 1 FROM inkstream_streams
    """,
)
# These scans are allowed: small lists, and partial indexes with few rows.
_ALLOWED = re.compile(
    r"SCAN (json_each|chain|\d+ CONSTANT|CONSTANT|inkstream_workers"
    r"|\w+ USING (COVERING )?INDEX inkstream_streams_(live|report|unmerged))\b"
)


@pytest.fixture(params=[False, True], ids=["as created", "analysed"])
def db(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[sqlite3.Connection]:
    path = tmp_path / "streams.db"
    create_file(path)
    connection = connect(Settings(path, "normal", 1.0), read_only=False)
    ensure_schema(connection, path)
    connection.execute(_GENERATE[0], (STREAMS,))
    connection.execute(_GENERATE[1])
    if request.param:
        connection.execute("ANALYZE")
    yield connection
    connection.close()


def scans(db: sqlite3.Connection, call: Callable[[], object]) -> list[str]:
    """Return the steps in which ``call`` scans a table, without the allowed scans."""
    statements: list[str] = []
    db.set_trace_callback(statements.append)
    call()
    db.set_trace_callback(None)
    steps = [
        (row[3], one)
        for one in statements
        if not one.startswith(("--", "PRAGMA", "BEGIN", "COMMIT"))
        for row in db.execute(f"EXPLAIN QUERY PLAN {one}")
    ]
    return [
        f"{step}: {one}"
        for step, one in steps
        if step.startswith("SCAN") and not _ALLOWED.match(step)
    ]


@pytest.mark.parametrize(
    "query",
    [
        Query(worker="worker 3"),
        Query(worker="nobody", limit=1),
        Query(due_before=1e9, statuses=(Status.PENDING,), limit=200),
        Query(due_before=1e9, worker=None, limit=200),
        Query(due_before=2.0, worker=KEEP, limit=200),
        Query(unreported=True, limit=200),
        Query(unreported=True, before=7),
        Query(statuses=(Status.STREAMING,), worker=None),
        Query(statuses=(Status.PENDING, Status.STREAMING), owner="owner 3"),
        Query(stream_ids=tuple(StreamId(f"stream {n}") for n in range(3))),
    ],
    ids=str,
)
def test_hot_queries_use_their_indexes(db: sqlite3.Connection, query: Query) -> None:
    """An idle process repeats these queries, so scans would cost CPU again and again."""
    assert scans(db, lambda: _read.find(db, query)) == []


@pytest.mark.parametrize("db", [False], indirect=True, ids=["as created"])
@pytest.mark.parametrize(
    "query",
    [
        Query(owner="owner 3", limit=10),
        Query(owner="owner 3", statuses=(Status.DONE,), limit=10, before=1000),
        Query(group="group 3", limit=10),
        Query(owner="owner 3", group="group 3", limit=10),
    ],
    ids=str,
)
def test_lists(db: sqlite3.Connection, query: Query) -> None:
    """Until somebody runs ANALYZE, SQLite uses an index for these lists.

    After ANALYZE, SQLite may scan the newest streams instead of using an index.
    """
    assert scans(db, lambda: _read.find(db, query)) == []


def test_calls_on_one_stream(db: sqlite3.Connection) -> None:
    (segment,) = wire.encode_messages(["text"], 0)
    generations = Generations()
    new = NewStream(stream_id=StreamId("new"), created_at=0.0, owner="owner 3", max_live=999)

    def work() -> None:
        state, _ = _write.create(db, new, generations)
        append = Change(internal_id=state.internal_id, append=segment, marks={"m": b""})
        end = Change(internal_id=state.internal_id, end=End(Status.DONE), at=1.0)
        _write.commit(db, [Group((append,)), Group((end,))], generations, Heads())
        _read.read(db, new.stream_id, 0, 1000, ["m"])
        _read.read_many(db, [Read(new.stream_id, 0), Read(StreamId("stream 7"), 0)], 1000)
        _write.delete(db, [state.internal_id])

    assert scans(db, work) == []


def test_housekeeping(db: sqlite3.Connection) -> None:
    def work() -> None:
        _tidy.tidy(db, 1e9 + 5, 1 << 20, set())
        db.execute(SQL.forget_worker, {"worker": "worker 3"})
        db.execute(SQL.ends)

    assert scans(db, work) == []
