"""If many streams are due at once, their ends do not delay the ends of other streams (G7)."""

from __future__ import annotations

import asyncio

from inkstream import Limits, Status, StreamId, Timing
from inkstream.testing import in_virtual_time
from tests.simulation.cluster import cluster

N = 3_000
LIMITS = Limits(live_streams_per_owner=N)


@in_virtual_time
async def test_many_due_streams_end_in_batches() -> None:
    """G7: while many streams are due, a killed writer's stream still ends within 2 s."""
    loop = asyncio.get_running_loop()
    async with cluster() as made:
        timing = Timing(start_within_s=20)
        worker, killed = await made.add(timing=timing, limits=LIMITS), await made.add()
        for n in range(N):
            await worker.streams.create(f"s{n}")
        await killed.streams.create("lost")
        writer = await killed.engine.claims.claim(StreamId("lost"))
        await writer.append("so far")
        await writer.flush()
        reader = await worker.engine.readers.open(StreamId("lost"), None)
        await reader.segments()
        for each in made.workers:
            each.store.latency_s = 0.02
        await asyncio.sleep(20.0 - loop.time() % 1)
        killed.kill()
        before, began = len(worker.store.commits), loop.time()
        while reader.end is None:
            await reader.segments()
        reader.close()
        assert loop.time() - began <= 2
        async with asyncio.timeout(10):
            await worker.streams.wait("s0")  # s0 ends last, because ``find()`` returns it last
        assert len(worker.store.commits) - before < N / 50
        left = await worker.streams.list(status=Status.PENDING)
        assert not left.streams


@in_virtual_time
async def test_many_reports_are_claimed_in_batches() -> None:
    async with cluster() as made:
        worker = await made.add(reports=True, timing=Timing(start_within_s=5), limits=LIMITS)
        for n in range(N):
            await worker.streams.create(f"s{n}")
        before = len(worker.store.commits)
        async with asyncio.timeout(60):
            while len({body.stream_id for body in made.ended}) < N:  # noqa: ASYNC110
                await asyncio.sleep(0.5)
        assert len(worker.store.commits) - before < N / 20
