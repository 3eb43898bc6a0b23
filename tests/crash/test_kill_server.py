"""A server with connected readers is killed with ``kill -9`` at random moments (G1, G2, G7)."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import SOAK, Rounds
from tests.crash.conftest import faults_of
from tests.http.client import Broken, fetch, requesting
from tests.http.servers import free_port
from tests.http.sse import Heard

READERS = 4
TOLD_S = 4.0
"""After a restart, readers get the end within this time: 2 s for a sweep, 2 s to reconnect."""


def counted(text: str) -> bool:
    """Return whether a text is the beginning of the source's text."""
    expected, size = [], 0
    for number in itertools.count():
        if size >= len(text):
            break
        expected.append(f"{number} ")
        size += len(expected[-1])
    return "".join(expected).startswith(text)


class Follower:
    """A reader that, like a browser, reconnects with its last event id until it gets the end."""

    def __init__(self, port: int, name: str) -> None:
        self.heard = Heard()
        self.hears = asyncio.Event()
        self.connections = 0
        self.refused: list[Any] = []
        self._port = port
        self._name = name
        self.task = asyncio.create_task(self._follow())

    async def _follow(self) -> None:
        while self.heard.end is None:
            last = {"last-event-id": self.heard.last_id} if self.heard.last_id else {}
            try:
                async with requesting(self._port, f"/streams/{self._name}", headers=last) as answer:
                    if answer.status != 200:
                        await answer.rest()
                        self.refused.append((answer.status, answer.body))
                        return
                    self.connections += 1
                    answer.heard = self.heard
                    await answer.until(lambda: self.heard.text)
                    self.hears.set()
                    await answer.rest(60)
            except (OSError, Broken):
                await asyncio.sleep(0.02)  # this is the client's pause before it reconnects


async def check(port: int, name: str, followers: list[Follower], dice: random.Random) -> str:
    """Compare the text of each reader with the stored text, and return the stored text."""
    stored = (await fetch(port, f"/streams/{name}?format=json")).json
    assert (stored["status"], stored["code"]) == ("timeout", "writer_lost")
    text: str = "".join(stored["parts"])
    assert counted(text), f"{name} has text that nobody wrote: {text[-80:]!r}"
    for follower in followers:
        assert not follower.refused, follower.refused
        assert follower.heard.text == text
        assert follower.heard.last_id == stored["offset"]
        assert follower.heard.end is not None
        assert follower.heard.end["code"] == "writer_lost"
    # Offsets that a killed server sent must be valid on the new server.
    heard = dice.choice(followers).heard
    for number in dice.sample(range(len(heard.ids)), min(3, len(heard.ids))):
        last = {"last-event-id": heard.ids[number]}
        rest = await fetch(port, f"/streams/{name}", headers=last)
        assert text[: heard.lengths[number]] + rest.heard.text == text
    return text


class Phoenix:
    """A server that is killed, and started again on the same port and database."""

    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        self.database = f"sqlite:///{directory}/inkstream.db"
        self.log = directory / "server.log"
        self._child = 0
        with self.log.open("ab") as output:
            self._forking = subprocess.Popen(
                [sys.executable, "-m", "tests.crash.forking", str(self.port)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                start_new_session=True,
                env=os.environ | {"INKSTREAM_DATABASE": self.database},
            )

    def rise(self) -> None:
        """Start a server. When this method returns, the server may not answer yet."""
        assert self._forking.stdin is not None
        assert self._forking.stdout is not None
        self._forking.stdin.write(b"\n")
        self._forking.stdin.flush()
        self._child = int(self._forking.stdout.readline())

    def fall(self) -> None:
        assert self._forking.stdout is not None
        os.kill(self._child, signal.SIGKILL)
        assert self._forking.stdout.readline() == b"dead\n"

    def end(self) -> None:
        assert self._forking.stdin is not None
        assert self._forking.stdout is not None
        with suppress(ProcessLookupError):
            os.killpg(self._forking.pid, signal.SIGKILL)
        self._forking.wait()
        self._forking.stdin.close()
        self._forking.stdout.close()


@pytest.fixture
def phoenix(tmp_path: Path) -> Iterator[Phoenix]:
    server = Phoenix(tmp_path)
    yield server
    server.end()


async def ready(port: int) -> None:
    async with asyncio.timeout(10):
        while True:
            with suppress(OSError, Broken):
                await fetch(port, "/pid")
                return
            await asyncio.sleep(0.005)  # this is the client's pause before it tries again


@pytest.mark.timeout(1200 if SOAK else 120)
async def test_seen_text_is_never_missing(phoenix: Phoenix, rounds: Rounds) -> None:
    """G1, G2, G7: readers miss no text through many kills, and see only stored text."""
    seed = int(os.environ.get("INKSTREAM_SEED", "0")) or random.randrange(1, 10**9)
    dice = random.Random(seed)
    port = phoenix.port
    cycles = rounds(25, 300)
    texts: dict[str, str] = {}
    slowest, reconnected, characters = 0.0, 0, 0
    began = time.monotonic()
    phoenix.rise()
    await ready(port)
    for cycle in cycles:
        name = f"cycle-{cycle}"
        assert (await fetch(port, f"/start/{name}", method="POST")).status == 200
        followers = [Follower(port, name) for _ in range(READERS)]
        async with asyncio.timeout(5):
            await asyncio.gather(*[follower.hears.wait() for follower in followers])
        await asyncio.sleep(dice.uniform(0, 0.3))
        phoenix.fall()
        seen = [follower.heard.text for follower in followers]
        while dice.random() < 0.2:  # kill the server again while it starts
            phoenix.rise()
            await asyncio.sleep(dice.uniform(0, 0.2))
            phoenix.fall()
        phoenix.rise()
        risen = time.monotonic()
        async with asyncio.timeout(TOLD_S):
            await asyncio.gather(*[follower.task for follower in followers])
        slowest = max(slowest, time.monotonic() - risen)
        # If the readers got the end from an earlier server, the newest server may not answer yet.
        await ready(port)
        text = texts[name] = await check(port, name, followers, dice)
        assert all(text.startswith(heard) for heard in seen), "a reader saw text that is not saved"
        assert await faults_of(phoenix.database) == [], "the file has faults"
        reconnected += sum(follower.connections > 1 for follower in followers)
        characters += sum(map(len, seen))
        if (cycle + 1) % 25 == 0:
            sys.stdout.write(
                f"{cycle + 1} of {len(cycles)} cycles in {time.monotonic() - began:.0f} s, seed "
                f"{seed}: {characters} characters seen at the kills, {reconnected} readers "
                f"reconnected, all told at most {slowest:.2f} s after the restart\n"
            )
            sys.stdout.flush()
    for name, text in texts.items():
        stored = (await fetch(port, f"/streams/{name}?format=json")).json
        assert "".join(stored["parts"]) == text, "a finished text changed in a later cycle"
    assert reconnected, "no reader reconnected after a kill, so nothing was tested"
