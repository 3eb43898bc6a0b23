"""Processes use PostgreSQL through PgBouncer, which may run each transaction on another session."""

from __future__ import annotations

import asyncio
import itertools
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from inkstream import PersistentTextStreaming, StoreUnavailable
from inkstream.stores.postgres import migrate, verify
from tests import postgres_server
from tests.crash.conftest import Lateness, Process, Spawn
from tests.crash.worker import LEASE_S
from tests.pgbouncer import PgBouncer, pgbouncer, with_listener

pytestmark = [pytest.mark.interop, pytest.mark.timeout(60)]


@pytest.fixture
def server() -> postgres_server.Server:
    return postgres_server.server(postgres_server.versions()[0])


@pytest.fixture
def pooler(server: postgres_server.Server, tmp_path: Path) -> Iterator[PgBouncer]:
    with pgbouncer(server, tmp_path) as pooler:
        yield pooler


@pytest.fixture
def direct(server: postgres_server.Server) -> Iterator[str]:
    """Return the URL of a database. Connections to this URL bypass the pooler."""
    url = asyncio.run(server.make_database())
    yield url
    asyncio.run(server.drop_database(url))


@pytest.fixture
def database(direct: str, pooler: PgBouncer) -> str:
    return pooler.url_of(direct, "")


async def end_of(reader: Process, number: int, within_s: float) -> list[object]:
    """Return the last result of a ``follow``, which says how the stream ended."""
    async with asyncio.timeout(within_s):
        while (told := (await reader._told[number].get())[1:])[0] != "end":
            pass
    return told


@pytest.mark.parametrize("listening", [True, False])
async def test_many_streams_share_few_sessions(spawn: Spawn, direct: str, listening: bool) -> None:
    """G2, G3, G6: starts, followers and cancels work although the processes share few sessions."""
    parameters = with_listener(direct) if listening else "&pooler=1"
    processes = await asyncio.gather(*[spawn(parameters) for _ in range(3)])
    names = [f"s{number}" for number in range(12)]
    await processes[0].do("create", *names)
    called = await asyncio.gather(*[process.do("race", *names) for process in processes])
    assert sorted(itertools.chain(*called)) == sorted(names), "each stream must start once"
    for process, name in itertools.product(processes, names[:2]):
        assert await end_of(process, process.begin("follow", name), 10) == ["end", "done", None]
    # One process writes, the other processes follow, and one follower cancels the streams.
    writer, *readers = processes
    for name in ("one", "two", "three"):
        await writer.do("create", name)
        writer.begin("count", name)
    heard = {
        (reader, name): reader.begin("follow", name)
        for reader in readers
        for name in ("one", "two", "three")
    }
    for (reader, _), number in heard.items():
        assert (await reader.told(number))[0] == "text"
    for name in ("one", "two", "three"):
        assert await readers[0].do("cancel", name) is True
    for (reader, _), number in heard.items():
        assert await end_of(reader, number, 10) == ["end", "cancelled", None]


async def test_listener_beside_a_pooler_is_immediate(spawn: Spawn, direct: str) -> None:
    """G6, G7: if a listener bypasses the pooler, readers learn of changes before the next poll."""
    writer, reader = await asyncio.gather(*[spawn(with_listener(direct)) for _ in range(2)])
    numbers = {}
    for name in ("cancelled", "lost"):
        await writer.do("create", name)
        writer.begin("start", name)
        numbers[name] = reader.begin("follow", name)
    quick: list[float] = []
    for piece in ("a", "b", "c", "d", "e"):
        began = time.monotonic()
        await writer.do("say", "lost", piece)
        await reader.heard(numbers["lost"], piece)
        quick.append(time.monotonic() - began)
    assert sorted(quick)[2] < 1.0, "the text arrived by the poll, not by a hint"
    assert await reader.do("cancel", "cancelled") is True
    assert await end_of(reader, numbers["cancelled"], 2) == ["end", "cancelled", None]
    async with Lateness() as lateness:
        writer.process.send_signal(signal.SIGKILL)
        killed = time.monotonic()
        assert await end_of(reader, numbers["lost"], 10) == ["end", "timeout", "writer_lost"]
        assert time.monotonic() - killed < 2.0 + lateness.late_s


async def test_without_a_listener_polling_works(spawn: Spawn) -> None:
    """G2, G7: without a listener, polls bring text and cancels, and missing beats show a death."""
    writer, reader = await asyncio.gather(*[spawn("&pooler=1") for _ in range(2)])
    numbers = {}
    for name in ("cancelled", "lost"):
        await writer.do("create", name)
        source = writer.begin("start", name)
        numbers[name] = reader.begin("follow", name)
        await writer.do("say", name, "half")
        await reader.heard(numbers[name], "half")
        if name == "cancelled":
            assert await reader.do("cancel", name) is True
            assert await reader.told(numbers[name]) == ["end", "cancelled", None]
            assert await writer.told(source) == ["closed"]  # the writer's poll has seen the cancel
    writer.process.send_signal(signal.SIGKILL)
    killed = time.monotonic()
    assert await end_of(reader, numbers["lost"], 3 * LEASE_S) == ["end", "timeout", "writer_lost"]
    assert time.monotonic() - killed > LEASE_S / 2, "the missing beats must decide"


async def test_pooler_without_the_pooler_parameter(database: str, pooler: PgBouncer) -> None:
    """G12: behind a PgBouncer before 1.21, the error names the missing parameter ``pooler``.

    PgBouncer 1.21 and later versions support prepared statements, and work without the parameter.
    """

    async def use() -> None:
        ones, others = PersistentTextStreaming(database), PersistentTextStreaming(database)
        async with ones, others:
            # Each call uses any free session, so the calls of one instance use several sessions.
            for _ in range(20):
                ids = await asyncio.gather(*[one.create() for one in (ones, others) * 4])
                await asyncio.gather(*[others.read(stream_id) for stream_id in ids])

    if pooler.version < (1, 21):
        with pytest.raises(StoreUnavailable, match="pooler=true"):
            await use()
    else:
        await use()


async def test_the_schema_is_made_and_verified_through_it(
    server: postgres_server.Server, pooler: PgBouncer
) -> None:
    url = await server.make_database(migrated=False)
    through = pooler.url_of(url, "&pooler=1")
    try:
        assert await migrate(through)
        assert not await migrate(through)
        assert not await verify(through)
    finally:
        await server.drop_database(url)
