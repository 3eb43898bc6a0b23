"""Measures the CPU time of an idle process and its database, with many finished streams."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import asyncpg

from benchmarks.report import Report
from inkstream import PersistentTextStreaming
from inkstream.stores.sqlite._connection import Settings, connect
from tests import postgres_server

STREAMS = (0, 200_000, 1_000_000)
_SQLITE = (
    """
    WITH RECURSIVE g (n) AS (SELECT ? UNION ALL SELECT n + 1 FROM g WHERE n < ?)
    INSERT INTO inkstream_streams (stream_id, kind, content_type, status, owner, group_name,
        metadata, created_at, takeover_within_s, report, runs)
    SELECT 'stream ' || n, 'text', 'application/json', 'done', 'owner ' || n % 500,
        'group ' || n % 1000, '{}', n, 0, 0, '[]' FROM g
    """,
    """
    INSERT INTO inkstream_heads (internal_id, status, epoch, tail, size, chain, generation)
    SELECT internal_id, 3, 1, 0, 0, 0, 1 FROM inkstream_streams
    WHERE internal_id NOT IN (SELECT internal_id FROM inkstream_heads)
    """,
)
_POSTGRES = (
    """
    INSERT INTO inkstream.streams (stream_id, kind, content_type, owner, "group", metadata,
        created_at, takeover_within_s, live, runs)
    SELECT 'stream ' || n, 'text', 'application/json', 'owner ' || n % 500, 'group ' || n % 1000,
        '{}', n, 0, false, '[0,7]'
    FROM generate_series($1::integer, $2::integer) n
    """,
    """
    INSERT INTO inkstream.heads (internal_id, status, epoch, tail, size, report, generation)
    SELECT internal_id, 'done', 1, 1, 10, false, 7 FROM inkstream.streams
    WHERE internal_id NOT IN (SELECT internal_id FROM inkstream.heads)
    """,
    """
    INSERT INTO inkstream.segments (internal_id, position, count, payload, idx)
    SELECT internal_id, 0, 1, 'ten bytes!', '\\x14' FROM inkstream.heads
    WHERE internal_id NOT IN (SELECT internal_id FROM inkstream.segments)
    """,
)


def idle(seconds: float, rounds: int) -> Report:
    """Measure an idle process, first without any stream, and then with many finished streams."""
    report = Report(f"an idle process, {seconds:g} s, median of {rounds}; % of a CPU")
    for kind in ("sqlite", "postgresql"):
        with _database(kind) as (url, server):
            asyncio.run(_measure(report, kind, url, server, seconds, rounds))
        empty, *full = (row["all %"] for row in report.rows if row["database"] == kind)
        report.ratios.append((f"{kind}, most above empty", max(full) - empty, "<= 0.3"))
    return report


@contextlib.contextmanager
def _database(kind: str) -> Iterator[tuple[str, postgres_server.OwnServer | None]]:
    if kind == "sqlite":
        # Use the current folder, because the system's temporary folder may be in memory.
        with tempfile.TemporaryDirectory(prefix=".bench-", dir=".") as place:
            yield f"sqlite:///{Path(place).resolve() / 'bench.db'}", None
    else:
        server = postgres_server.own_server(settings=("max_wal_size=4GB",))
        try:
            yield asyncio.run(server.make_database()), server
        finally:
            server.destroy()


async def _measure(
    report: Report,
    kind: str,
    url: str,
    server: postgres_server.OwnServer | None,
    seconds: float,
    rounds: int,
) -> None:
    async with PersistentTextStreaming(url):
        pass  # opening the database creates the tables
    before = 0
    for streams in STREAMS:
        if streams:
            await (_fill_postgres if server else _fill_sqlite)(url, before + 1, streams)
        before = streams
        found = []
        async with PersistentTextStreaming(url):
            await asyncio.sleep(5)  # let the first sweeps pass
            for _ in range(rounds):
                was = _cpu_s(server)
                await asyncio.sleep(seconds)
                now = _cpu_s(server)
                found.append([(b - a) / seconds * 100 for a, b in zip(was, now, strict=True)])
        app, backends = sorted(found, key=sum)[rounds // 2]
        report.rows.append(
            {
                "database": kind,
                "finished streams": streams,
                "process %": app,
                "server %": backends,
                "all %": app + backends,
            }
        )


async def _fill_sqlite(url: str, first: int, last: int) -> None:
    settings = Settings(Path(url.removeprefix("sqlite:///")), "normal", 1.0)
    with contextlib.closing(connect(settings, read_only=False)) as connection:
        connection.execute(_SQLITE[0], (first, last))
        connection.execute(_SQLITE[1])


async def _fill_postgres(url: str, first: int, last: int) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("SET synchronous_commit = off")
        await connection.execute(_POSTGRES[0], first, last)
        for statement in _POSTGRES[1:]:
            await connection.execute(statement)
        await connection.execute("VACUUM ANALYZE")
        await connection.execute("CHECKPOINT")
    finally:
        await connection.close()


def _cpu_s(server: postgres_server.OwnServer | None) -> tuple[float, float]:
    used = os.times()
    return used.user + used.system, server.cpu_s() if server else 0.0
