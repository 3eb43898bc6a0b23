"""Measures how late a token reaches another process, and what a token costs PostgreSQL.

One process has the writers, and a follower of each stream. A second process has another follower of
each stream. A token contains the time of its append, so that followers can compute the delay.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import time
from array import array
from collections import Counter
from pathlib import Path
from typing import Any

import asyncpg

from benchmarks.report import Report
from inkstream import End, PersistentTextStreaming, Status, StreamId
from inkstream.stores.postgres import PostgresStore
from tests import postgres_server

LOADS = ((40, 20), (400, 5))
"""The number of streams, and the tokens per second of each stream."""

_ROWS = """
SELECT sum(n_tup_ins), sum(n_tup_upd) FROM pg_stat_user_tables
WHERE schemaname = 'inkstream' AND relname IN ('live', 'heads')
"""


def scaling(seconds: float, rounds: int) -> Report:
    """Measure both stores with the same load, one store after the other."""
    os.sched_setaffinity(0, range(os.cpu_count() or 1))
    report = Report("tokens heard by a follower of each stream here, and one in another process")
    server = postgres_server.own_server(settings=("fsync=on", "track_counts=on"))
    try:
        for streams, rate in LOADS:
            for kind in ("sqlite", "postgresql"):
                with tempfile.TemporaryDirectory() as folder:
                    if kind == "sqlite":
                        url = f"sqlite:///{Path(folder) / 'bench.db'}"
                    else:
                        url = asyncio.run(server.make_database())
                    row = asyncio.run(_measure(url, streams, rate, seconds))
                    report.rows.append(
                        {"store": kind, "streams x tok/s": f"{streams}x{rate}"} | row
                    )
    finally:
        server.destroy()
    report.notes.append("statements and notifications: of the writing process; rows: of the server")
    return report


async def _measure(url: str, streams: int, rate: int, seconds: float) -> dict[str, Any]:
    names = [f"s{number}" for number in range(streams)]
    async with PersistentTextStreaming(url) as ink:
        for name in names:
            await ink.create(name)
        writers = [await ink.engine.claims.claim(StreamId(name)) for name in names]
        elsewhere = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "benchmarks.scaling", url, str(streams)),
            stdout=asyncio.subprocess.PIPE,
        )
        assert elsewhere.stdout is not None
        await elsewhere.stdout.readline()
        here = asyncio.create_task(_follow(ink, names))
        await asyncio.sleep(0.5)
        counted = _count(ink)
        before = await _rows(url)
        began = time.monotonic()

        async def write(writer: Any, number: int) -> int:
            tokens = int(seconds * rate)
            for token in range(tokens):
                due = began + (token + number / streams) / rate
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                await writer.append(f"{time.monotonic():.6f} ")
            await writer.flush()
            return tokens

        tokens = sum(await asyncio.gather(*[write(w, n) for n, w in enumerate(writers)]))
        statements = dict(counted)
        await asyncio.sleep(1.5)  # PostgreSQL updates its statistics with a delay
        after = await _rows(url)
        for writer in writers:
            await ink.engine.writers.finish(writer, End(Status.DONE))
        late = {"same": await here, "other": json.loads(await elsewhere.stdout.read())}
        await elsewhere.wait()
    row: dict[str, Any] = {}
    for where, (count, p50, p99) in late.items():
        if count != tokens:
            raise AssertionError(f"{where}: {count} of {tokens} tokens")
        row |= {f"{where} p50 ms": round(p50 * 1e3, 1), f"{where} p99 ms": round(p99 * 1e3, 1)}
    counts = {
        "statements/token": statements.get("all", 0),
        "notifications/token": statements.get("notify", 0),
        "rows in/token": after[0] - before[0],
        "rows updated/token": after[1] - before[1],
    }
    return row | {name: round(n / tokens, 3) if statements else "-" for name, n in counts.items()}


def _count(ink: PersistentTextStreaming) -> Counter[str]:
    counted: Counter[str] = Counter()
    store = ink.engine.store
    if isinstance(store, PostgresStore):
        connections = store._connections
        fetch = connections.fetch

        async def counting(sql: str, *args: Any, **options: Any) -> Any:
            counted["all"] += 1
            counted["notify"] += "pg_notify" in sql
            return await fetch(sql, *args, **options)

        connections.fetch = counting  # type: ignore[method-assign]
    return counted


async def _rows(url: str) -> tuple[int, int]:
    if url.startswith("sqlite"):
        return 0, 0
    connection = await asyncpg.connect(url)
    row = await connection.fetchrow(_ROWS)
    await connection.close()
    assert row is not None
    return row[0], row[1]


async def _follow(ink: PersistentTextStreaming, names: list[str]) -> tuple[int, float, float]:
    """Return how many tokens arrived, and the median and the 99th percentile of their delay."""
    late = array("d")

    async def follow(name: str) -> None:
        async for item in ink.follow(name):
            now = time.monotonic()
            if isinstance(item, str):
                late.extend([now - float(said) for said in item.split()])

    await asyncio.gather(*[follow(name) for name in names])
    ordered = sorted(late)
    return len(late), ordered[len(late) // 2], ordered[len(late) * 99 // 100]


async def _elsewhere(url: str, streams: int) -> None:
    async with PersistentTextStreaming(url) as ink:
        print(flush=True)
        print(json.dumps(await _follow(ink, [f"s{number}" for number in range(streams)])))


if __name__ == "__main__":
    asyncio.run(_elsewhere(sys.argv[1], int(sys.argv[2])))
