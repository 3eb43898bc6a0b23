"""Two hosts on one PostgreSQL; the network of one is cut and later works again."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Iterator

import pytest

from tests import postgres_server
from tests.crash.asking import show, shown_until
from tests.crash.conftest import Spawn
from tests.crash.host import Host, reachable_server, url_over_there
from tests.crash.worker import LEASE_S
from tests.prerequisites import missing


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    """Create another host."""
    try:
        host = Host()
    except subprocess.CalledProcessError as exc:
        missing(f"no network namespaces here: {exc.stderr.decode()}")
    with host:
        yield host


@pytest.fixture(scope="module")
def server(host: Host) -> Iterator[postgres_server.OwnServer]:
    with reachable_server(host) as server:
        yield server


@pytest.fixture
async def database(server: postgres_server.OwnServer, host: Host) -> str:
    return url_over_there(server, host, await server.make_database())


@pytest.mark.timeout(90)
async def test_cut_off_writer_is_fenced(spawn: Spawn, host: Host) -> None:
    """G2, G3, G7: nobody sees the host's lock, so its beats decide. No stream has two writers."""
    there, here = await asyncio.gather(spawn(before=host.prefix), spawn())
    await there.do("create_job", "job")
    first = there.begin("job", "job")
    assert await there.told(first) == ["begins", ""]
    await there.do("create", "text")
    source = there.begin("start", "text")
    heard_here = {name: here.begin("follow", name) for name in ("job", "text")}
    heard_there = {name: there.begin("follow", name) for name in ("job", "text")}
    for name in ("job", "text"):
        await there.do("say", name, "before ")
        await here.heard(heard_here[name], "before ")
        await there.heard(heard_there[name], "before ")

    host.cut()
    cut = time.monotonic()
    second = here.begin("job", "job")
    for name in ("job", "text"):
        await there.do("say", name, "never ")  # the source accepts it, but readers never get it
    async with asyncio.timeout(3 * LEASE_S):
        assert (await here._told[heard_here["text"]].get())[1:] == ["end", "timeout", "writer_lost"]
        assert (await here._told[second].get())[1:] == ["begins", "before "]
    assert time.monotonic() - cut > LEASE_S / 2, "the missing beats must decide"
    await here.do("say", "job", "after", None)
    await here.heard(heard_here["job"], "after")
    assert await here.told(heard_here["job"]) == ["end", "done", None]

    host.heal()
    async with asyncio.timeout(30):
        assert (await there._told[first].get())[1:] == ["failed", "WriterFenced"]
        assert (await there._told[source].get())[1:] == ["closed"]
        assert (await there._told[heard_there["job"]].get())[1:] == ["text", "after"]
        assert (await there._told[heard_there["job"]].get())[1:] == ["end", "done", None]
        assert (await there._told[heard_there["text"]].get())[1:] == [
            "end",
            "timeout",
            "writer_lost",
        ]
    for process in (here, there):
        assert await process.do("read", "job") == ["done", None, "before after"]
        assert await process.do("read", "text") == ["timeout", "writer_lost", "before "]


@pytest.mark.timeout(90)
async def test_show_says_that_the_writer_is_cut_off(
    spawn: Spawn, host: Host, database: str
) -> None:
    """G7: asked on the database's side by a process that starts after the cut, and that only looks.

    The server keeps the session of the lost host, so its lock is still held: that proves nothing.
    """
    there = await spawn(before=host.prefix)
    await there.do("create", "s")
    source = there.begin("start", "s")
    following = there.begin("follow", "s")
    await there.do("say", "s", "so far ")
    await there.heard(following, "so far ")
    assert (await show(database, "s"))["worker"]["alive"] is True
    host.cut()
    try:
        shown = await shown_until(database, "s", "writer_unheard")
        assert shown["worker"]["alive"] is False
        assert shown["worker"]["locked"] is True
        assert shown["status"] == "streaming"
        assert "cut off from the database" in shown["causes"][0]["message"]
    finally:
        host.heal()
    await there.do("say", "s", None)
    async with asyncio.timeout(30):  # nobody ended it meanwhile, so it goes on
        assert (await there._told[source].get())[1:] == ["closed"]
        assert (await there._told[following].get())[1:] == ["end", "done", None]
