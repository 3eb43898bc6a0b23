"""One application in two server processes on one file: ``uvicorn --workers 2``."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.http.client import Broken, fetch, requesting
from tests.http.servers import serving

WORKERS = 2


async def test_readers_of_both_workers_see_one_text_and_one_end(tmp_path: Path) -> None:
    """G2, G6: whichever of them answers whom, and whichever is asked to stop."""
    with serving(
        tmp_path, app="tests.crash.counting:app", options=f"--workers {WORKERS}"
    ) as server:
        port = server.port
        pids = await everybody(port)
        writer = (await fetch(port, "/start/shared", method="POST")).body
        assert writer in pids
        async with asyncio.TaskGroup() as group:
            readers = [group.create_task(read_to_end(port)) for _ in range(12)]
            async with requesting(port, "/streams/shared") as reader:
                await reader.until(lambda: len(reader.heard.text) > 2_000)
            await fetch(port, "/streams/shared/cancel", method="POST")
        texts = {task.result() for task in readers}
        stored = (await fetch(port, "/streams/shared?format=json")).json
        assert texts == {"".join(stored["parts"])}
        assert stored["status"] == "cancelled"
        assert len(stored["parts"][0]) > 2_000


async def everybody(port: int) -> set[bytes]:
    """Return the processes that answer, once all of them do."""
    pids: set[bytes] = set()
    async with asyncio.timeout(10):
        while len(pids) < WORKERS:
            # Together, so that the one that is awake cannot take them all.
            answers = await asyncio.gather(*[fetch(port, "/pid") for _ in range(8)])
            pids |= {answer.body for answer in answers}
    return pids


async def read_to_end(port: int) -> str:
    """Follow the shared stream; return what was heard when it had ended."""
    async with requesting(port, "/streams/shared") as answer:
        try:
            await answer.rest(15)
        except Broken:
            raise AssertionError("a reader was cut off") from None
        assert answer.heard.end is not None
        assert answer.heard.end["status"] == "cancelled"
        return answer.heard.text
