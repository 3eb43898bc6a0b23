"""A new Redis for each measurement, with its default settings, on loopback."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator

from benchmarks.cores import start

MISSING = "there is no redis-server here; apt-get install redis-server, or brew install redis"


def is_installed() -> bool:
    return shutil.which("redis-server") is not None


@contextlib.contextmanager
def running() -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    # Use the current folder, because the system's temporary folder may be in memory.
    with tempfile.TemporaryDirectory(prefix=".bench-", dir=".") as place:
        command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--dir", place]
        process = start(command, stdout=subprocess.PIPE)
        try:
            assert process.stdout is not None
            told = b""
            for line in process.stdout:
                told += line
                if b"Ready to accept connections" in line:
                    break
            else:
                raise RuntimeError(told.decode())
            yield process, f"redis://127.0.0.1:{port}"
        finally:
            process.kill()
            process.communicate()
