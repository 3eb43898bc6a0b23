"""Runs an application under a real server, in a process of its own, on loopback."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

START_S = 15.0
STOP_S = 15.0

COMMANDS = {
    "uvicorn": "uvicorn {app} --host 127.0.0.1 --port {port} --no-access-log",
    "hypercorn": "hypercorn {app} --bind 127.0.0.1:{port}",
    "granian": "granian {app} --interface asgi --host 127.0.0.1 --port {port} --no-ws",
    "gunicorn": "gunicorn {app} --bind 127.0.0.1:{port} --no-control-socket",
}


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@dataclass(slots=True)
class Server:
    """A server under test.

    Attributes:
        process: The started process. With some servers, its children serve the requests.
    """

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            assert self.process.poll() is None, f"the server did not start:\n{self.printed}"
            try:
                with socket.create_connection(("127.0.0.1", self.port), 1.0) as connection:
                    connection.settimeout(5.0)
                    connection.sendall(b"GET /pid HTTP/1.0\r\nhost: x\r\n\r\n")
                    if b" 200 " in connection.recv(100):
                        return
            except OSError:
                pass
            time.sleep(0.02)
        raise AssertionError(f"the server did not answer within {START_S} s:\n{self.printed}")

    @property
    def printed(self) -> str:
        return self.log.read_text(errors="replace")

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(STOP_S)

    def wait(self, timeout_s: float = STOP_S) -> int:
        """Wait until the started process has exited. Return the exit code of that process."""
        return self.process.wait(timeout_s)


@contextmanager
def serving(
    directory: Path,
    *,
    server: str = "uvicorn",
    app: str = "tests.http.app:app",
    port: int | None = None,
    options: str = "",
    environment: Mapping[str, str] | None = None,
) -> Iterator[Server]:
    """Run a server and its children until the block ends. The database is in ``directory``."""
    port = port or free_port()
    command = f"{COMMANDS[server].format(app=app, port=port)} {options}".split()
    log = directory / f"{server}-{port}.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *command],
            stdout=output,
            stderr=output,
            start_new_session=True,
            env=os.environ
            | {
                "INKSTREAM_DATABASE": f"sqlite:///{directory}/inkstream.db",
                "PYTHONWARNINGS": "default",
            }
            | dict(environment or {}),
        )
    running = Server(process, port, log)
    try:
        running.wait_until_ready()
        yield running
    finally:
        # Children may outlive their parent, so kill the whole session.
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait(STOP_S)
