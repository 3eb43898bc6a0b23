"""Runs `inkstream` as a shell would, in a separate process with real pipes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

DEADLINE_S = 15.0
_MAIN = "from inkstream.cli import main; main()"


@dataclass(frozen=True, slots=True)
class Done:
    code: int
    out: str
    err: str


class Shell:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            name: value for name, value in os.environ.items() if not name.startswith("OPENAI_")
        } | {"INKSTREAM_DATABASE": f"sqlite:///{folder / 'streams.db'}"}

    @contextlib.asynccontextmanager
    async def running(self, *arguments: str, stdin: int = PIPE) -> AsyncIterator[Process]:
        """Start a command. Kill it if it still runs at the end of the block."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", _MAIN, *arguments),
            stdin=stdin,
            stdout=PIPE,
            stderr=PIPE,
            env=self.environment,
            cwd=self.folder,
        )
        try:
            async with asyncio.timeout(DEADLINE_S):
                yield process
        finally:
            if process.returncode is None:
                process.kill()
            # Read the rest of the output, so that no transport outlives the test.
            await process.communicate()

    async def run(self, *arguments: str, text: bytes | None = None) -> Done:
        async with self.running(*arguments, stdin=DEVNULL if text is None else PIPE) as process:
            out, err = await process.communicate(text)
            assert process.returncode is not None
            return Done(process.returncode, out.decode(), err.decode())

    async def script(self, line: str) -> Done:
        """Run a line of a shell script, in which ``inkstream`` is the command."""
        process = await asyncio.create_subprocess_exec(
            *("sh", "-c", f'inkstream() {{ "$PYTHON" -c "{_MAIN}" "$@"; }}; {line}'),
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=PIPE,
            env=self.environment | {"PYTHON": sys.executable},
            cwd=self.folder,
        )
        try:
            async with asyncio.timeout(DEADLINE_S):
                out, err = await process.communicate()
        except TimeoutError:
            process.kill()
            raise
        assert process.returncode is not None
        return Done(process.returncode, out.decode(), err.decode())


async def line_of(stream: asyncio.StreamReader | None) -> str:
    assert stream is not None
    return (await stream.readline()).decode().rstrip("\n")


async def text_of(stream: asyncio.StreamReader | None, length: int) -> str:
    assert stream is not None
    return (await stream.readexactly(length)).decode()


def give(process: Process, data: bytes) -> None:
    assert process.stdin is not None
    process.stdin.write(data)
