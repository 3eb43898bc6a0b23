"""Runs `inkstream show` in a process that starts after a fault."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from tests.processes import run

# Seconds between two runs of `inkstream show`. Without this pause, the runs would slow down the
# server that they ask about.
PAUSE_S = 0.7
_MAIN = "from inkstream.cli import main; main()"


async def run_show(database: str, name: str) -> tuple[int, dict[str, Any], str]:
    """Run `inkstream show` in a new process. Return its exit code, JSON, and error output."""
    command = [sys.executable, "-c", _MAIN, "show", name, "--json", "--database", database]
    code, out, err = await run(*command, stderr=asyncio.subprocess.PIPE)
    return code, json.loads(out or b"{}"), (err or b"").decode()


async def show(database: str, name: str) -> dict[str, Any]:
    """Run `inkstream show`, print the first cause, and return the JSON."""
    code, shown, err = await run_show(database, name)
    if code == 7:  # exit code 7: the database is unavailable
        shown = {"causes": [{"code": "unavailable", "message": err}]}
    else:
        assert code == 0, err
    answer = shown["causes"][0]["message"]
    print(f"{name}: {answer}")  # noqa: T201 - pytest -rP shows the messages
    return shown


async def shown_until(database: str, name: str, *codes: str, most: int = 1) -> dict[str, Any]:
    """Repeat `inkstream show` until one of its first ``most`` causes has one of the codes."""
    async with asyncio.timeout(40):
        while True:
            shown = await show(database, name)
            seen = [cause["code"] for cause in shown["causes"]]
            if any(code in seen[:most] for code in codes):
                return shown
            await asyncio.sleep(PAUSE_S)
