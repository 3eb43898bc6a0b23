"""Names workers. The name of a dead worker still says where the worker ran."""

from __future__ import annotations

import os
import re
import secrets
import socket

_NAME = re.compile(r"(.*)\.([0-9]+)\.[0-9a-f]{16}", re.DOTALL)


def new_worker() -> str:
    """Return a new unique name: the host's name, the process's id, and 64 random bits."""
    # PostgreSQL's text and the name of a lock file may contain all characters that remain.
    host = re.sub(r"[^A-Za-z0-9.-]", "-", socket.gethostname())[:64] or "localhost"
    return f"{host}.{os.getpid()}.{secrets.token_hex(8)}"


def host_and_pid(worker: str) -> tuple[str | None, int | None]:
    """Return the host and the process id in a worker's name; ``(None, None)`` for other names."""
    match = _NAME.fullmatch(worker)
    return (None, None) if match is None else (match[1], int(match[2]))
