"""One server process, on a core of its own: ``python -m benchmarks.server FD CORE JSON``.

It listens on an inherited socket, so that nobody has to look for a free port or wait for it.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SERVER_CORE = 0
CLIENT_CORE = 1


def pin(core: int) -> None:
    """Keep this process on one core, where that can be done and there are two."""
    if hasattr(os, "sched_setaffinity") and core in os.sched_getaffinity(0):
        os.sched_setaffinity(0, {core})


class Server:
    """A running server process."""

    def __init__(self, process: subprocess.Popen[bytes], address: tuple[str, int]) -> None:
        self._process = process
        self.pid = process.pid
        self.address = address

    def cpu_s(self) -> float:
        """Return the CPU seconds of all its threads, the kernel's part included."""
        ns = 0
        for task in Path(f"/proc/{self.pid}/task").iterdir():
            with contextlib.suppress(OSError):  # a thread that has just ended
                ns += int((task / "schedstat").read_text().split()[0])
        return ns / 1e9

    def memory_bytes(self) -> int:
        """Return its resident memory."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def check(self) -> None:
        """Raise if it has ended."""
        if self._process.poll() is not None:
            raise RuntimeError(f"the server ended with exit code {self._process.returncode}")


@contextlib.contextmanager
def serving(kind: str, **settings: Any) -> Iterator[Server]:
    """Run one of the servers of ``apps``; a ``database`` named ``sqlite`` is a fresh file."""
    with contextlib.ExitStack() as stack:
        if settings.get("database") == "sqlite":
            # Beside the caller, not in the system's temporary files, which may be in memory.
            place = stack.enter_context(tempfile.TemporaryDirectory(prefix=".bench-", dir="."))
            settings["database"] = f"sqlite:///{Path(place).resolve()}/bench.db"
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=4096))
        listener.set_inheritable(True)
        command = [sys.executable, "-m", "benchmarks.server", str(listener.fileno())]
        process = subprocess.Popen(
            [*command, json.dumps({"kind": kind, **settings})], pass_fds=[listener.fileno()]
        )
        try:
            yield Server(process, listener.getsockname())
        finally:
            process.send_signal(signal.SIGKILL)  # what it would still write is not measured
            process.wait(10)


def main() -> None:
    pin(SERVER_CORE)
    import uvicorn

    from benchmarks import apps

    listener = socket.socket(fileno=int(sys.argv[1]))
    settings = json.loads(sys.argv[2])
    kind = settings.pop("kind")
    options = {
        name: settings.pop(name) for name in ("database", "window_s", "size") if name in settings
    }
    app = getattr(apps, kind)(apps.Load(**settings), **options)
    config = uvicorn.Config(
        app, loop="uvloop", http="httptools", lifespan="on", log_level="warning", access_log=False
    )
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
