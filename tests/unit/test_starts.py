"""A start claims its stream once, counts as live, and survives short outages (G4, G8, G12)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from inkstream import (
    Limits,
    NotClaimed,
    ShuttingDown,
    StoreUnavailable,
    StreamConflict,
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
async def test_short_outage_does_not_fail_a_start() -> None:
    """G12: a start that meets a short outage calls its source once, when the store is back."""
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
async def test_one_racing_start_wins_despite_lost_outcomes() -> None:
    """G4: if the outcome of a claim is lost, the start finds out whether the claim succeeded."""
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
async def test_failed_start_ends_its_readers(caplog: pytest.LogCaptureFixture) -> None:
    """G12: after a failed start, readers get the end as soon as the store is back."""
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
async def test_failed_start_does_not_end_another_start() -> None:
    """G4: a start that failed in an outage does not end the stream if another worker started it."""
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
    """G4: a start waits up to ``appears_within_s`` for the transaction that creates its stream."""
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
async def test_start_without_a_stream_names_the_transaction(
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
async def test_waiting_start_counts_as_a_live_stream() -> None:
    """G9: a start that waits for its stream counts as a live stream, until the wait is over."""
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
    """G8: a drain ends the wait of a start for a stream that does not exist."""
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
async def test_outage_does_not_use_up_the_wait_for_the_stream() -> None:
    """G12: after an outage, a start waits its full time again for its stream's transaction."""
    async with cluster() as made:
        # The stream appears more than 3 s after the start, but less than 3 s after the outage.
        timing = replace(TIMING, appears_within_s=3.0)
        here, there = await made.add(timing=timing), await made.add(timing=timing)
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
async def test_request_waits_up_to_a_second_for_its_stream(denied: bool) -> None:
    """A request waits for another owner's stream as long as for an absent stream.

    Otherwise, the time of the response would tell a client that the stream exists.
    """
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
async def test_live_stream_limit_is_immediate() -> None:
    """G9: starts of the same moment respect the limit. An end or a failed start frees a place."""
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
async def test_accepted_start_runs_during_a_drain() -> None:
    """G8: during a drain, an accepted start still calls its source, because nobody else would."""
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
async def test_waiting_start_does_not_delay_a_stop() -> None:
    """G8, G12: a start that waits for the store is cancelled when its worker stops."""
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


@in_virtual_time
async def test_a_log_has_no_source_and_no_writer(caplog: pytest.LogCaptureFixture) -> None:
    """The error is not ``NotClaimed``, which callers ignore if another writer does the work."""
    async with one_worker() as worker:
        streams = worker.streams
        await streams.create("log", kind="log")
        with pytest.raises(StreamConflict, match=r"is a log.*post\(\)") as started:
            await streams.start("log", ScriptedSource())
        assert not isinstance(started.value, NotClaimed)
        assert "the start of stream 'log' failed" in caplog.text
        with pytest.raises(StreamConflict, match=r"is a log.*post\(\)"):
            async with streams.write("log"):
                pass
