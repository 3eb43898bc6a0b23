"""A real PgBouncer before the tests' PostgreSQL: each transaction gets whichever session is free."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

from tests.http.servers import free_port
from tests.postgres_server import Server, _as_somebody

_START_S = 15.0

_SETTINGS = """\
[databases]
* = host={host} port={port} user={user} password={password}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {own_port}
unix_socket_dir =
auth_type = trust
auth_file = {users}
pool_mode = transaction
default_pool_size = 3
max_client_conn = 200
logfile = {log}
"""


class PgBouncer:
    """A transaction pooler with three sessions, for any number of clients.

    Args:
        server: What it stands before.
        directory: Where its files may be.
    """

    def __init__(self, server: Server, directory: Path) -> None:
        parts = urlsplit(server.url)
        self.port = free_port()
        self._log = directory / "pgbouncer.log"
        users = directory / "users.txt"
        users.write_text(f'"{parts.username}" "{parts.password}"\n')
        settings = directory / "pgbouncer.ini"
        settings.write_text(
            _SETTINGS.format(
                host=parts.hostname,
                port=parts.port,
                user=parts.username,
                password=parts.password,
                own_port=self.port,
                users=users,
                log=self._log,
            )
        )
        command = [*_as_somebody(), *_command(), str(settings)]
        self._process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + _START_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PgBouncer does not start:\n{self._log.read_text()}")

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 1.0).close()
        except OSError:
            time.sleep(0.02)
            return False
        return True

    def url_of(self, url: str, *, listener: bool = False) -> str:
        """Return the URL under which a database is reached through it.

        Args:
            url: The database's own.
            listener: Name that too, for the connection that listens.
        """
        parts = urlsplit(url)
        netloc = f"{parts.netloc.rpartition('@')[0]}@127.0.0.1:{self.port}"
        query = f"{parts.query}&pooler=1" + (f"&listener_url={quote(url, '')}" if listener else "")
        return urlunsplit(parts._replace(netloc=netloc, query=query))

    def stop(self) -> None:
        """Stop at once."""
        self._process.terminate()
        self._process.wait(_START_S)


def _command() -> list[str]:
    # Debian keeps it where only root looks.
    found = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
    assert found is not None
    return [found, "-q"]
