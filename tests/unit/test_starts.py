"""What comes of a start: its claim, its room, and a store that is away just then (G4, G8, G12)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from inkstream import (
    Limits,
    ShuttingDown,
    StoreUnavailable,
    StreamId,
    StreamNotFound,
    Timing,
    TooManyStreams,
)
from inkstream.testing import ScriptedSource, in_virtual_time
from tests.simulation.cluster import cluster, one_worker

PATIENCE_S = 8.0
TIMING = Timing(patience_s=PATIENCE_S)


@in_virtual_time
async def test_a_store_that_is_away_for_a_moment_undoes_no_start() -> None:
    """G12: the source is called when it is back, once."""
    async with one_worker(timing=TIMING) as worker:
        source = ScriptedSource()
        await worker.streams.create("s")
        worker.store.away = True
        task = worker.streams.start("s", source)
        await asyncio.sleep(PATIENCE_S / 2)
        assert not source.started.is_set()
        worker.store.away = False
        await source.send("late, but there")
        await source.finish()
        await task
        assert (await worker.streams.read("s")).text == "late, but there"
        assert source.calls == 1


@in_virtual_time
async def test_of_racing_starts_one_calls_its_source_though_outcomes_are_lost() -> None:
    """G4: a start whose claim was not answered finds out whether it took effect."""
    for seed in range(60):
        async with cluster(seed) as made:
            workers = [await made.add(timing=TIMING) for _ in range(2)]
            calls = 0

            async def source() -> AsyncIterator[str]:
                nonlocal calls
                calls += 1
                yield "once"

            await workers[0].streams.create("s")
            for worker in workers:
                worker.store.lose = 0.5
                worker.store.latency_s = 0.4
            tasks = []
            for _ in range(6):
                tasks.append(made.rng.choice(workers).streams.start("s", source))
                await asyncio.sleep(made.rng.random() * 0.3)
            await asyncio.sleep(1)
            for worker in workers:
                worker.store.lose = 0.0
            await asyncio.gather(*tasks)
            body = await asyncio.wait_for(workers[0].streams.wait("s"), 3)
            assert (calls, body.text, body.status) == (1, "once", "done"), seed


@in_virtual_time
async def test_readers_are_told_of_a_start_that_failed(caplog: pytest.LogCaptureFixture) -> None:
    """G12: as soon as the store is back, not after ``start_within_s``; and the log is."""
    async with cluster() as made:
        here, there = await made.add(timing=TIMING), await made.add(timing=TIMING)
        source = ScriptedSource()
        await here.streams.create("s")
        waiting = asyncio.create_task(there.streams.wait("s"))
        here.store.away = True
        task = here.streams.start("s", source)
        await asyncio.sleep(PATIENCE_S + 10)
        here.store.away = False
        body = await asyncio.wait_for(waiting, 2)
        assert (body.status, body.end and body.end.code) == ("error", "store_unavailable")
        with pytest.raises(StoreUnavailable):
            await task
        assert not source.calls
    assert "the start of stream 's' failed" in caplog.text


@in_virtual_time
async def test_a_start_that_failed_ends_no_stream_that_another_has_started() -> None:
    """G4."""
    async with cluster() as made:
        here, there = await made.add(timing=TIMING), await made.add(timing=TIMING)
        mine, other = ScriptedSource(), ScriptedSource()
        await here.streams.create("s")
        here.store.away = True
        task = here.streams.start("s", mine)
        await asyncio.sleep(PATIENCE_S + 5)
        there.streams.start("s", other)
        await other.send("by another")
        here.store.away = False
        with pytest.raises(StoreUnavailable):
            await task
        await other.finish()
        body = await there.streams.wait("s")
        assert (body.text, body.status, mine.calls) == ("by another", "done", 0)


@pytest.mark.parametrize("after_s", [0.05, 3.0, 9.0])
@in_virtual_time
async def test_a_start_waits_for_its_transaction(after_s: float) -> None:
    """G4: a dependency commits after the endpoint that called ``start``."""
    async with cluster() as made:
        here, there = await made.add(), await made.add()
        source = ScriptedSource()
        task = here.streams.start("s", source)
        await asyncio.sleep(after_s)
        assert not source.started.is_set()
        await there.streams.create("s")
        await source.send("once")
        await source.finish()
        await task
        assert ((await here.streams.read("s")).text, source.calls) == ("once", 1)


@in_virtual_time
async def test_a_start_whose_stream_never_comes_names_the_transaction(
    caplog: pytest.LogCaptureFixture,
) -> None:
    loop = asyncio.get_running_loop()
    async with one_worker(timing=Timing(appears_within_s=3)) as worker:
        began = loop.time()
        with pytest.raises(StreamNotFound, match=r"connection=.*did not commit.*3 s"):
            await worker.streams.start("absent", ScriptedSource())
        assert 3 <= loop.time() - began < 4
    assert "the start of stream 'absent' failed" in caplog.text
    assert "did not commit" in caplog.text


@in_virtual_time
async def test_a_start_that_waits_keeps_its_place() -> None:
    """G9: and gives it back when the wait is over."""
    timing = Timing(appears_within_s=3)
    async with one_worker(limits=Limits(live_streams=1), timing=timing) as worker:
        task = worker.streams.start("absent", ScriptedSource())
        await asyncio.sleep(1)
        with pytest.raises(TooManyStreams):
            worker.streams.start("other", ScriptedSource())
        await asyncio.wait([task])
        await worker.streams.create("other")
        source = ScriptedSource()
        worker.streams.start("other", source)
        await source.finish()
        assert (await worker.streams.wait("other")).status == "done"


@in_virtual_time
async def test_a_drain_ends_the_wait_of_a_start() -> None:
    """G8: a stream that does not exist holds up no exit."""
    loop = asyncio.get_running_loop()
    async with one_worker() as worker:
        task = worker.streams.start("absent", ScriptedSource())
        await asyncio.sleep(1)
        began = loop.time()
        await worker.engine.drain(10)
        assert loop.time() - began < 1
        with pytest.raises(StreamNotFound):
            await task


@in_virtual_time
async def test_a_store_that_is_away_counts_for_itself() -> None:
    """G12: the wait for the transaction begins again when the store is back."""
    async with cluster() as made:
        here, there = await made.add(timing=TIMING), await made.add(timing=TIMING)
        source = ScriptedSource()
        task = here.streams.start("s", source)
        await asyncio.sleep(1)
        here.store.away = True
        await asyncio.sleep(PATIENCE_S / 2)
        here.store.away = False
        await asyncio.sleep(1)
        await there.streams.create("s")
        await source.send("late")
        await source.finish()
        await task
        assert (await here.streams.read("s")).text == "late"


@pytest.mark.parametrize("denied", [False, True])
@in_virtual_time
async def test_a_request_waits_a_moment_for_its_stream(denied: bool) -> None:
    """A stream of another owner looks the same as an absent one, in time too."""
    loop = asyncio.get_running_loop()
    async with one_worker() as worker:
        if denied:
            await worker.streams.create("s")
        began = loop.time()
        claimed = worker.engine.starts.start_for_request(
            StreamId("s"), ScriptedSource(), allow=lambda _: False
        )
        with pytest.raises(StreamNotFound):
            await claimed
        assert 1 <= loop.time() - began < 1.1
        if not denied:
            source = ScriptedSource()
            claimed = worker.engine.starts.start_for_request(
                StreamId("s"), source, allow=lambda _: True
            )
            await asyncio.sleep(0.1)
            await worker.streams.create("s")
            assert await claimed
            await source.finish()


@in_virtual_time
async def test_a_process_without_room_says_so_at_once() -> None:
    """G9: also to several starts of one moment; what has ended or failed leaves room."""
    async with one_worker(limits=Limits(live_streams=2)) as worker:
        streams = worker.streams
        for name in "abc":
            await streams.create(name)
        sources = [ScriptedSource(), ScriptedSource()]
        streams.start("a", sources[0])
        cancelled = streams.start("b", sources[1])
        with pytest.raises(TooManyStreams, match="live_streams"):
            streams.start("c", ScriptedSource())
        cancelled.cancel()
        await asyncio.wait([cancelled])
        streams.start("b", sources[1])
        await sources[1].send("b")
        with pytest.raises(TooManyStreams):
            streams.start("c", ScriptedSource())
        for source in sources:
            await source.finish()
        await streams.wait("a")
        await streams.wait("b")
        with pytest.raises(StreamNotFound):
            await streams.start("absent", ScriptedSource())
        third = ScriptedSource()
        streams.start("c", third)
        await third.finish()
        assert (await streams.wait("c")).status == "done"


@in_virtual_time
async def test_a_start_that_was_accepted_is_one_also_when_a_drain_begins() -> None:
    """G8: nobody else would start it; readers would wait for it until ``start_within_s``."""
    async with one_worker(timing=Timing(shutdown_grace_s=5)) as worker:
        source = ScriptedSource()
        await worker.streams.create("s")
        worker.streams.start("s", source)
        drain = asyncio.create_task(worker.engine.drain())
        await asyncio.sleep(1)
        with pytest.raises(ShuttingDown):
            worker.streams.start("s", ScriptedSource())
        await drain
        body = await worker.streams.read("s")
        assert (source.calls, body.end and body.end.code) == (1, "shutdown")


@in_virtual_time
async def test_a_start_that_waits_for_the_store_holds_up_no_stop() -> None:
    """G8, G12: it gives up with its process."""
    async with cluster() as made:
        worker = await made.add(timing=Timing(shutdown_grace_s=1))
        await worker.streams.create("s")
        worker.store.away = True
        task = worker.streams.start("s", ScriptedSource())
        await asyncio.sleep(1)
        began = asyncio.get_running_loop().time()
        await worker.engine.stop()
        assert asyncio.get_running_loop().time() - began < 10
        assert task.cancelled()
