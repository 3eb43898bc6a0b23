from __future__ import annotations

import asyncio
import sys
import time
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.http.client import fetch, post, requesting
from tests.http.servers import serving

STUCK = 20


def resident_bytes(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * 4096


@pytest.mark.timeout(40)
@pytest.mark.parametrize("server", ["uvicorn", "hypercorn", "granian"])
async def test_stuck_readers_delay_nobody_and_are_given_up(tmp_path: Path, server: str) -> None:
    """G9: clients that read nothing do not delay the reader of another stream.

    The server needs little memory for them. After ``send_timeout_s``, it stops sending to them.
    """
    deadline = {"TEST_SEND_TIMEOUT_S": "1.5"}
    with serving(tmp_path, server=server, environment=deadline) as running:
        port = running.port
        pid = int((await fetch(port, "/pid")).body)
        # The text grows by 100 kB every 5 ms, so that socket buffers are full after a few seconds.
        counting = (await post(port, "/count?pause_s=0.005&width=100000"))["id"]
        name = (await post(port, "/create?start=1"))["id"]
        async with AsyncExitStack() as stack:
            for _ in range(STUCK):
                request = requesting(port, f"/streams/{counting}", receive_buffer=4096)
                answer = await stack.enter_async_context(request)
                assert answer.status == 200
            before = resident_bytes(pid)
            reader = await stack.enter_async_context(requesting(port, f"/streams/{name}"))
            slowest, number = 0.0, 0
            async with asyncio.timeout(15):
                # Wait until ``reader`` is the only reader that inkstream still has.
                while (await fetch(port, "/readers")).body != b"1":
                    began = time.monotonic()
                    await post(port, f"/say/{name}", [f"{number} "])
                    expected = "".join(f"{n} " for n in range(number + 1))
                    await reader.until(lambda: reader.heard.text == expected)  # noqa: B023
                    slowest = max(slowest, time.monotonic() - began)
                    number += 1
            grown = resident_bytes(pid) - before
            written = (await fetch(port, f"/streams/{counting}?format=json&offset=now")).json
            assert written["status"] == "streaming"
        sys.stdout.write(f"{number} pieces, slowest {slowest:.3f} s; {grown / 1e6:.1f} MB more\n")
        assert number > 5
        assert slowest < 1.0
        assert grown < 64e6
        assert (await fetch(port, f"/streams/{counting}/cancel", method="POST")).status == 204
