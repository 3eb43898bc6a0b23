"""Runs scripts with the Node.js of this machine or of `.venv`, and with the installed packages."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from tests.processes import run

HERE = Path(__file__).parent
DEADLINE_S = 20.0


def command(script: str, *arguments: str) -> list[str]:
    places = os.pathsep.join([os.environ["PATH"], str(Path(sys.executable).parent)])
    node = shutil.which("node", path=places)
    assert node is not None, "these tests need Node.js; scripts/test finds or installs one"
    assert (HERE / "node_modules" / ".package-lock.json").exists(), (
        "the packages are not installed: use scripts/test, or `npm ci` in tests/durable"
    )
    return [node, str(HERE / script), *arguments]


async def output(script: str, *arguments: str, environment: dict[str, str]) -> str:
    """Run a script to its end. Return its output, with its error output."""
    _, out, _ = await run(
        *command(script, *arguments), cwd=HERE, env={**os.environ, **environment}, stderr=STDOUT
    )
    return out.decode(errors="replace")


class Client:
    """A running client of `clients.js`, which prints a line for each item that it receives."""

    def __init__(self, process: Process) -> None:
        self._process = process

    async def told(self) -> Any:
        """Return the next item, or ``None`` at the client's end. Fail if the client failed."""
        assert self._process.stdout is not None
        async with asyncio.timeout(DEADLINE_S):
            line = await self._process.stdout.readline()
            if line:
                return json.loads(line)
            assert await self._process.wait() == 0, (
                "the client failed: see the client's errors above"
            )
        return None

    async def until(self, wanted: Any) -> None:
        """Wait for an item, and skip all items before it."""
        while (told := await self.told()) != wanted:
            assert told is not None, f"the client ended without {wanted}"

    async def rest(self) -> list[Any]:
        rest = []
        while (told := await self.told()) is not None:
            rest.append(told)
        return rest


@contextlib.asynccontextmanager
async def client(name: str, url: str) -> AsyncIterator[Client]:
    """Run one of the clients of `clients.js` against a stream."""
    process = await asyncio.create_subprocess_exec(
        *command("clients.js", name, url), cwd=HERE, stdout=PIPE
    )
    try:
        yield Client(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()
