"""A network namespace that acts as another host, and a PostgreSQL that both hosts can reach."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

from tests import postgres_server
from tests.prerequisites import program


class Host:
    """A network namespace with a link to the namespace of the tests.

    Attributes:
        server: The address of the tests' side of the link. PostgreSQL listens on this address.
        prefix: Words that stand before a command, and run the command in the namespace.
    """

    def __init__(self) -> None:
        self._ip = program("ip")
        self._name = f"inkstream{os.getpid()}"
        here, there = f"ink{os.getpid()}h", f"ink{os.getpid()}t"
        net = f"10.{os.getpid() // 250 % 250}.{os.getpid() % 250}"
        self.server = f"{net}.1"
        self.prefix = (self._ip, "netns", "exec", self._name)
        self._link = there
        # Each item is for one side of the link: the address of the other side, the device of this
        # side, and the options with which ``ip`` acts on this side.
        self._neighbours = ((f"{net}.2", here, ()), (self.server, there, ("-n", self._name)))
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
        return self

    def cut(self) -> None:
        """Take the link down. Then the host gets an error (no route), and PostgreSQL gets none."""
        self._run("-n", self._name, "link", "set", self._link, "down")

    def lose_packets(self) -> None:
        """Send all packets to a wrong link address, so that neither side gets an error."""
        for address, device, side in self._neighbours:
            nobody = ("lladdr", "02:00:00:00:00:01", "nud", "permanent")
            self._run(*side, "neigh", "replace", address, "dev", device, *nobody)

    def heal(self) -> None:
        self._run("-n", self._name, "link", "set", self._link, "up")
        for _, device, side in self._neighbours:
            self._run(*side, "neigh", "flush", "dev", device, "nud", "permanent")

    def _run(self, *arguments: str) -> None:
        subprocess.run([self._ip, *arguments], check=True)

    def __exit__(self, *error: object) -> None:
        subprocess.run([self._ip, "netns", "del", self._name], check=True)


@contextmanager
def reachable_server(host: Host) -> Iterator[postgres_server.OwnServer]:
    server = postgres_server.own_server(
        settings=(f"listen_addresses=127.0.0.1,{host.server}", "tcp_keepalives_idle=600")
    )
    try:
        server.allow(f"host all all {host.server}/24 trust")
        yield server
    finally:
        server.destroy()


def url_over_there(server: postgres_server.OwnServer, host: Host, url: str) -> str:
    """Return a database's URL that works on both hosts."""
    return url.replace(f"@127.0.0.1:{server.port}", f"@{host.server}:{server.port}")
