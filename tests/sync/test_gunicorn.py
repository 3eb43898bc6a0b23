"""Tests of Django and Flask under gunicorn, which forks before or after the first call."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from inkstream import PersistentTextStreaming, Status
from tests.http.client import Answer, fetch, requesting
from tests.http.servers import serving

pytestmark = [pytest.mark.interop, pytest.mark.timeout(60)]

EARLY = {"USED_BEFORE_THE_FORK": "1"}


@pytest.fixture
def streams(tmp_path: Path) -> PersistentTextStreaming:
    return PersistentTextStreaming(f"sqlite:///{tmp_path}/inkstream.db")


@pytest.mark.parametrize(
    ("app", "options", "environment"),
    [
        ("django", "--workers 4", {}),
        ("flask", "--workers 4 --preload", EARLY),
        ("django", "--workers 2 --worker-class gthread --threads 8", {}),
        ("django", "--workers 2 --worker-class gevent", {}),
        ("flask", "--workers 2 --worker-class gevent --preload", EARLY),
    ],
)
async def test_views_of_several_processes_share_streams(
    tmp_path: Path,
    streams: PersistentTextStreaming,
    app: str,
    options: str,
    environment: dict[str, str],
) -> None:
    """G1, G2, G6, G8: requests to several processes write, follow and cancel the same stream.

    SIGTERM ends the server and its unfinished answer.
    """
    async with streams:
        pass  # this creates the tables, as a deployment's first process does
    with serving(
        tmp_path,
        server="gunicorn",
        app=f"tests.sync.{app}_app:app",
        options=options,
        environment=environment,
    ) as server:
        assert (await fetch(server.port, "/ask/one", method="POST")).status == 200, server.printed
        path = "/streams/one"
        async with requesting(server.port, path) as first, requesting(server.port, path) as second:
            for answer in (first, second):
                await answer.until(lambda answer=answer: len(answer.body) > 200)
            # Both readers are still connected, so gunicorn handles three requests at the same time.
            cancelled = await fetch(server.port, "/cancel/one", method="POST")
            assert cancelled.body == b"True", server.printed
            heard = {await ended(answer) for answer in (first, second)}
        assert (await fetch(server.port, "/ask/two", method="POST")).status == 200, server.printed
        async with requesting(server.port, "/streams/two") as third:
            await third.until(lambda: third.body)
        server.signal(signal.SIGTERM)
        assert await asyncio.to_thread(server.wait) == 0
    async with streams:
        one, two = await streams.read("one"), await streams.read("two")
    assert heard == {f"{one.text}[cancelled]"}
    assert one.text == counted(one.text)
    assert two.end is not None
    assert (two.status, two.end.code) == (Status.ERROR, "shutdown")
    assert two.text == counted(two.text)
    assert "Traceback" not in server.printed


async def ended(answer: Answer) -> str:
    return (await answer.rest()).decode()


def counted(text: str) -> str:
    return "".join(f"{number} " for number in range(text.count(" ")))
