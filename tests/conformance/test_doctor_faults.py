"""`inkstream doctor --database` reports a fault until the fault is repaired."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from inkstream import PersistentTextStreaming
from inkstream.operations.doctor import postgres, sqlite
from inkstream.operations.doctor.findings import Finding, Verdict
from tests import postgres_server


def problems(found: list[Finding]) -> dict[str, Finding]:
    return {finding.check: finding for finding in found if finding.verdict is Verdict.PROBLEM}


async def wrong(url: str) -> dict[str, Finding]:
    return problems(await postgres.examine(url))


@pytest.fixture(scope="module")
def server() -> Iterator[postgres_server.OwnServer]:
    """Run a server that has no fault, and that does not vacuum its tables during the tests."""
    running = postgres_server.own_server(settings=("fsync=on", "autovacuum_naptime=3600"))
    yield running
    running.destroy()


@pytest.fixture
async def url(server: postgres_server.OwnServer) -> AsyncIterator[str]:
    url = await server.make_database()
    assert await wrong(url) == {}, "the doctor must report nothing yet"
    yield url
    await server.drop_database(url)


@pytest.fixture
async def session(url: str) -> AsyncIterator[asyncpg.Connection[Any]]:
    connection = await asyncpg.connect(url)
    yield connection
    await connection.close()


async def test_bloat(url: str, session: asyncpg.Connection[Any]) -> None:
    await session.execute(
        "CREATE TABLE inkstream.waste AS SELECT generate_series(1, 30000) AS n;"
        "DELETE FROM inkstream.waste"
    )
    await session.execute("SELECT pg_stat_force_next_flush()")
    await session.execute("SELECT 1")
    found = await wrong(url)
    assert set(found) == {"bloat"}
    assert "waste (30000)" in found["bloat"].message
    await session.execute(found["bloat"].mend["PostgreSQL"])
    await session.execute("SELECT pg_stat_force_next_flush()")
    await session.execute("SELECT 1")
    assert await wrong(url) == {}


async def test_autovacuum_is_off(server: postgres_server.OwnServer, url: str) -> None:
    async def turn(value: str) -> None:
        await server.execute(f"ALTER SYSTEM SET autovacuum = {value}", "SELECT pg_reload_conf()")
        connection = await asyncpg.connect(url)
        async with asyncio.timeout(10):
            while await connection.fetchval("SHOW autovacuum") != value:
                pass
        await connection.close()

    await turn("off")
    assert set(await wrong(url)) == {"bloat"}
    await turn("on")
    assert await wrong(url) == {}


async def test_old_transaction(
    url: str, session: asyncpg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "_LONG_S", 0.5)
    await session.execute("BEGIN")
    await session.execute("SELECT pg_sleep(0.6)")
    found = await wrong(url)
    assert set(found) == {"transactions"}
    assert str(session.get_server_pid()) in found["transactions"].mend["PostgreSQL"]
    await session.execute("ROLLBACK")
    assert await wrong(url) == {}


async def test_a_slot_that_keeps_the_log(url: str, session: asyncpg.Connection[Any]) -> None:
    await session.execute("SELECT pg_create_physical_replication_slot('forgotten', true)")
    try:
        await session.execute("CREATE TABLE more AS SELECT generate_series(1, 50000)")
        found = await wrong(url)
        assert set(found) == {"disk"}
        assert "forgotten" in found["disk"].message
        (kept,) = [
            word for word in found["disk"].message.split() if word.replace(".", "").isdigit()
        ]
        assert float(kept) > 1, "the slot keeps more than 1 MB"
    finally:
        await session.execute("SELECT pg_drop_replication_slot('forgotten')")
    assert await wrong(url) == {}


async def test_standby(server: postgres_server.OwnServer, url: str) -> None:
    standby = await asyncio.to_thread(server.standby)
    try:
        await server.caught_up(standby)
        there = url.replace(f":{server.port}/", f":{standby.port}/")
        found = await wrong(there)
        assert set(found) == {"writable"}
        assert "a standby" in found["writable"].message
        await standby.promote()
        assert await wrong(there) == {}
    finally:
        await asyncio.to_thread(standby.destroy)


@pytest.mark.parametrize("off_s", [-5.0, 5.0])
async def test_clocks_differ(url: str, monkeypatch: pytest.MonkeyPatch, off_s: float) -> None:
    real = time.time
    with monkeypatch.context() as skewed:
        skewed.setattr(time, "time", lambda: real() + off_s)
        found = await wrong(url)
    assert set(found) == {"clock"}
    assert "differ by 5." in found["clock"].message or "differ by 4.9" in found["clock"].message
    assert await wrong(url) == {}


@pytest.fixture
async def file(tmp_path: Path) -> Path:
    path = tmp_path / "s.db"
    async with PersistentTextStreaming(f"sqlite:///{path}") as streams:
        await streams.create("one")
    return path


def test_sqlite_large_log(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "_LARGE_WAL", 500_000)
    reader, writer = sqlite3.connect(file, isolation_level=None), sqlite3.connect(file)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM sqlite_master").fetchone()
    writer.execute("CREATE TABLE more AS SELECT randomblob(1000000) AS data")
    writer.commit()
    found = problems(sqlite.examine(f"sqlite:///{file}"))
    assert set(found) == {"wal"}
    reader.execute("ROLLBACK")
    writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert problems(sqlite.examine(f"sqlite:///{file}")) == {}
    reader.close()
    writer.close()


def test_sqlite_full_disk(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as little:
        little.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 10_000_000}))
        assert set(problems(sqlite.examine(f"sqlite:///{file}"))) == {"disk"}
    assert problems(sqlite.examine(f"sqlite:///{file}")) == {}
