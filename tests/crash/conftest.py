"""Starts worker processes on one database, and lets a test control these processes."""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, Self

import pytest

from inkstream.stores import postgres, sqlite
from tests import postgres_server

DEADLINE_S = 10.0


class Process:
    """One worker process (see ``worker.py``)."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self._numbers = itertools.count(1)
        self._told: defaultdict[int, asyncio.Queue[list[Any]]] = defaultdict(asyncio.Queue)
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stdout is not None
        while line := await self.process.stdout.readline():
            number, *what = json.loads(line)
            self._told[number].put_nowait([time.monotonic(), *what])

    async def told(self, number: int = 0, within_s: float = DEADLINE_S) -> list[Any]:
        """Return the next result of the command ``number``."""
        return (await self.told_at(number, within_s))[1:]

    async def told_at(self, number: int, within_s: float = DEADLINE_S) -> list[Any]:
        """Return when the next result of the command ``number`` arrived, and then the result."""
        async with asyncio.timeout(within_s):
            return await self._told[number].get()

    def begin(self, command: str, *arguments: Any) -> int:
        """Send a command. Return its number, which each of its results contains."""
        assert self.process.stdin is not None
        number = next(self._numbers)
        self.process.stdin.write(json.dumps([number, command, *arguments]).encode() + b"\n")
        return number

    async def do(self, command: str, *arguments: Any) -> Any:
        """Send a command and return the command's result."""
        what, value = await self.told(self.begin(command, *arguments))
        assert what == "done", (command, arguments, value)
        return value

    async def heard(self, number: int, expected: str) -> None:
        """Wait until a ``follow`` has printed exactly the expected text, in one or more pieces."""
        text = ""
        while len(text) < len(expected):
            what, *values = await self.told(number)
            assert what == "text", (what, values)
            text += values[0]
        assert text == expected

    async def end(self) -> None:
        assert self.process.stdin is not None
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()
        await self._reading
        self.process.stdin.close()


class Lateness:
    """Measure how much the machine delays this process.

    On an overloaded machine, the library's timers run late, so tests must allow more time.

    Attributes:
        late_s: The sum of the delays during the ``async with`` block.
    """

    late_s = 0.0

    async def _measure(self) -> None:
        while True:
            began = time.monotonic()
            await asyncio.sleep(0.02)
            self.late_s += time.monotonic() - began - 0.02

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._measure())
        return self

    async def __aexit__(self, *error: object) -> None:
        self._task.cancel()


Spawn = Callable[..., Awaitable[Process]]


@pytest.fixture(params=["short", pytest.param("default", marks=pytest.mark.soak)])
def timing(request: pytest.FixtureRequest) -> str:
    """Return a key of the worker's ``TIMINGS``. With the default times, a test takes a minute."""
    name: str = request.param
    return name


@pytest.fixture(params=["sqlite", "postgres"])
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/ink.db"
        return
    server = postgres_server.server(postgres_server.versions()[0])
    url = await server.make_database()
    yield url
    await server.drop_database(url)


async def faults_of(database: str) -> list[str]:
    if database.startswith("sqlite"):
        return await asyncio.to_thread(sqlite.check_streams, database)
    return await postgres.check_streams(database)


@pytest.fixture
async def spawn(database: str) -> AsyncIterator[Spawn]:
    """Return a function that starts one more process on the test's database.

    After the test, kill all these processes, and fail if the database has faults.
    """
    processes: list[Process] = []

    async def start(
        parameters: str = "", before: tuple[str, ...] = (), timing: str = "short"
    ) -> Process:
        worker = (sys.executable, "-m", "tests.crash.worker", f"{database}{parameters}", timing)
        process = Process(
            await asyncio.create_subprocess_exec(
                *(*before, *worker),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
            )
        )
        processes.append(process)
        assert await process.told() == ["ready"]
        return process

    yield start
    await asyncio.gather(*[process.end() for process in processes])
    assert await faults_of(database) == [], "the database has faults"
