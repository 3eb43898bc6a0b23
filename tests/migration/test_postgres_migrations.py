"""A store does not change PostgreSQL's schema. All ways to create the schema give the same one."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator

import asyncpg
import pytest

from inkstream import wire
from inkstream._errors import SchemaOutdated, StoreError, StoreUnavailable
from inkstream._types import Change, End, Fork, Group, NewStream, Segment, Status, StreamId
from inkstream.stores.postgres import PostgresStore, _migrate, migrate, sql, verify
from inkstream.stores.postgres._migrate import VERSION, migrations, schema_sql
from tests import postgres_server

pytestmark = pytest.mark.timeout(60)

# These functions read files, so they must not run on an event loop.
STEPS, SCRIPT, SCHEMA = migrations(), sql(), schema_sql()


@pytest.fixture(params=postgres_server.versions())
def server(request: pytest.FixtureRequest) -> postgres_server.Server:
    return postgres_server.server(request.param)


@pytest.fixture
async def url(server: postgres_server.Server) -> AsyncIterator[str]:
    url = await server.make_database(migrated=False)
    yield url
    await server.drop_database(url)


async def execute(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


async def test_no_silent_ddl(url: str) -> None:
    """A call on a database without the schema changes nothing. Its error shows no password."""
    with pytest.raises(SchemaOutdated) as caught:
        await PostgresStore(url).open("one")
    assert "inkstream migrate --database postgresql://postgres@" in str(caught.value)
    assert ":any@" not in str(caught.value)
    with pytest.raises(SchemaOutdated):
        await verify(url)
    connection = await asyncpg.connect(url)
    assert await connection.fetchval("SELECT to_regnamespace('inkstream')") is None
    await connection.close()


async def test_an_old_server_is_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """``migrate`` changes nothing on a PostgreSQL that is too old."""
    monkeypatch.setattr(_migrate, "_OLDEST", 99)
    with pytest.raises(StoreError, match="inkstream needs 99 or later"):
        await migrate(url)
    with pytest.raises(SchemaOutdated):
        await verify(url)


async def test_migrating_twice_and_at_once(url: str) -> None:
    """All processes of a deploy may migrate at the same time."""
    applied = await asyncio.gather(*[migrate(url) for _ in range(4)])
    assert sorted(applied, key=len) == [
        [],
        [],
        [],
        [f"{m.version:04d}_{m.name}" for m in STEPS],
    ]
    assert await migrate(url) == []
    assert await verify(url) == []
    store = PostgresStore(url)
    await store.open("one")
    await store.close()


async def test_the_schema_equals_the_migrations(url: str, server: postgres_server.Server) -> None:
    """``migrate``, the script from ``sql``, and the schema's own files make the same schema."""
    if not isinstance(server, postgres_server.OwnServer):
        server = postgres_server.own_server()  # pg_dump must have the version of the server
        url = await server.make_database(migrated=False)
    await migrate(url)
    migrated = server.dump_schema(url, "inkstream")
    await execute(url, "DROP SCHEMA inkstream CASCADE", SCRIPT)
    assert server.dump_schema(url, "inkstream") == migrated
    assert await migrate(url) == [], "the script must record its migrations"
    await execute(url, "DROP SCHEMA inkstream CASCADE", SCHEMA)
    assert server.dump_schema(url, "inkstream") == migrated
    await migrate(url, schema="other_place")
    other = server.dump_schema(url, "other_place")
    assert "inkstream" not in other
    assert other.replace("other_place", "inkstream") == migrated


def test_the_versions_are_consecutive() -> None:
    assert [step.version for step in STEPS] == list(range(1, VERSION + 1))
    assert all(1 <= step.needs <= step.version for step in STEPS)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("DROP INDEX inkstream.heads_due", "missing: i heads_due"),
        ("ALTER TABLE inkstream.live ALTER count TYPE bigint", "different: column live.count"),
        ("ALTER TABLE inkstream.worker_locks SET LOGGED", "different: r worker_locks"),
        (
            "DROP FUNCTION inkstream.heartbeat",
            "missing: function heartbeat(text, boolean, bigint, text[], text)",
        ),
    ],
)
async def test_verify_finds_what_is_wrong(url: str, damage: str, said: str) -> None:
    await migrate(url)
    await execute(url, damage)
    assert said in [re.sub(r"p_\w+ ", "", line) for line in await verify(url)]


@pytest.mark.parametrize(("line", "differs"), [("-- a comment", False), ("PERFORM 1;", True)])
async def test_verify_compares_no_comments(url: str, line: str, differs: bool) -> None:
    await migrate(url)
    connection = await asyncpg.connect(url)
    try:
        ((source,),) = await connection.fetch(
            "SELECT pg_get_functiondef(oid) FROM pg_proc WHERE proname = 'commit_changes'"
        )
        await connection.execute(source.replace("\nBEGIN\n", f"\nBEGIN\n    {line}\n"))
    finally:
        await connection.close()
    assert bool(await verify(url)) == differs


async def test_other_versions_of_the_library(url: str) -> None:
    """A newer schema works, unless its ``needs`` is above the library's schema version."""
    await migrate(url)
    newer = f"INSERT INTO inkstream.migrations VALUES ({VERSION + 1}, 'newer', {VERSION}, '')"
    await execute(url, newer)
    store = PostgresStore(url)
    await store.open("one")
    await store.close()
    await execute(
        url, f"UPDATE inkstream.migrations SET needs = {VERSION + 1} WHERE name = 'newer'"
    )
    with pytest.raises(SchemaOutdated, match="upgrade inkstream"):
        await PostgresStore(url).open("one")
    await execute(url, "DELETE FROM inkstream.migrations")
    with pytest.raises(SchemaOutdated, match="inkstream migrate"):
        await PostgresStore(url).open("one")


async def test_only_utf8(server: postgres_server.Server) -> None:
    name = "test_latin1"
    await server.execute(f"CREATE DATABASE {name} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    try:
        with pytest.raises(StoreError, match="UTF8"):
            await migrate(server.url_of(name))
    finally:
        await server.execute(f"DROP DATABASE {name} WITH (FORCE)")


async def test_a_role_with_no_more_than_it_needs(url: str, server: postgres_server.Server) -> None:
    """A role with the documented rights can use the schema, but cannot drop a table."""
    await migrate(url)
    role = "inkstream_test_role"
    await server.execute(f"DROP ROLE IF EXISTS {role}", f"CREATE ROLE {role} LOGIN PASSWORD 'any'")
    limited = server.url_of(url.rpartition("/")[2].partition("?")[0], role)
    try:
        with pytest.raises(StoreError, match="privilege"):
            await PostgresStore(limited).open("one")
        await execute(
            url,
            f"GRANT USAGE ON SCHEMA inkstream TO {role}",
            f"GRANT SELECT ON ALL TABLES IN SCHEMA inkstream TO {role}",
            "GRANT INSERT, UPDATE, DELETE ON inkstream.streams, inkstream.heads, inkstream.live,"
            " inkstream.segments, inkstream.marks, inkstream.workers, inkstream.worker_locks,"
            " inkstream.generation"
            f" TO {role}",
        )
        store = PostgresStore(limited)
        await store.open("one")
        await store.heartbeat(beat=True, forget=["nobody"])
        state = await store.create(NewStream(stream_id=StreamId("s"), created_at=0.0))
        (segment,) = wire.encode_messages(["text"], 0)
        end = End(Status.DONE)
        change = Change(internal_id=state.internal_id, append=segment, end=end, marks={"m": b""})
        await store.commit([Group((change,))])
        assert not await store.tidy(0.0, 1 << 20)
        await store.channel.send("hint")
        assert await store.delete([state.internal_id]) == 1
        await store.close()
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await execute(limited, "DROP TABLE inkstream.live")
    finally:
        await execute(url, f"DROP OWNED BY {role}")
        await server.execute(f"DROP ROLE {role}")


async def test_a_view_shows_the_text(url: str) -> None:
    """G11: a view shows each stream's text. It shows U+FFFD for NUL, and NULL for invalid bytes."""
    await migrate(url)
    store = PostgresStore(url)
    await store.open("one")

    async def make(name: str, *messages: str | wire.RawJSON, fork: Fork | None = None) -> int:
        new = NewStream(stream_id=StreamId(name), created_at=1.0, owner="me", fork=fork)
        state = await store.create(new)
        for message in messages:
            (segment,) = wire.encode_messages([message], 0)
            append = Change(internal_id=state.internal_id, append=segment)
            await store.commit([Group((append,))])
        return state.internal_id

    long = "☃" * 100 + "x" * 20_000
    a = await make("a", "one ", wire.RawJSON(b'{"tool": 1}'), long, "\0 end")
    await store.commit([Group((Change(internal_id=a, end=End(Status.DONE), at=2.0),))])
    assert not await store.tidy(1.0, 1 << 20), "one step must merge all"
    b = await make("b", "of b", fork=Fork(a, 2))
    await make("c", " of c", fork=Fork(b, 3))
    await make("d", " of d", fork=Fork(b, 1))
    await make("e")
    for name, payload in (("f", "☃".encode()), ("g", b"\xff")):
        state = await store.create(
            NewStream(stream_id=StreamId(name), created_at=1.0, content_type="text/plain")
        )
        for byte in payload:
            one = Segment(0, 1, bytes([byte]), b"")
            await store.commit([Group((Change(internal_id=state.internal_id, append=one),))])
    connection = await asyncpg.connect(url)
    rows = await connection.fetch("SELECT stream_id, text FROM inkstream.stream_text ORDER BY 1")
    done = await connection.fetchrow("SELECT * FROM inkstream.stream_text WHERE stream_id = 'a'")
    await connection.close()
    await store.close()
    assert dict(map(tuple, rows)) == {
        "a": f"one {long}\ufffd end",
        "b": "one of b",
        "c": "one of b of c",
        "d": "one  of d",
        "e": "",
        "f": "☃",
        "g": None,
    }
    assert done is not None
    assert (done["status"], done["owner"], done["ended_at"].timestamp()) == ("done", "me", 2.0)


async def test_an_unreachable_server() -> None:
    with pytest.raises(StoreUnavailable):
        await migrate("postgresql://nobody:any@127.0.0.1:1/none?sslmode=disable")
    with pytest.raises(StoreUnavailable):
        await PostgresStore("postgresql://nobody:any@127.0.0.1:1/none?sslmode=disable").open("one")
