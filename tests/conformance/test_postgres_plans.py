"""Calls find rows by an index, so they do not become slower when a database grows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from inkstream import wire
from inkstream._types import (
    KEEP,
    Change,
    End,
    Fork,
    Group,
    NewStream,
    Query,
    Read,
    Status,
    StreamId,
)
from inkstream.stores.postgres import PostgresStore
from tests import postgres_server
from tests.conftest import SOAK

STREAMS = 100_000 if SOAK else 3_000
SEGMENTS = 50 if SOAK else 4
pytestmark = pytest.mark.timeout(1800 if SOAK else 60)

# Every hundredth stream is live. All other streams have ended.
_GENERATE = (
    """
    INSERT INTO inkstream.streams (stream_id, kind, content_type, owner, "group", metadata,
        created_at, takeover_within_s, live, runs)
    SELECT 'stream ' || n, 'text', 'application/json', 'owner ' || n % 500, 'group ' || n % 1000,
        '{}', n, 0, n % 100 = 0, '[0,7]'
    FROM generate_series(1, $1::integer) n
    """,
    """
    INSERT INTO inkstream.heads (
        internal_id, status, epoch, tail, size, worker, due_at, report, generation)
    SELECT internal_id, CASE WHEN live THEN 'streaming' ELSE 'done' END, 1, $1::integer, 100,
        CASE WHEN live THEN 'worker ' || internal_id % 7 END, 1e9 + internal_id,
        internal_id % 1000 = 1, 7
    FROM inkstream.streams
    """,
    """
    INSERT INTO inkstream.segments (internal_id, position, count, payload, idx)
    SELECT internal_id, g, 1, 'ten bytes!', '\\x14' FROM inkstream.streams,
        generate_series(0, $1::integer - 1) g WHERE NOT live
    """,
    """
    INSERT INTO inkstream.live (internal_id, position, count, payload, idx)
    SELECT internal_id, g, 1, 'ten bytes!', '\\x14' FROM inkstream.streams,
        generate_series(0, $1::integer - 1) g WHERE live
    """,
)
_BACKENDS = """
SELECT count(*) FROM pg_stat_activity
WHERE application_name = 'inkstream' AND datname = current_database()
"""
_TABLES = ("streams", "heads", "segments", "live", "marks")


@pytest.fixture(params=postgres_server.versions())
async def url(request: pytest.FixtureRequest) -> AsyncIterator[str]:
    server = postgres_server.server(request.param)
    url = await server.make_database()
    yield url
    await server.drop_database(url)


async def scans(connection: asyncpg.Connection[asyncpg.Record]) -> dict[str, tuple[int, int]]:
    """Return how many sequential scans each table had, and how many rows its indexes returned."""
    await connection.execute("SELECT pg_stat_clear_snapshot()")
    rows = await connection.fetch(
        "SELECT relname, seq_scan, coalesce(idx_tup_fetch, 0) FROM pg_stat_user_tables"
        " WHERE schemaname = 'inkstream'"
    )
    return {name: (seq, read) for name, seq, read in rows if name in _TABLES}


@pytest.mark.parametrize("analyzed", [True, False])
async def test_every_call_reads_what_it_returns(url: str, analyzed: bool) -> None:
    connection = await asyncpg.connect(url)
    for statement, number in zip(_GENERATE, (STREAMS, SEGMENTS, SEGMENTS, SEGMENTS), strict=True):
        await connection.execute(statement, number, timeout=1200)
    if analyzed:
        await connection.execute("ANALYZE", timeout=1200)
    store = PostgresStore(url, max_connections=1)
    await store.open("one")
    await connection.execute("SELECT pg_stat_force_next_flush()")
    before = await scans(connection)
    of_an_owner = STREAMS // 500
    allowed = 0  # how many rows of each table the calls may read

    (segment,) = wire.encode_messages(["text"], 0)
    for round_ in range(8):  # after the fifth call, PostgreSQL may change to a cached plan
        state = await store.create(
            NewStream(stream_id=StreamId(f"new {round_}"), created_at=0.0, owner="x", max_live=99)
        )
        fork = NewStream(
            stream_id=StreamId(f"fork {round_}"), created_at=0.0, fork=Fork(state.internal_id, 0)
        )
        await store.create(fork)
        marks = {"m": b""}
        append = Change(internal_id=state.internal_id, append=segment, marks=marks, max_marks=9)
        end = Change(internal_id=state.internal_id, end=End(Status.DONE), at=1.0)
        touched = [
            Group((Change(internal_id=100 * n, append=segment, if_epoch=1),)) for n in range(1, 20)
        ]
        await store.commit([*touched, Group((append,)), Group((end,))])
        page = await store.read(StreamId("stream 100"), 1, 1000, marks=["m"])
        assert page.segments
        assert (await store.read(StreamId("stream 101"), 1, 1000)).segments
        some = [Read(StreamId(f"stream {n}"), 1) for n in (100, 101, 10**9)]
        assert [page is None for page in await store.read_many(some, 1000)] == [False, False, True]
        for query, passed_over in (
            (Query(stream_ids=(StreamId("stream 7"), StreamId("stream 8"))), 0),
            (Query(owner="owner 7", limit=5), 0),
            (Query(owner="owner 100", statuses=(Status.PENDING, Status.STREAMING), limit=20), 0),
            (Query(owner="owner 101", statuses=(Status.DONE,), limit=5), 0),
            # If a field is not in the index, the call may read all streams of the owner, but no
            # streams of other owners.
            (Query(owner="owner 101", statuses=(Status.CANCELLED,)), of_an_owner),
            (Query(owner="owner 101", group="group 101", limit=5), of_an_owner),
            (Query(group="group 7", limit=5), 0),
            (Query(worker="worker 1", limit=20), 0),
            (Query(due_before=1e9, statuses=(Status.PENDING, Status.STREAMING), worker=None), 0),
            (Query(unreported=True, worker=None, limit=5), 0),
            (Query(statuses=(Status.STREAMING,), limit=5), 0),
            (Query(statuses=(Status.TIMEOUT,), limit=5), 0),
            (Query(before=STREAMS // 2, limit=5), 0),
            (Query(limit=5, worker=KEEP), 0),
        ):
            found = await store.find(query)
            allowed += 2 * len(found) + passed_over  # each found stream costs two reads
        allowed += 120  # for the other calls, which together change 25 streams
        await store.delete([state.internal_id])
        await store.tidy(1e9 + round_ + 1, 1 << 20)
        await store.heartbeat(beat=True, forget=["nobody"])
    await store.close()  # a backend reports its statistics when it ends

    deadline = asyncio.get_running_loop().time() + 10
    while await connection.fetchval(_BACKENDS):
        assert asyncio.get_running_loop().time() < deadline
    after = await scans(connection)
    await connection.close()
    assert after["heads"][1] > before["heads"][1], "the server reported no statistics"
    for table in _TABLES:
        assert after[table][0] == before[table][0], f"{table} was scanned"
        read = after[table][1] - before[table][1]
        assert read <= allowed, f"{read} rows of {table} were read, at most {allowed} are needed"
