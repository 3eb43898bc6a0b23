"""If PostgreSQL goes away, no text is lost, and no living worker is taken for dead."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from inkstream import PersistentTextStreaming, wire
from inkstream._errors import OutcomeUnknown, StoreUnavailable
from inkstream._types import (
    Change,
    Committed,
    Group,
    NewStream,
    Query,
    StreamId,
    StreamState,
)
from inkstream.stores.postgres import (
    PostgresStore,
    _migrate,
    _session,
    _store,
    check_streams,
    migrate,
    verify,
)
from inkstream.stores.postgres._locks import CONFIRM_S
from tests import postgres_server

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(scope="module")
def own() -> Iterator[postgres_server.OwnServer]:
    server = postgres_server.own_server()
    yield server
    server.destroy()


@pytest.fixture
async def url(own: postgres_server.OwnServer) -> str:
    return await own.make_database()


@pytest.fixture
async def stores(url: str) -> AsyncIterator[tuple[PostgresStore, PostgresStore]]:
    pair = PostgresStore(url), PostgresStore(url)
    for store, worker in zip(pair, ("one", "two"), strict=True):
        await store.open(worker)
        await store.heartbeat(beat=True)
    yield pair
    for store in pair:
        await store.close()


async def create(store: PostgresStore, stream_id: str) -> StreamState:
    return await store.create(NewStream(stream_id=StreamId(stream_id), created_at=1.0))


def appending(state: StreamState, text: str, tail: int | None = None) -> Group:
    (segment,) = wire.encode_messages([text], 0)
    return Group((Change(internal_id=state.internal_id, if_tail=tail, append=segment),))


async def text_of(store: PostgresStore, stream_id: str) -> str:
    page = await store.read(StreamId(stream_id), 0, 1 << 30)
    return "".join(str(message) for message in wire.decode_messages(page.segments))


async def locks(store: PostgresStore) -> dict[str, bool | None]:
    return {state.worker: state.locked for state in await store.heartbeat(beat=False)}


async def until(store: PostgresStore, worker: str, locked: bool | None, within_s: float) -> float:
    """Wait until ``locked`` is the state of the worker's lock. Return the seconds that passed."""
    began = time.monotonic()
    while (await locks(store))[worker] is not locked:
        assert time.monotonic() - began < within_s, await locks(store)
    return time.monotonic() - began


async def test_backends_killed_during_commits(
    stores: tuple[PostgresStore, PostgresStore], url: str
) -> None:
    """G1, G2: if a connection ends during a commit, each piece is still stored once.

    The writer must read the tail after each error.
    """
    one, _ = stores
    state = await create(one, "s")
    killer = await asyncpg.connect(url)

    async def kill() -> None:
        await killer.fetch(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )

    tail = unknown = rounds = 0
    while tail < 60 or unknown < 3:
        rounds += 1
        killing = asyncio.ensure_future(kill()) if rounds % 2 else None
        try:
            (outcome,) = await one.commit([appending(state, f"{tail},", tail)])
            assert isinstance(outcome, Committed)
            tail += 1
        except StoreUnavailable as exc:
            unknown += isinstance(exc, OutcomeUnknown)
            tail = -1
        if killing is not None:
            await killing
        while tail < 0:
            with contextlib.suppress(StoreUnavailable):
                tail = (await one.read(StreamId("s"), 0, 0)).state.tail
    await killer.close()
    text = None
    while text is None:
        with contextlib.suppress(StoreUnavailable):  # the store may not have noticed the last kill
            text = await text_of(one, "s")
    assert text == "".join(f"{n}," for n in range(tail))


async def test_a_refused_statement_is_not_an_unknown_outcome(url: str) -> None:
    """G12: if a database is read-only, a commit raises no ``OutcomeUnknown``."""
    store = PostgresStore(url)
    await store.open("one")
    state = await create(store, "s")
    admin = await asyncpg.connect(url)
    await admin.execute(
        f"ALTER DATABASE {url.rpartition('/')[2].partition('?')[0]}"
        " SET default_transaction_read_only = on"
    )
    await admin.close()
    again = PostgresStore(url)
    await again.open("two")
    with pytest.raises(StoreUnavailable):
        await create(again, "t")
    await again.close()
    await store._connections.close()
    await store._connections.open()
    with pytest.raises(StoreUnavailable) as caught:
        await store.commit([appending(state, "lost")])
    assert not isinstance(caught.value, OutcomeUnknown)
    assert await text_of(store, "s") == ""
    await store.close()


async def test_the_schema_that_a_url_names(own: postgres_server.OwnServer) -> None:
    """Two applications may share a database, each in its own schema."""
    url = await own.make_database()
    other = f"{url}&schema=other"
    assert len(await migrate(other)) == len(await migrate(url, schema="third"))
    assert await verify(other) == []
    for where, names in ((url, ["mine"]), (other, [])):
        store = PostgresStore(where)
        await store.open("one")
        if names:
            await create(store, *names)
        assert [state.stream_id for state in await store.find(Query())] == names
        await store.close()


async def restart_fast(own: postgres_server.OwnServer) -> None:
    await asyncio.to_thread(own.stop, signal.SIGINT)
    own.start()


async def restart_immediately(own: postgres_server.OwnServer) -> None:
    await asyncio.to_thread(own.stop, signal.SIGQUIT)
    own.start()


async def crash_a_backend(own: postgres_server.OwnServer) -> None:
    """Make the server reset its memory and locks, but keep its start time."""
    await asyncio.to_thread(own.kill_a_backend)


@pytest.mark.parametrize("interrupt", [restart_fast, restart_immediately, crash_a_backend])
async def test_short_cut_loses_nothing(
    interrupt: Callable[[postgres_server.OwnServer], Awaitable[None]],
    own: postgres_server.OwnServer,
    stores: tuple[PostgresStore, PostgresStore],
) -> None:
    """G1, G7: after a short outage, a worker that reconnects late is not taken for dead."""
    one, two = stores
    state = await create(one, "s")
    await one.commit([appending(state, "kept")])
    assert await locks(one) == {"one": True, "two": True}
    session = two._session
    assert session is not None
    connect, session._connect = session._connect, no_connection
    session._on_lost = nothing  # the worker cannot report that it lost its lock
    await interrupt(own)
    looks = 0
    until_s = time.monotonic() + 3 * CONFIRM_S
    while time.monotonic() < until_s:
        try:
            assert (await locks(one))["two"] is None
            looks += 1
        except StoreUnavailable:
            continue
    assert looks > 3
    assert await text_of(one, "s") == "kept"
    session._connect = connect
    await until(one, "two", True, 10.0)
    await until(two, "one", True, 10.0)


async def no_connection() -> asyncpg.Connection[Any]:
    raise ConnectionRefusedError


async def nothing() -> None:
    return None


async def test_a_killed_process_is_seen_dead(
    url: str, stores: tuple[PostgresStore, PostgresStore]
) -> None:
    """G7: other workers see within 2 s that a process was killed."""
    program = (
        "import asyncio, sys\n"
        "from inkstream.stores.postgres import PostgresStore\n"
        "async def main():\n"
        "    store = PostgresStore(sys.argv[1])\n"
        "    await store.open('victim')\n"
        "    await store.heartbeat(beat=True)\n"
        "    print('ready', flush=True)\n"
        "    await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, url, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        assert await process.stdout.readline() == b"ready\n"
        assert (await locks(stores[0]))["victim"] is True
    finally:
        process.kill()
        await process.communicate()
    assert await until(stores[0], "victim", False, 2.0) > CONFIRM_S / 2
    began = time.monotonic()
    assert (await locks(stores[0]))["victim"] is False
    assert time.monotonic() - began < CONFIRM_S / 2, "a known death needs no second check"


async def test_worker_without_its_lock_lives(
    url: str, stores: tuple[PostgresStore, PostgresStore]
) -> None:
    """G7: a worker that lost its lock takes the lock again.

    If it cannot, other workers see the state of its lock as unknown, not as free.
    """
    one, two = stores
    session = two._session
    assert session is not None
    connect, session._connect = session._connect, no_connection
    admin = await asyncpg.connect(url)
    terminate = (
        "SELECT pg_terminate_backend(l.pid) FROM pg_locks l"
        " WHERE l.locktype = 'advisory' AND l.database ="
        " (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    assert await admin.fetch(terminate)
    await admin.close()
    until_s = time.monotonic() + 3 * CONFIRM_S
    while time.monotonic() < until_s:
        assert (await locks(one))["two"] is not False
    assert await locks(one) == {"one": True, "two": None}, "the worker 'one' took its lock again"
    session._connect = connect
    await until(one, "two", True, 5.0)


async def test_a_silent_connection_is_replaced(
    url: str, stores: tuple[PostgresStore, PostgresStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a connection is silent, a worker takes its lock again on a new connection.

    The worker does not wait until the server has closed the silent connection.
    """
    holders = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND NOT pid = ANY ($1)"
    admin = await asyncpg.connect(url)
    before = [pid for (pid,) in await admin.fetch(holders, [])]
    monkeypatch.setattr(_session, "_PING_S", 0.1)
    monkeypatch.setattr(_session, "_PONG_S", 0.3)
    for store in stores:  # only new connections use the shorter interval of pings
        assert store._session is not None
        store._session.renew()
    while len(after := await admin.fetch(holders, before)) < 2:
        pass
    silent = after[0][0]
    os.kill(silent, signal.SIGSTOP)
    try:
        deadline = time.monotonic() + 10
        while not await admin.fetch(holders, [*before, *[pid for (pid,) in after]]):
            assert time.monotonic() < deadline, "the worker did not take its lock again"
        assert await locks(stores[0]) == {"one": True, "two": True}
    finally:
        os.kill(silent, signal.SIGCONT)
    await admin.close()


async def test_server_drops_the_session_of_a_lost_host(
    stores: tuple[PostgresStore, PostgresStore],
) -> None:
    """G7: the server drops the session of a lost host after about 10 s, and not after two hours."""
    session = stores[0]._session
    assert session is not None
    assert session._connection is not None
    names = (
        "tcp_keepalives_idle",
        "tcp_keepalives_interval",
        "tcp_keepalives_count",
        "tcp_user_timeout",
    )
    values = [await session._connection.fetchval(f"SHOW {name}") for name in names]
    assert values[:3] == ["5", "2", "3"]
    assert values[3] in ("10s", "10000")


async def test_a_closed_store_is_seen_dead_at_once(
    url: str, stores: tuple[PostgresStore, PostgresStore]
) -> None:
    third = PostgresStore(url)
    await third.open("three")
    await third.heartbeat(beat=True)
    await third.close()
    began = time.monotonic()
    assert (await locks(stores[0]))["three"] is False
    assert time.monotonic() - began < CONFIRM_S


async def test_a_lock_is_named(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """G12: ``open``, ``migrate`` and ``verify`` soon raise an error if a session locks a table.

    The error says which session keeps this lock.
    """
    monkeypatch.setattr(_migrate, "ANSWER_S", 1.0)
    monkeypatch.setattr(_store, "ANSWER_S", 1.0)

    async def open_store() -> None:
        await PostgresStore(url).open("asks")

    other = await asyncpg.connect(url)
    try:
        for table, questions in (
            ("migrations", (open_store, lambda: migrate(url), lambda: verify(url))),
            ("segments", (lambda: check_streams(url),)),
        ):
            async with other.transaction():
                await other.execute(f"LOCK inkstream.{table} IN ACCESS EXCLUSIVE MODE")
                for question in questions:
                    with pytest.raises(StoreUnavailable, match=r"session .*keeps a lock"):
                        await question()
    finally:
        await other.close()


@pytest.mark.parametrize("what", ["a standby", "read-only"])
async def test_a_server_that_takes_no_writes_is_read(
    own: postgres_server.OwnServer, url: str, what: str
) -> None:
    """G12: if a server takes no writes, an application still starts, reads and follows streams.

    It cannot create a stream.
    """
    standby = await asyncio.to_thread(own.standby) if what == "a standby" else None
    if standby is not None:
        there = standby.url_of(urlsplit(url).path[1:])
    else:
        there = f"{url}&options=-c%20default_transaction_read_only%3Don"
    try:
        async with PersistentTextStreaming(url) as writing:
            await writing.create("s")
            async with writing.write("s") as writer:
                await writer.append("first ")
                await writer.flush()
                if standby is not None:
                    await own.caught_up(standby)
                # Repeat this, because the store closes its connections some time after the first
                # refused write.
                for n in range(3):
                    async with PersistentTextStreaming(there) as streams:
                        following = streams.follow("s")
                        assert await anext(following) == "first " + "more " * n
                        with pytest.raises(StoreUnavailable, match="takes no writes"):
                            await streams.create("t")
                        await writer.append("more ")
                        async with asyncio.timeout(20):
                            assert await anext(following) == "more "
                        await following.aclose()
    finally:
        if standby is not None:
            standby.destroy()


async def test_a_server_that_cannot_be_reached() -> None:
    """G12: the error says that no connection was made."""
    with socket.create_server(("127.0.0.1", 0)) as paused:
        port = paused.getsockname()[1]
        url = f"postgresql://u:p@127.0.0.1:{port}/d?sslmode=disable&connect_timeout=1"
        for connect in (lambda: PostgresStore(url).open("asks"), lambda: migrate(url)):
            with pytest.raises(StoreUnavailable, match="accepted no connection in time"):
                await connect()
    for connect in (lambda: PostgresStore(url).open("asks"), lambda: migrate(url)):
        with pytest.raises(StoreUnavailable, match="no connection to PostgreSQL is possible"):
            await connect()
