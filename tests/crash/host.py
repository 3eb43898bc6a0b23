"""Another host, as far as the network is concerned, and a PostgreSQL that it reaches."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

from tests import postgres_server
from tests.prerequisites import program


class Host:
    """A network namespace, with a link to this one.

    Attributes:
        server: This side's address, on which PostgreSQL listens.
        prefix: What runs a command over there.
    """

    def __init__(self) -> None:
        self._ip = program("ip")
        self._name = f"inkstream{os.getpid()}"
        here, there = f"ink{os.getpid()}h", f"ink{os.getpid()}t"
        net = f"10.{os.getpid() // 250 % 250}.{os.getpid() % 250}"
        self.server = f"{net}.1"
        self.prefix = (self._ip, "netns", "exec", self._name)
        self._link = there
        for command in (
            f"netns add {self._name}",
            f"link add {here} type veth peer name {there} netns {self._name}",
            f"addr add {self.server}/30 dev {here}",
            f"link set {here} up",
            f"-n {self._name} addr add {net}.2/30 dev {there}",
            f"-n {self._name} link set {there} up",
            f"-n {self._name} link set lo up",
        ):
            subprocess.run([self._ip, *command.split()], check=True, capture_output=True)

    def __enter__(self) -> Self:
        """Return itself, to be taken down with the block."""
        return self

    def cut(self) -> None:
        """Let nothing through, and tell nobody."""
        subprocess.run([self._ip, "-n", self._name, "link", "set", self._link, "down"], check=True)

    def heal(self) -> None:
        """Let everything through again."""
        subprocess.run([self._ip, "-n", self._name, "link", "set", self._link, "up"], check=True)

    def __exit__(self, *error: object) -> None:
        """Take everything down."""
        subprocess.run([self._ip, "netns", "del", self._name], check=True)


@contextmanager
def reachable_server(host: Host) -> Iterator[postgres_server.OwnServer]:
    """Run a PostgreSQL here, for the block, that both hosts reach."""
    server = postgres_server.own_server(
        settings=(f"listen_addresses=127.0.0.1,{host.server}", "tcp_keepalives_idle=600")
    )
    try:
        server.allow(f"host all all {host.server}/24 trust")
        yield server
    finally:
        server.destroy()


def url_over_there(server: postgres_server.OwnServer, host: Host, url: str) -> str:
    """Return the URL of a database that is the same on both hosts."""
    return url.replace(f"@127.0.0.1:{server.port}", f"@{host.server}:{server.port}")
