"""Assign cores: servers and their stores run on one core, and the client on another."""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path
from typing import Any

SERVER_CORE = 0
CLIENT_CORE = 1


def pin(core: int) -> None:
    """Keep this process on one core, if the system allows this."""
    if hasattr(os, "sched_setaffinity"):
        # This call fails if the machine has no such core. `sched_getaffinity` cannot say so before:
        # in a child of a pinned process, it returns only the pinned core.
        with contextlib.suppress(OSError):
            os.sched_setaffinity(0, {core})


def start(command: list[str], **options: Any) -> subprocess.Popen[bytes]:
    """Start a process that stays, with all its threads, on the servers' core."""
    pin(SERVER_CORE)  # the child inherits the core
    try:
        return subprocess.Popen(command, **options)
    finally:
        pin(CLIENT_CORE)


def busy_s(core: int) -> float:
    """Return how long a core has worked, for all processes (proc_stat(5))."""
    lines = Path("/proc/stat").read_text().splitlines()
    fields = next(line.split()[1:] for line in lines if line.startswith(f"cpu{core} "))
    user, nice, system, _, _, irq, softirq, steal = map(int, fields[:8])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
