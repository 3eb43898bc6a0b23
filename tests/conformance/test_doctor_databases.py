"""`inkstream doctor --database` reports the problems of a database, and none if it has none."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from inkstream import PersistentTextStreaming
from inkstream._errors import StoreUnavailable
from inkstream.operations.doctor import postgres, sqlite
from inkstream.operations.doctor.findings import Finding, Verdict
from tests import postgres_server
from tests.pgbouncer import pgbouncer


def wrong(found: list[Finding]) -> set[str]:
    return {finding.check for finding in found if finding.verdict is Verdict.PROBLEM}


@pytest.fixture
def server() -> postgres_server.Server:
    return postgres_server.server(postgres_server.versions()[0])


@pytest.fixture
async def url(server: postgres_server.Server) -> AsyncIterator[str]:
    url = await server.make_database()
    yield url
    await server.drop_database(url)


@pytest.fixture
async def file(tmp_path: Path) -> Path:
    path = tmp_path / "s.db"
    async with PersistentTextStreaming(f"sqlite:///{path}") as streams:
        await streams.create("one")
    return path


def examined(path: Path) -> list[Finding]:
    return sqlite.examine(f"sqlite:///{path}")


async def execute(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url)
    for statement in statements:
        await connection.execute(statement)
    await connection.close()


async def test_sqlite(file: Path) -> None:
    """The doctor finds no problem in a normal file, even while the application runs."""
    assert wrong(await asyncio.to_thread(examined, file)) == set()
    async with PersistentTextStreaming(f"sqlite:///{file}"):
        assert wrong(await asyncio.to_thread(examined, file)) == set()


def test_sqlite_problems(file: Path) -> None:
    file.chmod(0o644)
    assert wrong(examined(file)) == {"permissions"}
    with pytest.raises(StoreUnavailable, match="there is no database"):
        examined(file.with_name("other.db"))


def test_sqlite_of_another_user(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If a private file belongs to another user, the doctor names this user."""
    monkeypatch.setattr(os, "access", lambda path, _: Path(path).is_dir())
    (place,) = (finding for finding in examined(file) if finding.check == "place")
    assert f"its owner is user {file.stat().st_uid}, its mode 600" in place.message


def test_sqlite_that_cannot_be_read(file: Path) -> None:
    """If the doctor cannot read a damaged file, it still reports its other findings."""
    file.write_bytes(b"damage " * 10_000)
    found = examined(file)
    assert wrong(found) == {"read"}
    assert {finding.check for finding in found} >= {"place", "permissions", "disk", "version"}


def test_sqlite_free_pages(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    db = sqlite3.connect(file)
    db.execute("CREATE TABLE waste AS SELECT randomblob(1000000) AS data")
    db.execute("DROP TABLE waste")
    db.commit()
    db.close()
    assert wrong(examined(file)) == set()
    monkeypatch.setattr(sqlite, "_MANY_FREE", 100_000)
    assert wrong(examined(file)) == {"free_pages"}


async def test_postgres(url: str) -> None:
    """The doctor reports no problem of the tests' server, except that some settings are off."""
    found = await postgres.examine(url)
    messages = [finding.message for finding in found if finding.verdict is Verdict.PROBLEM]
    assert all(" is off: a power failure" in message for message in messages), messages
    assert "clock" in {finding.check for finding in found}


async def test_postgres_not_migrated(server: postgres_server.Server) -> None:
    url = await server.make_database(migrated=False)
    found = {finding.check: finding for finding in await postgres.examine(url)}
    await server.drop_database(url)
    assert found["migrations"].verdict is Verdict.PROBLEM
    assert "inkstream migrate" in found["migrations"].mend["PostgreSQL"]
    assert found["rights"].verdict is Verdict.UNKNOWN


@pytest.mark.parametrize(
    ("statement", "check"),
    [
        ("REVOKE INSERT ON inkstream.live FROM {role}", "rights"),
        ("REVOKE USAGE ON SCHEMA inkstream FROM {role}", "rights"),
        ("ALTER ROLE {role} SET statement_timeout = '1s'", "settings"),
        ("ALTER ROLE {role} SET default_transaction_read_only = on", "writable"),
        ("ALTER ROLE {role} CONNECTION LIMIT 3", "connections"),
    ],
)
async def test_postgres_role(
    server: postgres_server.Server, url: str, statement: str, check: str
) -> None:
    role = f"r_{url.rpartition('_')[2].partition('?')[0]}"
    all_tables = "ON ALL TABLES IN SCHEMA inkstream"
    await execute(
        url,
        f"CREATE ROLE {role} LOGIN PASSWORD 'any'",
        f"GRANT USAGE ON SCHEMA inkstream TO {role}",
        f"GRANT SELECT, INSERT, UPDATE, DELETE {all_tables} TO {role}",
    )
    own = server.url_of(url.rpartition("/")[2].partition("?")[0], role)
    try:
        before = wrong(await postgres.examine(own)) - {"settings"}
        await execute(url, statement.format(role=role))
        after = await postgres.examine(own)
    finally:
        await execute(url, f"DROP OWNED BY {role}", f"DROP ROLE {role}")
    assert before == set()
    assert check in wrong(after)
    assert all("any" not in finding.message for finding in after if finding.check == "rights")


async def test_pooler(server: postgres_server.Server, url: str, tmp_path: Path) -> None:
    """The doctor reports a URL of a pooler if the URL lacks the parameter ``pooler``.

    It also reports a URL that has this parameter but does not lead to a pooler.
    """
    with pgbouncer(server, tmp_path) as pooler:
        for parameters, expected in (("", True), ("&pooler=1", False)):
            found = await postgres.examine(pooler.url_of(url, parameters))
            assert ("pooler" in wrong(found)) is expected, found
    separator = "&" if "?" in url else "?"
    assert "pooler" in wrong(await postgres.examine(f"{url}{separator}pooler=1"))
