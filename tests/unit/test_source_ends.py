"""A cancel or a time limit stops a source (G5, G6).

By default, a reader that leaves stops no source.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from inkstream import Limits, Timing
from inkstream.testing import ScriptedSource, in_virtual_time
from tests.simulation.cluster import cluster, one_worker

# Cancellation ------------------------------------------------------------------------------------


@in_virtual_time
async def test_cancel_closes_the_call_to_the_provider() -> None:
    """G6: a cancel in another worker closes the source within a second, and the text stays."""
    async with cluster() as made:
        here, there = await made.add(), await made.add()
        source = ScriptedSource()
        await here.streams.create("s")
        task = here.streams.start("s", source)
        await source.send("shown")
        await asyncio.sleep(0.1)
        assert await there.streams.cancel("s") is True
        assert await there.streams.cancel("s") is False, "a stream ends once (G5)"
        await asyncio.wait_for(source.closed.wait(), 1)
        await task
        body = await here.streams.read("s")
        assert (body.text, body.status) == ("shown", "cancelled")


@in_virtual_time
async def test_cancel_works_without_hints() -> None:
    """G6: without hints, the writer's worker finds the cancel at its next poll."""
    async with cluster() as made:
        here, there = await made.add(), await made.add()
        there.notifier.lose = 1.0
        source = ScriptedSource()
        await here.streams.create("s")
        here.streams.start("s", source)
        await source.started.wait()
        await there.streams.cancel("s")
        await asyncio.wait_for(source.closed.wait(), here.engine.timing.poll_s + 0.5)


@in_virtual_time
async def test_source_that_ignores_cancellation_is_abandoned() -> None:
    """G6: neither ``start``, ``wait`` nor a drain waits for a source that ignores cancellation."""
    let_go = asyncio.Event()

    async def source() -> AsyncIterator[str]:
        yield "so far"
        while not let_go.is_set():
            try:
                await let_go.wait()
            except asyncio.CancelledError:
                pass
        yield "too late"

    async with one_worker() as worker:
        await worker.streams.create("s")
        task = worker.streams.start("s", source)
        await asyncio.sleep(1)
        await worker.streams.cancel("s")
        await asyncio.wait_for(task, 1)
        assert (await worker.streams.wait("s")).status == "cancelled"
        await worker.engine.drain(5)
        let_go.set()
        await asyncio.sleep(1)
        assert (await worker.streams.read("s")).text == "so far"


@in_virtual_time
async def test_cancelling_the_task_ends_the_stream() -> None:
    """G5: the stream ends, no matter when the task that ``start`` returned is cancelled."""
    for delay_s in (0.0, 0.05, 0.2, 0.3, 0.5, 1.0):
        async with one_worker() as worker:
            await worker.streams.create("s", start_within_s=5)
            worker.store.latency_s = 0.2
            task = worker.streams.start("s", ScriptedSource())
            await asyncio.sleep(delay_s)
            task.cancel()
            body = await asyncio.wait_for(worker.streams.wait("s"), 30)
            assert body.status in ("error", "timeout")


# Time --------------------------------------------------------------------------------------------


@in_virtual_time
async def test_unstarted_stream_ends() -> None:
    async with one_worker(timing=Timing(start_within_s=10)) as worker:
        await worker.streams.create("s")
        await asyncio.sleep(9)
        assert (await worker.streams.read("s")).status == "pending"
        body = await asyncio.wait_for(worker.streams.wait("s"), 4)
        assert (body.status, body.end and body.end.code) == ("timeout", "never_started")


@in_virtual_time
async def test_idle_source_is_ended() -> None:
    async with one_worker(timing=Timing(idle_s=5)) as worker:
        source = ScriptedSource()
        await worker.streams.create("s")
        worker.streams.start("s", source)
        for _ in range(4):
            await source.send(".")
            await asyncio.sleep(4)
        assert not source.closed.is_set()
        await asyncio.wait_for(source.closed.wait(), 2)
        body = await worker.streams.wait("s")
        assert (body.text, body.end and body.end.code) == ("....", "idle")


@in_virtual_time
async def test_source_waiting_for_the_store_is_not_idle() -> None:
    """G7, G12: a source that waits for the store is not idle, so its stream does not end ``idle``.

    The outage is longer than ``idle_s``, but shorter than ``patience_s``.
    """
    timing, limits = Timing(idle_s=5, patience_s=30), Limits(buffer_bytes=10)

    async def answer() -> AsyncIterator[str]:
        for _ in range(50):
            yield "0123456789"
            await asyncio.sleep(0.5)

    async with one_worker(timing=timing, limits=limits) as worker:
        await worker.streams.create("s")
        worker.streams.start("s", answer)
        await asyncio.sleep(3)
        worker.store.away = True
        await asyncio.sleep(12)
        worker.store.away = False
        body = await worker.streams.wait("s")
        assert (body.status, body.text) == ("done", "0123456789" * 50)


@in_virtual_time
async def test_overlong_source_is_ended() -> None:
    async with one_worker(timing=Timing(total_s=5)) as worker:
        source = ScriptedSource()
        await worker.streams.create("s")
        worker.streams.start("s", source)
        for _ in range(6):
            await source.send(".")
            await asyncio.sleep(1)
        assert source.closed.is_set()
        body = await worker.streams.wait("s")
        assert (body.status, body.end and body.end.code) == ("timeout", "total")


@in_virtual_time
async def test_generation_outlives_its_readers() -> None:
    """G6: by default, an answer continues after its last reader has left."""
    async with one_worker() as worker:
        source = ScriptedSource()
        await worker.streams.create("s")
        worker.streams.start("s", source)
        await source.send("a")
        following = worker.streams.follow("s")
        assert await anext(following) == "a"
        await following.aclose()
        await asyncio.sleep(600)
        await source.send("b")
        await source.finish()
        assert (await worker.streams.wait("s")).text == "ab"
