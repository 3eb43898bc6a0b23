"""Servers replace a worker process after a number of requests, while answers are live."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.http.client import Broken, fetch, post, requesting
from tests.http.servers import Server, serving
from tests.http.sse import Heard

pytestmark = [pytest.mark.interop, pytest.mark.timeout(150)]

OPTIONS = {
    "uvicorn": "--workers 2 --limit-max-requests 40 --limit-max-requests-jitter 40",
    "gunicorn": "-k asgi -w 2 --max-requests 40 --max-requests-jitter 40 --graceful-timeout 10",
}
ANSWERS = 4
WORKERS = 6
"""How many different processes must answer: the first two, and four later processes."""


@pytest.fixture(params=OPTIONS)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    environment = {"TEST_LIFE_S": "1.5", "TEST_GRACE_S": "1"}
    with serving(
        tmp_path, server=request.param, options=OPTIONS[request.param], environment=environment
    ) as running:
        yield running


async def follow(port: int, name: str, heard: Heard) -> None:
    """Follow a stream to its end over any number of connections, as an ``EventSource`` does."""
    while heard.end is None:
        headers = {"last-event-id": heard.last_id} if heard.last_id else {}
        try:
            async with requesting(port, f"/streams/{name}", headers=headers) as answer:
                if answer.status == 204:
                    return
                assert answer.status in (200, 503), answer.body
                answer.heard = heard
                while await answer.read():
                    pass
        except (Broken, OSError):
            pass
        await asyncio.sleep(0.1)  # the client waits before it reconnects


async def processes(port: int, number: int) -> tuple[set[bytes], float]:
    """Send requests until ``number`` processes have answered.

    Return the process ids, and the longest time between two responses in seconds.
    """
    pids: set[bytes] = set()
    longest = 0.0
    last = time.monotonic()
    async with asyncio.timeout(90):
        while len(pids) < number:
            try:
                answer = await fetch(port, "/pid")
            except (Broken, OSError, TimeoutError):
                await asyncio.sleep(0.02)
                continue
            if answer.status == 200:
                pids.add(answer.body)
                longest, last = max(longest, time.monotonic() - last), time.monotonic()
    return pids, longest


async def test_workers_that_end_by_number_of_requests(server: Server) -> None:
    """G1, G2, G5: each reader receives exactly the stored text, and the stored end.

    While processes are replaced, less than 15 seconds pass between two responses.
    """
    port = server.port
    names = [(await post(port, "/count?pause_s=0.02"))["id"] for _ in range(ANSWERS)]
    heard = {name: Heard() for name in names}
    followers = [asyncio.create_task(follow(port, name, heard[name])) for name in names]
    pids, longest = await processes(port, WORKERS)
    for name in names:
        await fetch(port, f"/streams/{name}/cancel", method="POST")
    async with asyncio.timeout(40):
        await asyncio.gather(*followers)
    for name in names:
        stored = (await fetch(port, f"/streams/{name}?format=json")).json
        assert "".join(stored["parts"]) == heard[name].text
        numbers = heard[name].text.split()
        assert numbers == [str(number) for number in range(len(numbers))]
        end = heard[name].end
        assert end is not None
        assert end["status"] == stored["status"]
    sys.stdout.write(f"{len(pids)} processes answered, the longest wait was {longest:.1f} s\n")
    assert longest < 15.0, "a request waited too long for its response"
