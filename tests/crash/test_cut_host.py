"""Two hosts on one PostgreSQL, the network between one and the server cut, and healed."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Iterator

import pytest

from tests import postgres_server, prerequisites
from tests.crash.conftest import Spawn
from tests.crash.worker import LEASE_S


class Host:
    """A network namespace, with a link to this one.

    Attributes:
        server: This side's address, on which PostgreSQL listens.
        prefix: What runs a command over there.
    """

    def __init__(self) -> None:
        self._name = f"inkstream{os.getpid()}"
        here, there = f"ink{os.getpid()}h", f"ink{os.getpid()}t"
        net = f"10.{os.getpid() // 250 % 250}.{os.getpid() % 250}"
        self.server = f"{net}.1"
        self.prefix = ("ip", "netns", "exec", self._name)
        self._link = there
        for command in (
            f"ip netns add {self._name}",
            f"ip link add {here} type veth peer name {there} netns {self._name}",
            f"ip addr add {self.server}/30 dev {here}",
            f"ip link set {here} up",
            f"ip -n {self._name} addr add {net}.2/30 dev {there}",
            f"ip -n {self._name} link set {there} up",
            f"ip -n {self._name} link set lo up",
        ):
            subprocess.run(command.split(), check=True, capture_output=True)

    def cut(self) -> None:
        """Let nothing through, and tell nobody."""
        subprocess.run(["ip", "-n", self._name, "link", "set", self._link, "down"], check=True)

    def heal(self) -> None:
        """Let everything through again."""
        subprocess.run(["ip", "-n", self._name, "link", "set", self._link, "up"], check=True)

    def remove(self) -> None:
        """Take everything down."""
        subprocess.run(["ip", "netns", "del", self._name], check=True)


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    """Make another host."""
    prerequisites.program("ip")
    try:
        host = Host()
    except subprocess.CalledProcessError as exc:
        prerequisites.missing(f"no network namespaces here: {exc.stderr.decode()}")
    yield host
    host.remove()


@pytest.fixture(scope="module")
def server(host: Host) -> Iterator[postgres_server.OwnServer]:
    """Start a server that both hosts reach."""
    server = postgres_server.own_server(
        settings=(f"listen_addresses=127.0.0.1,{host.server}", "tcp_keepalives_idle=600")
    )
    with (server._data / "pg_hba.conf").open("a") as access:
        access.write(f"host all all {host.server}/24 trust\n")
    assert server._process is not None
    server._process.send_signal(signal.SIGHUP)
    yield server
    server.destroy()


@pytest.fixture
async def database(server: postgres_server.OwnServer, host: Host) -> str:
    url = await server.make_database()
    return url.replace("@127.0.0.1:", f"@{host.server}:")


@pytest.mark.timeout(90)
async def test_a_writer_that_was_cut_off_is_fenced_and_both_sides_agree(
    spawn: Spawn, host: Host
) -> None:
    """G2, G3, G7: its lock cannot be told, so its beats decide; and no stream has two writers."""
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
        await there.do("say", name, "never ")  # accepted by its source, and never shown
    async with asyncio.timeout(3 * LEASE_S):
        assert (await here._told[heard_here["text"]].get())[1:] == ["end", "timeout", "writer_lost"]
        assert (await here._told[second].get())[1:] == ["begins", "before "]
    assert time.monotonic() - cut > LEASE_S / 2, "it was not the beats that told"
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
