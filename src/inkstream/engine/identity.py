"""The name of a worker, which says where it runs: all that a dead one leaves behind at times."""

from __future__ import annotations

import os
import re
import secrets
import socket

_NAME = re.compile(r"(.*)\.([0-9]+)\.[0-9a-f]{16}", re.DOTALL)


def new_worker() -> str:
    """Return a name that no worker had before, made of this host's name and this process's id."""
    # PostgreSQL's text and a lock file's name take it as it is.
    host = re.sub(r"[^A-Za-z0-9.-]", "-", socket.gethostname())[:64] or "localhost"
    return f"{host}.{os.getpid()}.{secrets.token_hex(8)}"


def host_and_pid(worker: str) -> tuple[str | None, int | None]:
    """Return the host and the process id that a worker's name says, ``None`` if it says none."""
    match = _NAME.fullmatch(worker)
    return (None, None) if match is None else (match[1], int(match[2]))
