"""Which core runs what: servers and their stores on one, the client on another."""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path
from typing import Any

SERVER_CORE = 0
CLIENT_CORE = 1


def pin(core: int) -> None:
    """Keep this process on one core, where that can be done and there are two."""
    if hasattr(os, "sched_setaffinity"):
        # Not asked of `sched_getaffinity`: a child of a pinned process sees only that core.
        with contextlib.suppress(OSError):
            os.sched_setaffinity(0, {core})


def start(command: list[str], **options: Any) -> subprocess.Popen[bytes]:
    """Start a process on the servers' core, with all threads that it will have."""
    pin(SERVER_CORE)  # which it inherits
    try:
        return subprocess.Popen(command, **options)
    finally:
        pin(CLIENT_CORE)


def busy_s(core: int) -> float:
    """Return for how long a core has worked, for whomever (proc_stat(5))."""
    lines = Path("/proc/stat").read_text().splitlines()
    fields = next(line.split()[1:] for line in lines if line.startswith(f"cpu{core} "))
    user, nice, system, _, _, irq, softirq, steal = map(int, fields[:8])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
