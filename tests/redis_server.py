"""A Redis for one test, on loopback. It saves no data to disk."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.http.servers import free_port
from tests.prerequisites import program


@contextmanager
def redis_server(folder: Path) -> Iterator[str]:
    port = free_port()
    command = [program("redis-server", "valkey-server"), "--port", str(port), "--save", ""]
    command += ["--bind", "127.0.0.1", "--dir", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            said = iter(process.stdout.readline, b"")
            assert any(b"Ready to accept connections" in line for line in said), "Redis ended"
            yield f"redis://127.0.0.1:{port}"
        finally:
            process.kill()
