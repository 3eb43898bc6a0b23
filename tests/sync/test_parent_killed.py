from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from inkstream.sync import PersistentTextStreaming
from tests.crash.conftest import faults_of

pytestmark = [pytest.mark.interop, pytest.mark.timeout(90)]

NAME = "tests.sync.forked_writer"
COMMANDS = {
    "gunicorn": f"gunicorn --preload --workers 1 --bind fd://{{fd}} {NAME}:app",
    "celery": f"celery -A {NAME}:celery worker --pool prefork --concurrency 1 --without-mingle",
    "multiprocessing": NAME,
}


class Parent:
    """The process of the parent, and the text that its child has flushed so far."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.flushed = ""

    def child(self) -> int:
        return int(self._line("child "))

    def flush(self, count: int) -> None:
        for _ in range(count):
            self.flushed += self._line("flushed ")

    def kill_child(self, pid: int) -> None:
        os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(StopIteration):
            while True:
                self.flush(1)

    def _line(self, prefix: str) -> str:
        assert self.process.stdout is not None
        lines = (line for line in self.process.stdout if line.startswith((prefix, "failed ")))
        line = next(lines)
        assert line.startswith(prefix), line
        return line.removeprefix(prefix).rstrip("\n")


@contextlib.contextmanager
def parent(server: str, state: str, url: str, folder: Path) -> Iterator[Parent]:
    with (
        socket.create_server(("127.0.0.1", 0)) as listening,
        socket.create_connection(listening.getsockname()) as client,
        (folder / "log").open("w") as log,
    ):
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        process = subprocess.Popen(
            [sys.executable, "-m", *COMMANDS[server].format(fd=listening.fileno()).split()],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            pass_fds=[listening.fileno()],
            env=os.environ | {"PARENT": state, "INKSTREAM_DATABASE": url, "FOLDER": str(folder)},
            start_new_session=True,
        )
        try:
            yield Parent(process)
        except StopIteration:
            raise AssertionError((folder / "log").read_text()) from None
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def come_and_go(url: str) -> None:
    """Open and close a SQLite file in another program."""
    if url.startswith("sqlite"):
        code = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); "
        code += "c.execute('SELECT * FROM inkstream_meta').fetchall(); c.close()"
        path = url.removeprefix("sqlite:///")
        subprocess.run([sys.executable, "-c", code, path], check=True, timeout=20)


@pytest.mark.parametrize("state", ["unused", "used", "writing"])
@pytest.mark.parametrize("server", COMMANDS)
def test_child_writes_on(
    streams: PersistentTextStreaming, url: str, tmp_path: Path, server: str, state: str
) -> None:
    """G1, G7: after the parent is killed, the child continues, and all its flushed text is stored.

    A stream that the parent was writing ends within 15 seconds.
    """
    with parent(server, state, url, tmp_path) as forked:
        child = forked.child()
        forked.flush(20)
        forked.process.kill()
        forked.process.wait()
        killed = time.monotonic()
        for _ in range(3):
            come_and_go(url)
            forked.flush(20)
        if state == "writing":
            end = streams.wait("of the parent").end
            assert end is not None
            assert (end.status, end.code) == ("timeout", "writer_lost")
            assert time.monotonic() - killed < 15
            come_and_go(url)
            forked.flush(20)
        forked.kill_child(child)
    come_and_go(url)
    assert streams.read("of the child").text.startswith(forked.flushed)
    assert asyncio.run(faults_of(url)) == []
