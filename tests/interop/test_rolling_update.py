"""A new version of inkstream replaces the old version while readers follow streams."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from inkstream import PersistentTextStreaming
from tests import postgres_server
from tests.http.client import Broken, fetch, post, requesting
from tests.http.servers import Server, serving
from tests.http.sse import Heard
from tests.versions import make_next_version

pytestmark = pytest.mark.interop

ROOT = Path(__file__).parents[2]
GRACE_S = 8  # on a busy machine, the test needs some seconds for its requests after SIGTERM
READERS = 15


class Balancer:
    """Imitates a load balancer. ``ready`` contains the ports of the processes that are ready."""

    def __init__(self) -> None:
        self.ready: list[int] = []

    async def until_ready(self, *expected: int, asked: tuple[int, ...]) -> None:
        """Ask again until exactly these processes are ready. A busy machine may delay a check."""
        async with asyncio.timeout(20):
            while self.ready != list(expected):
                await self.look(*asked)

    async def look(self, *ports: int) -> None:
        ready = []
        for port in ports:
            with contextlib.suppress(OSError, Broken):
                if (await fetch(port, "/health/ready")).status == 200:
                    ready.append(port)
        self.ready = ready


async def read(balancer: Balancer, name: str, heard: Heard) -> None:
    """Follow a stream to its end over any number of connections, as a browser does."""
    while heard.end is None:
        headers = {"last-event-id": heard.last_id} if heard.last_id else {}
        try:
            async with requesting(balancer.ready[-1], f"/live/{name}", headers=headers) as answer:
                assert answer.status == 200
                answer.heard, answer.parser.last_id = heard, heard.last_id
                while await answer.read():
                    pass
        except (OSError, Broken, IndexError):  # IndexError: no process is ready at the moment
            pass
        await asyncio.sleep(0.05)  # a browser also waits before it reconnects


@pytest.fixture
async def database() -> AsyncIterator[str]:
    server = postgres_server.server(postgres_server.versions()[0])
    url = await server.make_database()
    yield url
    await server.drop_database(url)


@contextlib.asynccontextmanager
async def version(folder: Path, database: str, code: Path) -> AsyncIterator[Server]:
    """Run a process with the inkstream in the folder ``code`` until the block ends."""
    await asyncio.to_thread(folder.mkdir)
    running = serving(
        folder,
        app="tests.interop.rolling_app:app",
        environment={
            "INKSTREAM_DATABASE": database,
            "PYTHONPATH": f"{code}:{ROOT}",
            "TEST_GRACE_S": str(GRACE_S),
        },
        options=f"--timeout-graceful-shutdown {2 * GRACE_S}",
    )
    server = await asyncio.to_thread(running.__enter__)
    try:
        assert (await fetch(server.port, "/copy")).body.decode() == str(code / "inkstream")
        yield server
    finally:
        await asyncio.to_thread(running.__exit__, None, None, None)


async def command(verb: str, database: str, code: Path) -> tuple[int | None, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "from inkstream.cli import main; main()"),
        *(verb, "--database", database),
        env=os.environ | {"PYTHONPATH": str(code)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    printed, _ = await process.communicate()
    return process.returncode, printed.decode()


@pytest.mark.timeout(120)
async def test_nothing_is_lost(tmp_path: Path, database: str) -> None:
    """G2, G5, G8: during a rolling update, each reader gets the stored text and the stored end."""
    following = await asyncio.to_thread(make_next_version, tmp_path / "next")
    balancer = Balancer()
    heard: dict[str, list[Heard]] = {}
    reading: list[asyncio.Task[None]] = []

    def readers_of(name: str) -> None:
        heard[name] = [Heard() for _ in range(READERS)]
        reading.extend(asyncio.create_task(read(balancer, name, one)) for one in heard[name])

    async def all_heard(name: str, text: str) -> None:
        async with asyncio.timeout(20):
            while any(one.text != text for one in heard[name]):  # noqa: ASYNC110 - of many tasks
                await asyncio.sleep(0.02)

    async with version(tmp_path / "a", database, ROOT / "src") as old:
        await balancer.until_ready(old.port, asked=(old.port,))
        for name in ("ends", "cut"):
            await post(old.port, f"/create?id={name}&start=1")
            readers_of(name)
            await post(old.port, f"/say/{name}", ["before "])
            await all_heard(name, "before ")
        code, printed = await command("migrate", database, following)
        assert code == 0, printed
        async with version(tmp_path / "b", database, following) as new:
            await post(new.port, "/create?id=goes_on&start=1")
            # The readers use the old process, because the new process is not in the balancer yet.
            readers_of("goes_on")
            await post(new.port, "/say/goes_on", ["first "])
            await all_heard("goes_on", "first ")
            both = (old.port, new.port)
            await balancer.until_ready(*both, asked=both)

            old.signal(signal.SIGTERM)
            await balancer.look(*both)
            await post(old.port, "/say/ends", ["and the rest", {"end": "done"}])
            await post(new.port, "/say/goes_on", ["second "])
            await asyncio.to_thread(old.wait)
            await balancer.until_ready(new.port, asked=both)
            await post(new.port, "/say/goes_on", ["third", {"end": "done"}])
            await post(new.port, "/create?id=later&start=1")
            readers_of("later")
            await post(new.port, "/say/later", ["text", {"end": "done"}])
            async with asyncio.timeout(30):
                await asyncio.gather(*reading)
    async with PersistentTextStreaming(database) as streams:
        stored = {name: await streams.read(name) for name in heard}
    for name, expected in {
        "ends": ("before and the rest", "done", None),
        "goes_on": ("first second third", "done", None),
        "later": ("text", "done", None),
        "cut": ("before ", "error", "shutdown"),
    }.items():
        body = stored[name]
        assert body.end is not None
        assert (body.text, body.status, body.end.code) == expected
        assert {one.text for one in heard[name]} == {body.text}
        assert {(one.end or {}).get("status") for one in heard[name]} == {body.status}
    code, printed = await command("verify", database, following)
    assert code == 0, printed
