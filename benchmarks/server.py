"""One server process on the servers' core: ``python -m benchmarks.server FD JSON``.

The process inherits a listening socket. So the benchmark can connect before the server has started.
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
from dataclasses import fields
from pathlib import Path
from typing import Any

from benchmarks import node, redis_server
from benchmarks.cores import start


class Server:
    """A running server process, and the process of its store if the store has one."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        address: tuple[str, int],
        store: subprocess.Popen[bytes] | None = None,
    ) -> None:
        self._processes = [process] if store is None else [process, store]
        self.pid = process.pid
        self.address = address

    def cpu_s(self) -> float:
        """Return the CPU seconds of all threads of the server and its store, with kernel time."""
        ns = 0
        for process in self._processes:
            for task in Path(f"/proc/{process.pid}/task").iterdir():
                with contextlib.suppress(OSError):  # the thread may just have ended
                    ns += int((task / "schedstat").read_text().split()[0])
        return ns / 1e9

    def memory_bytes(self) -> int:
        """Return the server's resident memory, without the memory of its store."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def check(self) -> None:
        for process in self._processes:
            if process.poll() is not None:
                raise RuntimeError(f"a server ended with exit code {process.returncode}")


@contextlib.contextmanager
def serving(kind: str, **settings: Any) -> Iterator[Server]:
    """Run a server until the ``with`` block ends.

    ``kind`` names a function of ``apps`` or ``redis_apps``, or a ``.js`` file of ``node_server``.
    If ``database`` is ``sqlite``, the server gets a new file. If ``database`` is ``redis``, the
    server gets a new Redis server.
    """
    with contextlib.ExitStack() as stack:
        store = None
        if settings.get("database") == "sqlite":
            # Use the current folder, because the system's temporary folder may be in memory.
            place = stack.enter_context(tempfile.TemporaryDirectory(prefix=".bench-", dir="."))
            settings["database"] = f"sqlite:///{Path(place).resolve()}/bench.db"
        elif settings.get("database") == "redis":
            store, settings["database"] = stack.enter_context(redis_server.running())
        if kind.endswith(".js"):
            command = node.command(kind)
        else:
            command = [sys.executable, "-m", "benchmarks.server"]
            settings["kind"] = kind
        # Only the server keeps the socket open. So if the server ends, clients fail quickly.
        with socket.create_server(("127.0.0.1", 0), backlog=4096) as listener:
            command += [str(listener.fileno()), json.dumps(settings)]
            process = start(command, pass_fds=[listener.fileno()])
            address = listener.getsockname()
        try:
            yield Server(process, address, store)
        finally:
            process.send_signal(signal.SIGKILL)  # nothing that the server does later is measured
            process.wait(10)


def main() -> None:
    import uvicorn

    from benchmarks import apps, redis_apps

    listener = socket.socket(fileno=int(sys.argv[1]))
    settings = json.loads(sys.argv[2])
    kind = settings.pop("kind")
    make = getattr(apps, kind, None) or getattr(redis_apps, kind)
    names = [field.name for field in fields(apps.Load) if field.name in settings]
    load = apps.Load(**{name: settings.pop(name) for name in names})
    app = make(load, **settings)
    config = uvicorn.Config(
        app, loop="uvloop", http="httptools", lifespan="on", log_level="warning", access_log=False
    )
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
