"""Two hosts use one PostgreSQL. The network of one host is cut, and later works again."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Iterator

import pytest

from tests import postgres_server
from tests.crash.asking import show, shown_until
from tests.crash.conftest import Lateness, Spawn
from tests.crash.host import Host, reachable_server, url_over_there
from tests.crash.worker import TIMINGS
from tests.prerequisites import missing


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
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
@pytest.mark.parametrize("how", ["cut", pytest.param("lose_packets", marks=pytest.mark.soak)])
async def test_cut_off_writer_is_fenced(spawn: Spawn, host: Host, how: str, timing: str) -> None:
    """G2, G3, G7: a writer on a cut-off host is fenced, so that no stream has two writers.

    PostgreSQL keeps the session of the cut-off host, so the worker's lock does not become free.
    Only the missing beats show that the worker is away. With the default times, readers on the
    other host get the end within 15 seconds.
    """
    lease_s = TIMINGS[timing].lease_s
    there, here = await asyncio.gather(
        spawn(before=host.prefix, timing=timing), spawn(timing=timing)
    )
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

    getattr(host, how)()
    cut = time.monotonic()
    second = here.begin("job", "job")
    for name in ("job", "text"):
        # The writer accepts this text, but readers never get it.
        await there.do("say", name, "never ")
    async with Lateness() as machine:
        told_at, *end = await here.told_at(heard_here["text"], within_s=3 * lease_s)
    assert end == ["end", "timeout", "writer_lost"]
    assert lease_s / 2 < told_at - cut < lease_s + 3 + machine.late_s, "missing beats must decide"
    assert await here.told(second) == ["begins", "before "]
    await here.do("say", "job", "after", None)
    await here.heard(heard_here["job"], "after")
    assert await here.told(heard_here["job"]) == ["end", "done", None]

    host.heal()
    for number, expected in (
        (first, ["failed", "WriterFenced"]),
        (source, ["closed"]),
        (heard_there["job"], ["text", "after"]),
        (heard_there["job"], ["end", "done", None]),
        (heard_there["text"], ["end", "timeout", "writer_lost"]),
    ):
        assert await there.told(number, within_s=30) == expected
    for process in (here, there):
        assert await process.do("read", "job") == ["done", None, "before after"]
        assert await process.do("read", "text") == ["timeout", "writer_lost", "before "]


@pytest.mark.timeout(90)
async def test_show_says_that_the_writer_is_cut_off(
    spawn: Spawn, host: Host, database: str
) -> None:
    """G7: `inkstream show` says that the writer's host has lost the database."""
    there = await spawn(before=host.prefix, timing="brief")
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
        assert "Its host has lost the database" in shown["causes"][0]["message"]
    finally:
        host.heal()
    await there.do("say", "s", None)
    # `inkstream show` changed nothing, so the stream goes on.
    assert await there.told(source, within_s=30) == ["closed"]
    assert await there.told(following, within_s=30) == ["end", "done", None]
