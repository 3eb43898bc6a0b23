"""Builds and serves the chat of a checkout of this project, in the checkout's own folder."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.http.servers import free_port

START_S = 30.0


@dataclass(frozen=True, slots=True)
class Tree:
    name: str
    root: Path

    def build(self) -> None:
        """Build the checkout's npm package and its chat's page, if they are not built."""
        script = [sys.executable, f"{self.root}/scripts/_javascript.py", "chat"]
        subprocess.run(script, check=True, cwd=self.root)


@contextlib.asynccontextmanager
async def serving(
    tree: Tree, directory: Path, environment: Mapping[str, str]
) -> AsyncIterator[str]:
    """Serve a checkout's chat, with its own inkstream, while the ``with`` block runs."""
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, f"{tree.root}/examples/chat/server.py", "--port", str(port)),
        stdin=DEVNULL,
        stdout=DEVNULL,
        cwd=tree.root,
        env=os.environ
        | environment
        | {"PYTHONPATH": f"{tree.root}/src", "CHAT_DATABASE": f"{directory}/chat.db"},
    )
    try:
        async with asyncio.timeout(START_S):
            while not await _answers(port):
                assert process.returncode is None, f"{tree.name}: the server did not start"
                await asyncio.sleep(0.05)
        yield f"http://127.0.0.1:{port}/"
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _answers(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True
