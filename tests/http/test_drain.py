from __future__ import annotations

import asyncio
import signal
import sys
import time
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.conftest import SOAK
from tests.http.client import Answer, Broken, fetch, post, requesting
from tests.http.servers import serving

READERS = 1_000 if SOAK else 250
WAITS_FOR_EVER = sys.version_info >= (3, 12)
"""Since Python 3.12, hypercorn's worker does not exit while a connection is open."""


@pytest.mark.parametrize(
    ("server", "options"), [("uvicorn", ""), ("granian", ""), ("hypercorn", "--workers 0")]
)
async def test_readers_get_the_end_and_the_server_exits(
    tmp_path: Path, server: str, options: str
) -> None:
    """G8: an answer that finishes within the grace time ends ``done``.

    An answer that is still running after the grace time ends ``error``, code ``shutdown``. A reader
    of a pending stream gets no terminal event, and the stream stays pending.
    """
    grace = {"TEST_GRACE_S": "1.5"}
    with serving(tmp_path, server=server, options=options, environment=grace) as running:
        port = running.port
        quick, slow, waiting = [
            (await post(port, f"/create{start}"))["id"] for start in ("?start=1", "?start=1", "")
        ]
        async with (
            requesting(port, f"/streams/{quick}") as first,
            requesting(port, f"/streams/{slow}") as second,
            requesting(port, f"/streams/{waiting}") as third,
        ):
            await post(port, f"/say/{slow}", ["half"])
            await second.until(lambda: second.heard.text == "half")
            await third.until(lambda: third.body)
            await post(port, f"/say/{quick}", ["half ", {"wait_s": 0.7}, "whole", {"end": "done"}])
            await first.until(lambda: first.heard.text == "half ")
            began = time.monotonic()
            running.signal(signal.SIGTERM)
            await asyncio.gather(first.rest(), second.rest(), third.rest())
            took = time.monotonic() - began
        assert first.heard.end is not None
        assert (first.heard.text, first.heard.end["status"]) == ("half whole", "done")
        assert second.heard.end is not None
        assert (second.heard.end["status"], second.heard.end["code"]) == ("error", "shutdown")
        assert third.heard.end is None
        assert took < 1.5 + 1.0
        running.wait(5)
    with serving(tmp_path) as again:
        stored = await fetch(again.port, f"/streams/{slow}")
        assert (stored.heard.text, stored.heard.end) == ("half", second.heard.end)
        pending = await fetch(again.port, f"/streams/{waiting}?format=json")
        assert pending.json["status"] == "pending"


async def test_a_server_that_hides_the_signal(
    tmp_path: Path,
) -> None:
    """G5: hypercorn's worker does not pass SIGTERM on to inkstream, so the response breaks off."""
    with serving(tmp_path, server="hypercorn", options="--graceful-timeout 1") as running:
        name = (await post(running.port, "/create?start=1"))["id"]
        async with requesting(running.port, f"/streams/{name}") as reader:
            await post(running.port, f"/say/{name}", ["half"])
            await reader.until(lambda: reader.heard.text == "half")
            running.signal(signal.SIGTERM)
            if WAITS_FOR_EVER:
                running.kill()
            with pytest.raises(Broken):
                await reader.rest()
        assert reader.heard.end is None
        running.wait()
    with serving(tmp_path) as again:
        rest = await fetch(
            again.port, f"/streams/{name}", headers={"last-event-id": reader.heard.last_id}
        )
        assert rest.heard.text == ""
        assert rest.heard.end is not None
        ends = ("timeout", "writer_lost") if WAITS_FOR_EVER else ("error", "shutdown")
        assert (rest.heard.end["status"], rest.heard.end["code"]) == ends


@pytest.mark.timeout(90)
async def test_a_thousand_readers_get_the_end_within_a_second(tmp_path: Path) -> None:
    """G8: Ctrl-C skips the grace time, and each reader gets the end within a second of Ctrl-C."""
    with serving(tmp_path, environment={"TEST_GRACE_S": "60"}) as running:
        port = running.port
        names = [(await post(port, "/create?start=1"))["id"] for _ in range(10)]
        async with AsyncExitStack() as stack:
            readers: list[Answer] = []
            for number in range(READERS):
                path = f"/streams/{names[number % len(names)]}"
                readers.append(await stack.enter_async_context(requesting(port, path)))
            for name in names:
                await post(port, f"/say/{name}", ["half"])
            for reader in readers:
                await reader.until(lambda reader=reader: reader.heard.text == "half")
            began = time.monotonic()
            running.signal(signal.SIGINT)

            async def told(reader: Answer) -> float:
                await reader.rest(20)
                assert reader.heard.end is not None
                assert reader.heard.end["code"] == "shutdown"
                return time.monotonic() - began

            took = sorted(await asyncio.gather(*[told(reader) for reader in readers]))
        sys.stdout.write(f"{READERS} readers told after {took[READERS // 2]:.2f} s (median), ")
        sys.stdout.write(f"{took[-1]:.2f} s (last)\n")
        assert took[-1] < 1.0
        running.wait(10)
