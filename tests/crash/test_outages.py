"""PostgreSQL stops, crashes or has a full disk, or a writer's process is killed or paused."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from tests import postgres_server
from tests.conftest import SOAK
from tests.crash.conftest import Process, Spawn
from tests.crash.test_kill_server import counted
from tests.prerequisites import missing

pytestmark = pytest.mark.timeout(150)


@pytest.fixture(scope="module")
def own() -> Iterator[postgres_server.OwnServer]:
    server = postgres_server.own_server()
    yield server
    server.destroy()


@pytest.fixture
async def database(own: postgres_server.OwnServer) -> str:
    return await own.make_database()


async def following(writer: Process, reader: Process, name: str) -> int:
    """Let one process write a stream and another process follow the stream."""
    await writer.do("create", name)
    writer.begin("start", name)
    number = reader.begin("follow", name)
    await writer.do("say", name, "before ")
    await reader.heard(number, "before ")
    return number


async def nothing_heard(reader: Process, number: int, for_s: float) -> None:
    """Wait ``for_s`` seconds. Fail if the process prints anything about the stream."""
    try:
        async with asyncio.timeout(for_s):
            what = await reader._told[number].get()
    except TimeoutError:
        return
    raise AssertionError(f"this came: {what}")


@pytest.mark.parametrize("gone_s", [0.5, 10.0, *([60.0] if SOAK else [])])
async def test_a_server_that_stops_and_returns(
    own: postgres_server.OwnServer, spawn: Spawn, gone_s: float
) -> None:
    """G1, G7, G12: readers see nothing new while PostgreSQL is away.

    After a short outage, readers see all text once. After a long outage, readers see the stored
    end, which has the code ``store_unavailable``.
    """
    a, b = await asyncio.gather(spawn(), spawn())
    number = await following(a, b, "s")
    own.stop(signal.SIGQUIT)
    try:
        await a.do("say", "s", "meanwhile ")
        await nothing_heard(b, number, gone_s)
    finally:
        own.start()
    await a.do("say", "s", "after", None)
    if gone_s < 30:
        await b.heard(number, "meanwhile after")
        assert await b.told(number) == ["end", "done", None]
        assert await a.do("read", "s") == ["done", None, "before meanwhile after"]
    else:
        heard = "before "
        while (told := await b.told(number))[0] == "text":
            heard += told[1]
        assert told == ["end", "error", "store_unavailable"]
        assert await a.do("read", "s") == ["error", "store_unavailable", heard]


async def test_server_crash_before_its_commit_answers(
    own: postgres_server.OwnServer, spawn: Spawn
) -> None:
    """G1, G2, G3: if PostgreSQL crashes during a commit, no text is doubled or lost."""
    a, b = await asyncio.gather(spawn(), spawn())
    await a.do("create", "s")
    writing = a.begin("count", "s")
    number = b.begin("follow", "s")
    heard = ""
    dice = random.Random()
    for _ in range(20 if SOAK else 4):
        deadline = time.monotonic() + dice.uniform(0.05, 0.3)
        while time.monotonic() < deadline:
            heard += (await b.told(number))[1]
        own.kill_a_backend()
        heard += (await b.told(number))[1]  # this text shows that the database works again
    await a.do("say", "s", None)
    await a.told(writing)
    while (told := await b.told(number))[0] == "text":
        heard += told[1]
    assert told == ["end", "done", None]
    assert counted(heard)
    status, _, text = await b.do("read", "s")
    assert (status, text) == ("done", heard)
    assert len(text) > 1000


@pytest.mark.parametrize("killed", [True, False])
async def test_job_retried_in_another_process(spawn: Spawn, killed: bool) -> None:
    """G2, G3: a retried job continues after the stored text.

    If the first writer was only paused, its next append is refused.
    """
    a, b, reader = await asyncio.gather(spawn(), spawn(), spawn())
    await a.do("create_job", "s")
    first = a.begin("job", "s")
    assert await a.told(first) == ["begins", ""]
    number = reader.begin("follow", "s")
    await a.do("say", "s", "first ")
    await reader.heard(number, "first ")
    a.process.send_signal(signal.SIGKILL if killed else signal.SIGSTOP)
    second = b.begin("job", "s")
    async with asyncio.timeout(20):
        assert (await b._told[second].get())[1:] == ["begins", "first "]
    if not killed:
        a.process.send_signal(signal.SIGCONT)
        a.begin("say", "s", "never")
        assert await a.told(first) == ["failed", "WriterFenced"]
    await b.do("say", "s", "second", None)
    await reader.heard(number, "second")
    assert await reader.told(number) == ["end", "done", None]
    assert await b.do("read", "s") == ["done", None, "first second"]


@pytest.fixture
def small_disk() -> Iterator[tuple[Path, postgres_server.OwnServer]]:
    """Start a server whose data is on a small disk of its own."""
    place = Path(tempfile.mkdtemp(prefix="inkstream-small-"))
    mount = ["mount", "-t", "tmpfs", "-o", "size=160m,mode=777", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False).returncode:
        place.rmdir()
        missing("the test needs the right to mount a small disk")
    # With these settings, PostgreSQL reuses the files of its write-ahead log. Otherwise the log
    # would need new files, and PostgreSQL would stop because the disk has no room for them.
    server = postgres_server.own_server(
        settings=("min_wal_size=80MB", "max_wal_size=80MB", "wal_recycle=on"), folder=place
    )
    yield place, server
    server.destroy()
    subprocess.run(["umount", str(place)], check=True)
    shutil.rmtree(place)


async def test_disk_is_full_for_a_while(
    small_disk: tuple[Path, postgres_server.OwnServer], tmp_path: Path
) -> None:
    """G12: readers see only stored text, and the writer continues when the disk has room again."""
    from inkstream import PersistentTextStreaming

    place, server = small_disk
    url = await server.make_database()
    async with PersistentTextStreaming(url) as streams:
        stream_id = await streams.create()
        heard: list[str] = []

        async def follow() -> None:
            async for item in streams.follow(stream_id):
                heard.append(str(item))  # noqa: PERF401 - the test reads ``heard`` meanwhile

        reading = asyncio.create_task(follow())
        admin = await asyncpg.connect(url)
        async with streams.write(stream_id) as writer:
            await writer.append("before ")
            await writer.flush()
            ballast = place / "ballast"
            with ballast.open("wb") as file:
                try:
                    while True:
                        file.write(bytes(1 << 16))
                except OSError:
                    pass
            # The table has free pages, so the first commits succeed on the full disk.
            piece, said = "x" * 200_000, "before "
            flushing: asyncio.Task[None] | None = None
            for _ in range(200):
                await writer.append(piece)
                said += piece
                flushing = asyncio.create_task(writer.flush())
                done, _ = await asyncio.wait([flushing], timeout=1.0)
                if not done:
                    break
            else:
                raise AssertionError("the disk never became full")
            assert len("".join(heard)) < len(said)
            stored = await streams.read(stream_id)
            assert stored.text.startswith("".join(heard))
            assert len(stored.text) < len(said)
            ballast.unlink()
            async with asyncio.timeout(10):
                await flushing
        await admin.close()
        async with asyncio.timeout(10):
            await reading
        body = await streams.read(stream_id)
        assert body.text == said
        assert "".join(heard[:-1]) == said
