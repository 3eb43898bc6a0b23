"""Runs `inkstream serve` in a process of its own, for tests over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator

START_S = 20.0
STOP_S = 15.0
_MAIN = "from inkstream.cli import main; main()"


class Server:
    """A running server. A stream's URL is ``url`` plus the stream's id."""

    def __init__(self, process: Process, url: str) -> None:
        self.process = process
        self.url = url
        self.base_url = url.removesuffix("/v1/stream/")

    async def kill(self) -> None:
        self.process.kill()
        await self.process.wait()


@contextlib.asynccontextmanager
async def serving(
    database: str,
    *options: str,
    environment: dict[str, str] | None = None,
    anonymous: bool = True,
) -> AsyncIterator[Server]:
    """Run a server on a free port until the block ends."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _MAIN, "serve", "--port", "0", "--database", database),
        *(["--allow-anonymous"] if anonymous else []),
        *options,
        stdout=PIPE,
        env={**os.environ, **(environment or {})},
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(START_S):
            line = (await process.stdout.readline()).decode()
        assert line.startswith("inkstream serves http://"), line
        yield Server(process, line.split()[-1])
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                async with asyncio.timeout(STOP_S):
                    await process.wait()
            except TimeoutError:
                process.kill()
        await process.communicate()
