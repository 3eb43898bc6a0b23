"""An application runs in four processes (``uvicorn --workers 4``) on SQLite and PostgreSQL."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.crash.test_kill_server import Follower, counted
from tests.http.client import Broken, fetch, requesting
from tests.http.servers import serving

WORKERS = 4
READERS = 24
pytestmark = pytest.mark.timeout(60)


@pytest.fixture
async def port(tmp_path: Path, database: str) -> AsyncIterator[int]:
    with serving(
        tmp_path,
        app="tests.crash.counting:app",
        options=f"--workers {WORKERS}",
        environment={"INKSTREAM_DATABASE": database},
    ) as server:
        await everybody(server.port)
        yield server.port


async def everybody(port: int) -> None:
    """Wait until each of the four processes has answered."""
    pids: set[bytes] = set()
    async with asyncio.timeout(20):
        while len(pids) < WORKERS:
            # The requests are sent together, so that one process cannot take them all.
            with suppress(OSError, Broken):
                answers = await asyncio.gather(*[fetch(port, "/pid") for _ in range(12)])
                pids |= {answer.body for answer in answers}


async def start(port: int, name: str) -> tuple[int, list[Follower]]:
    """Start a stream and its readers. Return the process id of the writer, and the readers."""
    writer = int((await fetch(port, f"/start/{name}", method="POST")).body)
    followers = [Follower(port, name) for _ in range(READERS)]
    async with asyncio.timeout(10):
        await asyncio.gather(*[follower.hears.wait() for follower in followers])
    return writer, followers


async def test_all_implementations_send_the_same_text(port: int) -> None:
    """G2, G6: readers can follow, resume and cancel a stream through any process."""
    _, followers = await start(port, "shared")
    async with requesting(port, "/streams/shared") as reader:
        await reader.until(lambda: len(reader.heard.text) > 2_000)
    # Another reader resumes in the middle of the stream, on any process.
    half = followers[0].heard
    last = {"last-event-id": half.ids[len(half.ids) // 2]}
    async with requesting(port, "/streams/shared", headers=last) as reload:
        await reload.until(lambda: reload.heard.text)
    assert (await fetch(port, "/streams/shared/cancel", method="POST")).status < 300
    async with asyncio.timeout(2):
        await asyncio.gather(*[follower.task for follower in followers])
    stored = (await fetch(port, "/streams/shared?format=json")).json
    text = "".join(stored["parts"])
    assert stored["status"] == "cancelled"
    assert {follower.heard.text for follower in followers} == {text}
    assert counted(text)


async def test_killed_worker_is_seen_by_other_readers(port: int) -> None:
    """G1, G7: readers on other processes get the end of a killed worker's stream.

    The stored text has every character that a reader has seen.
    """
    writer, followers = await start(port, "lost")
    os.kill(writer, signal.SIGKILL)
    killed = time.monotonic()
    told_at: dict[Follower, float] = {}

    async def told(follower: Follower) -> None:
        await follower.task
        told_at[follower] = time.monotonic() - killed

    async with asyncio.timeout(8):
        await asyncio.gather(*[told(follower) for follower in followers])
    stored = (await fetch(port, "/streams/lost?format=json")).json
    text = "".join(stored["parts"])
    assert (stored["status"], stored["code"]) == ("timeout", "writer_lost")
    assert {follower.heard.text for follower in followers} == {text}
    assert counted(text)
    elsewhere = [told_at[follower] for follower in followers if follower.connections == 1]
    assert elsewhere, "all readers were on the killed process, so nothing was tested"
    assert max(elsewhere) < 2.0
    assert max(told_at.values()) < 4.0, "readers of the killed process must reconnect first"
