"""Runs programs for tests, and the servers of the examples."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import httpx

from tests.http.servers import free_port

ROOT = Path(__file__).parents[1]
START_S = 20.0


async def run(*command: str | Path, **options: Any) -> tuple[int, bytes, bytes | None]:
    """Run a program to its end. Return its exit code, its output, and its error output if piped.

    If this call fails or is cancelled, the program is killed. ``options`` are further arguments of
    ``create_subprocess_exec``.
    """
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, **options)
    try:
        out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()
    assert process.returncode is not None
    return process.returncode, out, err


async def start_example(
    name: str,
    directory: Path,
    port: int,
    *,
    pages: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Process:
    """Start the server of an example. When this function returns, the server answers.

    Args:
        name: The example's folder.
        directory: The working directory, which will contain the example's database.
        port: The port on which the server listens.
        pages: A folder of further pages, served at ``/pages``.
        environment: Variables to add to the environment.
    """
    server = f"{ROOT}/examples/{name}/server.py"
    command = [server, "--port", str(port)]
    if pages is not None:
        command = [f"{ROOT}/tests/browser/with_pages.py", server, str(port), str(pages)]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, *command),
        cwd=directory,
        env=os.environ | (environment or {}),
        stdin=DEVNULL,
        stdout=DEVNULL,
    )
    try:
        async with httpx.AsyncClient() as client, asyncio.timeout(START_S):
            while True:
                with contextlib.suppress(httpx.TransportError):
                    await client.get(f"http://127.0.0.1:{port}")
                    return process
                await asyncio.sleep(0.1)
    except BaseException:
        process.kill()
        await process.wait()
        raise


@contextlib.asynccontextmanager
async def example(name: str, directory: Path, **options: Any) -> AsyncIterator[str]:
    """Run the server of an example on a free port. Yield its address.

    ``options`` are further arguments of ``start_example``.
    """
    port = free_port()
    process = await start_example(name, directory, port, **options)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        await process.wait()
