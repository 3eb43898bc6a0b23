"""`migrate` changes tables, `verify` checks tables, and `sql` prints the SQL of `migrate`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
from collections.abc import AsyncIterator

import asyncpg
import pytest

from inkstream import PersistentTextStreaming, StoreError
from inkstream._types import NewStream, Query, StreamId
from inkstream.cli.exits import Exit
from inkstream.stores.postgres import PostgresStore
from tests import postgres_server
from tests.cli.command import Shell


@pytest.fixture
async def url(shell: Shell) -> AsyncIterator[str]:
    """Create a database without tables for the commands of ``shell``."""
    server = postgres_server.server(postgres_server.versions()[0])
    url = await server.make_database(migrated=False)
    shell.environment["INKSTREAM_DATABASE"] = url
    yield url
    await server.drop_database(url)


async def execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(statement)
    await connection.close()


async def test_an_unmigrated_database_names_the_command(shell: Shell, url: str) -> None:
    """The error of an unmigrated database names `inkstream migrate`, and this command works."""
    for refused in (await shell.run("ls"), await shell.run("verify")):
        assert refused.code == Exit.UNAVAILABLE
        assert "inkstream migrate --database postgresql://postgres@" in refused.err
        assert ":any@" not in refused.err
    first, again = await shell.run("migrate"), await shell.run("migrate", "--json")
    assert (first.code, first.out) == (Exit.DONE, "")
    assert "applied 0001_initial" in first.err
    assert (again.code, json.loads(again.out)) == (Exit.DONE, {"applied": []})
    assert (await shell.run("verify")).code == Exit.DONE
    assert (await shell.run("ls")).code == Exit.DONE


async def test_a_question_names_the_session_that_keeps_a_lock(shell: Shell, url: str) -> None:
    """A command that waits for a lock names the session with the lock, and ends after `--wait`."""
    await shell.run("migrate")
    stranger = await asyncpg.connect(url, server_settings={"application_name": "a stranger"})
    await stranger.execute("BEGIN; LOCK TABLE inkstream.streams IN ACCESS EXCLUSIVE MODE")
    who = f"session {stranger.get_server_pid()} (a stranger, idle in transaction) keeps a lock\n"
    try:
        for arguments in ["show", "any", "--wait", "3"], ["verify"]:
            done = await shell.run(*arguments)
            first, last = done.err.splitlines(keepends=True)
            assert first == f"inkstream: waiting for PostgreSQL: {who}"
            assert last.endswith(who)
            assert done.code == Exit.UNAVAILABLE
    finally:
        await stranger.close()


async def test_verify_reports_damage(shell: Shell, url: str) -> None:
    await shell.run("migrate")
    await execute(url, "DROP INDEX inkstream.heads_due")
    wrong = await shell.run("verify")
    assert (wrong.code, wrong.out) == (Exit.FAILED, "missing: i heads_due\n")
    as_json = await shell.run("verify", "--json")
    assert json.loads(as_json.out) == {"differences": ["missing: i heads_due"]}


async def test_sql_equals_migrate(shell: Shell, url: str) -> None:
    """After an administrator has run the output of `sql`, `migrate` has nothing left to do."""
    script = await shell.run("sql", "--schema", "mine")
    assert script.code == Exit.DONE
    await execute(url, script.out)
    there = f"{url}&schema=mine"
    assert (await shell.run("verify", "--database", there)).code == Exit.DONE
    assert json.loads((await shell.run("migrate", "--json", "--database", there)).out) == {
        "applied": []
    }
    assert (await shell.run("sql", "--after", "9999")).out == ""
    assert (await shell.run("sql", "--schema", "a;b")).code == Exit.USAGE


async def test_questions_write_nothing(shell: Shell) -> None:
    """G12: `show`, `ls` and `cat` work while the server refuses writes.

    The store can also read from a standby, and with a role that may not write.
    """
    own = await asyncio.to_thread(postgres_server.own_server)
    try:
        url = await own.make_database()
        async with PersistentTextStreaming(url) as streams:
            await streams.create("s")
            async with streams.write("s") as writer:
                await writer.append("text")
        await execute(
            url,
            "CREATE ROLE asks LOGIN; GRANT USAGE ON SCHEMA inkstream TO asks;"
            "GRANT SELECT ON ALL TABLES IN SCHEMA inkstream TO asks",
        )
        standby = await asyncio.to_thread(own.standby)
        try:
            await own.caught_up(standby)
            standing = url.replace(f":{own.port}/", f":{standby.port}/")
            asking = url.replace("//postgres:", "//asks:")
            for there, remedy in (
                (standing, "target_session_attrs=read-write"),
                (asking, "inkstream doctor --database"),
            ):
                store = PostgresStore(there)
                await store.open("asks")
                assert (await store.read(StreamId("s"), 0, 100)).segments
                assert await store.find(Query())
                await store.roster()
                with pytest.raises(StoreError, match=remedy):
                    await store.create(NewStream(stream_id=StreamId("t"), created_at=0.0))
                await store.close()
            await own.take_no_writes(True)
            shell.environment["INKSTREAM_DATABASE"] = url
            for question, said in (
                (("show", "s"), "It is complete."),
                (("ls",), "s\tdone"),
                (("cat", "s"), "text"),
            ):
                done = await shell.run(*question)
                assert (done.code, done.err) == (Exit.DONE, "")
                assert said in done.out
        finally:
            await asyncio.to_thread(standby.destroy)
    finally:
        await asyncio.to_thread(own.destroy)


async def test_sqlite_needs_no_migrate(shell: Shell) -> None:
    assert (await shell.run("verify")).code == Exit.UNAVAILABLE, "there is no file yet"
    assert (await shell.run("write", "--id", "s", text=b"text")).code == Exit.DONE
    assert (await shell.run("verify")).code == Exit.DONE
    assert (await shell.run("migrate")).err == "inkstream: nothing to do\n"


async def test_migrate_creates_a_sqlite_file(shell: Shell) -> None:
    assert (await shell.run("ls")).code == Exit.UNAVAILABLE, "there is no file yet"
    assert (await shell.run("migrate")).code == Exit.DONE
    assert (await shell.run("ls")).code == Exit.DONE


@pytest.mark.parametrize("place", ["no/such.db", "text.db", "folder"])
async def test_migrate_refuses_what_is_no_database(shell: Shell, place: str) -> None:
    (shell.folder / "folder").mkdir()
    (shell.folder / "text.db").write_text("not a database " * 1000)
    done = await shell.run("migrate", "--database", f"sqlite:///{shell.folder / place}")
    assert done.code == Exit.UNAVAILABLE, done
    assert "Traceback" not in done.err


@pytest.mark.parametrize("kind", ["foreign", "text", "empty"])
async def test_a_question_changes_no_other_file(shell: Shell, kind: str) -> None:
    """A command on a file without inkstream's tables changes nothing, and creates no other file."""
    path = shell.folder / "streams.db"
    if kind == "foreign":
        with contextlib.closing(sqlite3.connect(path)) as db:
            db.execute("CREATE TABLE theirs (a)")
    else:
        path.write_text("not a database " * 1000 if kind == "text" else "")
    before = path.read_bytes()
    for command in (
        *(("show", "x"), ("ls",), ("cat", "x"), ("follow", "x"), ("verify",), ("rm", "x")),
        *(("cancel", "x"), ("doctor", "--database", shell.environment["INKSTREAM_DATABASE"])),
    ):
        done = await shell.run(*command)
        problem = command[0] == "doctor"
        assert done.code == (Exit.FAILED if problem else Exit.UNAVAILABLE), (command, done)
        why = "not a SQLite database" if kind == "text" else "no inkstream tables"
        assert why in done.err + done.out, (command, done)
    assert path.read_bytes() == before
    assert list(shell.folder.iterdir()) == [path]
