from __future__ import annotations

from typing import Any

from inkstream import StreamBody
from tests.simulation.cluster import one_worker


async def run(source: Any, **settings: Any) -> StreamBody:
    """Run ``source`` on a new stream of a new worker, and return the ended stream.

    ``settings`` are the worker's. The test must run in virtual time.
    """
    async with one_worker(**settings) as worker:
        await worker.streams.create("s")
        worker.streams.start("s", source)
        return await worker.streams.wait("s")
