"""A PgBouncer between inkstream and PostgreSQL. It gives each transaction any free session."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

from tests.http.servers import free_port
from tests.postgres_server import Server, as_somebody
from tests.prerequisites import program

_START_S = 15.0

# There are only three sessions (``default_pool_size``), so clients must share sessions.
_SETTINGS = """\
[databases]
* = host={host} port={port}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {own_port}
unix_socket_dir =
auth_type = trust
auth_file = {users}
pool_mode = transaction
default_pool_size = 3
max_client_conn = 200
"""


class PgBouncer:
    """A transaction pooler that listens on loopback. Its ``version`` is for example ``(1, 18)``."""

    def __init__(self, port: int, version: tuple[int, ...]) -> None:
        self._port = port
        self.version = version

    def url_of(self, url: str, parameters: str) -> str:
        """Return the URL of the same database through the pooler.

        ``parameters`` replace the parameters of ``url``.
        """
        parts = urlsplit(url)
        netloc = f"{parts.netloc.rpartition('@')[0]}@127.0.0.1:{self._port}"
        return urlunsplit(parts._replace(netloc=netloc, query=f"sslmode=disable{parameters}"))


def with_listener(url: str) -> str:
    """Return parameters for a pooler's URL, with ``url`` as the direct connection for hints."""
    return f"&pooler=1&listener_url={quote(url, safe='')}"


@contextmanager
def pgbouncer(server: Server, directory: Path) -> Iterator[PgBouncer]:
    command = program("pgbouncer")
    said = subprocess.run([command, "--version"], capture_output=True, check=True).stdout.decode()
    version = tuple(int(number) for number in re.findall(r"\d+", said.split("\n")[0])[:2])
    parts = urlsplit(server.url)
    port = free_port()
    users = directory / "users.txt"
    users.write_text(f'"{parts.username}" "{parts.password}"\n')
    settings = directory / "pgbouncer.ini"
    settings.write_text(
        _SETTINGS.format(host=parts.hostname, port=parts.port, own_port=port, users=users)
    )
    log = directory / "pgbouncer.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*as_somebody(), command, str(settings)],
            stdout=output,
            stderr=output,
        )
    try:
        deadline = time.monotonic() + _START_S
        while b"process up" not in log.read_bytes():
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PgBouncer does not start:\n{log.read_text()}")
            time.sleep(0.01)
        yield PgBouncer(port, version)
    finally:
        process.kill()
        process.wait()
