"""Two versions of the library use one PostgreSQL, as during a deploy or after a git checkout."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from tests import postgres_server
from tests.versions import make_next_version, make_version

FIRST = "stores/postgres/migrations/0001_initial.sql"
TABLES = "stores/postgres/schema/1_tables.sql"

USE = """
import asyncio, sys
from inkstream import PersistentTextStreaming
async def main(url, name, other):
    async with PersistentTextStreaming(url) as streams:
        await streams.create(name, kind="log")
        await streams.post(name, "from ", name)
        print("posted", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        heard = ""
        async for piece in streams.follow(other):
            heard += piece
            if heard == f"from {other}":
                break
        print((await streams.read(other)).text)
asyncio.run(main(*sys.argv[1:]))
"""


@pytest.fixture
async def url() -> AsyncIterator[str]:
    server = postgres_server.server(postgres_server.versions()[0])
    url = await server.make_database(migrated=False)
    yield url
    await server.drop_database(url)


async def begin(library: Path, *command: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *command,
        env=os.environ | {"PYTHONPATH": str(library)},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def run(library: Path, *command: str) -> tuple[int | None, str]:
    process = await begin(library, *command)
    out, err = await process.communicate(b"\n")
    return process.returncode, (out + err).decode()


def cli(verb: str, url: str) -> tuple[str, ...]:
    return ("-c", "from inkstream.cli import main; main()", verb, "--database", url)


async def test_other_sql_under_the_same_name(url: str, tmp_path: Path) -> None:
    """``migrate`` and ``open`` refuse a schema that other SQL has made, and say what to do."""
    ours = make_version(tmp_path / "ours")
    other = ("epoch bigint NOT NULL", "epoch integer NOT NULL")
    theirs = make_version(tmp_path / "theirs", {FIRST: other, TABLES: other})
    for first, second in ((ours, theirs), (theirs, ours)):
        code, said = await run(first, *cli("migrate", url))
        assert code == 0, said
        for command in (cli("migrate", url), ("-c", USE, url, "a", "a")):
            code, said = await run(second, *command)
            assert code != 0
            assert "0001_initial" in said
            assert "DROP SCHEMA inkstream CASCADE" in said
            assert ":any@" not in said
        code, said = await run(second, *cli("verify", url))
        assert code == 1
        assert "applied with other SQL: 0001_initial" in said
        assert "column heads.epoch" in said
        connection = await asyncpg.connect(url)
        await connection.execute("DROP SCHEMA inkstream CASCADE")
        await connection.close()


async def test_a_database_from_before_digests(url: str, tmp_path: Path) -> None:
    """If a database has no digests of its migrations, the error says what to do."""
    ours = make_version(tmp_path / "ours")
    await run(ours, *cli("migrate", url))
    connection = await asyncpg.connect(url)
    await connection.execute("ALTER TABLE inkstream.migrations DROP COLUMN digest")
    await connection.close()
    for command in (cli("migrate", url), ("-c", USE, url, "a", "a")):
        code, said = await run(ours, *command)
        assert code != 0
        assert "DROP SCHEMA inkstream CASCADE" in said


async def test_comments_do_not_count(url: str, tmp_path: Path) -> None:
    ours = make_version(tmp_path / "ours")
    theirs = make_version(
        tmp_path / "theirs", {FIRST: ("\nCREATE TABLE", "\n-- In other words.\n\nCREATE  TABLE")}
    )
    await run(ours, *cli("migrate", url))
    assert await run(theirs, *cli("migrate", url)) == (0, "inkstream: nothing to do\n")
    code, said = await run(theirs, *cli("verify", url))
    assert code == 0, said


async def test_an_old_and_a_new_version_during_a_deploy(url: str, tmp_path: Path) -> None:
    """Processes of both versions write streams, and follow each other's streams."""
    old = make_version(tmp_path / "old")
    new = make_next_version(tmp_path / "new")
    await run(old, *cli("migrate", url))
    code, said = await run(new, "-c", USE, url, "early", "early")
    assert code != 0
    assert "inkstream migrate" in said, "the error must name the command"
    assert (await run(new, *cli("migrate", url)))[0] == 0
    both = [
        await begin(old, "-c", USE, url, "old", "new"),
        await begin(new, "-c", USE, url, "new", "old"),
    ]
    for process in both:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"posted\n"
    for process, other in zip(both, (b"new", b"old"), strict=True):
        out, err = await process.communicate(b"\n")
        assert (process.returncode, out) == (0, b"from " + other + b"\n"), err
