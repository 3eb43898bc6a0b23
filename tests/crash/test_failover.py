"""Two PostgreSQL servers behind one address: a leader, and a standby that replaces it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

import asyncpg
import pytest

from tests import postgres_server
from tests.crash.conftest import Process, Spawn
from tests.crash.test_kill_server import counted
from tests.proxy import Switch, switch_before

pytestmark = [pytest.mark.timeout(150), pytest.mark.seeds(1, 20)]


@dataclass
class Pair:
    """A leader, its standby, and the address that applications use.

    Attributes:
        leader: The server that takes writes until the standby replaces it.
        switch: A proxy at the address that applications use.
    """

    leader: postgres_server.OwnServer
    standby: postgres_server.OwnServer
    switch: Switch

    async def hand_over(self) -> None:
        """Make the standby the leader, as an operator does. The old leader runs on, read-only."""
        await self.leader.take_no_writes(True)
        await self.leader.caught_up(self.standby)
        await self.standby.promote()
        self.switch.upstream = self.standby.port

    async def lose_the_leader(self) -> None:
        """Make the standby the leader with the standby's data, as if the old leader had died."""
        self.switch.drop()
        await self.standby.promote()
        self.switch.upstream = self.standby.port
        self.switch.drop()


@pytest.fixture
def servers(seed: int) -> Iterator[tuple[postgres_server.OwnServer, postgres_server.OwnServer]]:
    """Start new servers for each seed, because a promoted standby stays a leader."""
    leader = postgres_server.own_server()
    standby = leader.standby()
    yield leader, standby
    standby.destroy()
    leader.destroy()


@pytest.fixture
async def pair(
    servers: tuple[postgres_server.OwnServer, postgres_server.OwnServer],
) -> AsyncIterator[Pair]:
    leader, standby = servers
    async with switch_before(leader.port) as switch:
        yield Pair(leader, standby, switch)


@pytest.fixture
async def database(pair: Pair) -> str:
    url = await pair.leader.make_database()
    await pair.leader.caught_up(pair.standby)
    return url.replace(f":{pair.leader.port}/", f":{pair.switch.port}/")


def on(server: postgres_server.OwnServer, database: str) -> str:
    return server.url_of(urlsplit(database).path[1:])


async def hear_all(reader: Process, number: int) -> tuple[str, list[str | None]]:
    """Return the text that a ``follow`` printed, and how the stream ended."""
    text = ""
    while (told := await reader.told(number))[0] == "text":
        text += told[1]
    return text, told


async def test_leader_becomes_read_only(pair: Pair, spawn: Spawn) -> None:
    """G1, G2, G12: all processes move to the new leader, and readers lose no text."""
    writer, reader, other = [await spawn() for _ in range(3)]
    await writer.do("create", "s")
    counting = writer.begin("count", "s")
    follower = reader.begin("follow", "s")
    text = (await reader.told(follower))[1]
    await pair.hand_over()
    began = time.monotonic()
    while True:  # ``other`` was idle, and may still call the old leader
        what, _ = await other.told(other.begin("create", f"new{time.monotonic_ns()}"))
        if what == "done":
            break
        assert time.monotonic() - began < 10
    while time.monotonic() - began < 3:
        text += (await reader.told(follower))[1]
    await writer.do("say", "s", None)
    rest, end = await hear_all(reader, follower)
    assert end == ["end", "done", None]
    await writer.told(counting)
    text += rest
    assert counted(text)
    assert await other.do("read", "s") == ["done", None, text]


async def test_reader_leaves_a_replaced_leader(pair: Pair, spawn: Spawn, database: str) -> None:
    """G10: a reader changes to the new leader, although the old leader still answers reads."""
    reader = await spawn()
    await reader.do("create", "s")
    follower = reader.begin("follow", "s")
    await pair.hand_over()
    writer = await spawn()  # a new process connects to the new leader
    writing = writer.begin("start", "s")
    await writer.do("say", "s", "on the new one", None)
    assert await hear_all(reader, follower) == ("on the new one", ["end", "done", None])
    await writer.told(writing)


async def test_idle_process_leaves_a_replaced_leader(pair: Pair, spawn: Spawn) -> None:
    """G10: even a process without readers changes to the new leader."""
    idle = await spawn()
    await idle.do("create", "old")
    await pair.hand_over()
    fresh = await spawn()  # a new process connects to the new leader
    await fresh.do("create", "new")
    began = time.monotonic()
    while (told := await idle.told(idle.begin("read", "new")))[0] == "failed":
        assert time.monotonic() - began < 5, told
    assert told == ["done", ["pending", None, ""]]


async def test_standby_without_the_last_commits(pair: Pair, spawn: Spawn, database: str) -> None:
    """G1, G5: a reader that gets the terminal event has received exactly the stored text.

    The standby never received the last text. The writer stores that text again, or the reader gets
    ``OffsetGone``.
    """
    writer, reader = await spawn(), await spawn()
    await writer.do("create", "s")
    writer.begin("start", "s")
    follower = reader.begin("follow", "s")
    await writer.do("say", "s", "kept ")
    await reader.heard(follower, "kept ")
    await pair.leader.caught_up(pair.standby)
    await pair.standby.detach()
    await writer.do("say", "s", "lost ")
    await reader.heard(follower, "lost ")
    await pair.lose_the_leader()
    await writer.do("say", "s", "later", None)
    heard, how = await hear_all(reader, follower)
    status, code, text = await reader.do("read", "s")
    if how[0] == "end":
        assert (how[1:], f"kept lost {heard}") == ([status, code], text)
    else:
        assert how == ["failed", "OffsetGone"], "the reader must begin again at the start"
    assert text.startswith("kept ")


async def terminate_all(url: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    finally:
        await connection.close()


async def test_a_read_only_phase_kills_no_healthy_writer(
    pair: Pair, spawn: Spawn, database: str
) -> None:
    """G7, G12: while a database is read-only, workers cannot beat, but are not taken for dead."""
    writer, observer = await spawn(), await spawn()
    names = [f"s{n}" for n in range(5)]
    await writer.do("create", *names)
    for name in names:
        writer.begin("start", name)
    followers = [observer.begin("follow", name) for name in names]
    for name, follower in zip(names, followers, strict=True):
        await writer.do("say", name, "before ")
        await observer.heard(follower, "before ")
    await pair.leader.take_no_writes(True)
    await terminate_all(on(pair.leader, database))
    for name in names:
        await writer.do("say", name, "after")
    await asyncio.sleep(6.0)  # the database is read-only for 6 s
    await pair.leader.take_no_writes(False)
    await terminate_all(on(pair.leader, database))
    for name, follower in zip(names, followers, strict=True):
        await observer.heard(follower, "after")
        await writer.do("say", name, None)
        assert await observer.told(follower) == ["end", "done", None]
        assert await observer.do("read", name) == ["done", None, "before after"]
