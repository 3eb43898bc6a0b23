"""With ``on_disconnect="cancel"``, a stream without readers in any process is cancelled (G6)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from inkstream import Timing
from inkstream.facade.handles import Following
from inkstream.testing import ScriptedSource, in_virtual_time
from tests.simulation.cluster import Worker, cluster, one_worker

GRACE_S = 10.0
TIMING = Timing(disconnect_grace_s=GRACE_S)


async def started(worker: Worker) -> ScriptedSource:
    source = ScriptedSource()
    await worker.streams.create("s")
    worker.streams.start("s", source, on_disconnect="cancel")
    await source.send("a")
    return source


async def follow(worker: Worker) -> Following:
    following = worker.streams.follow("s")
    assert await anext(following) == "a"
    return following


@contextlib.asynccontextmanager
async def two(
    hints_lost: float = 0.0, timing: Timing = TIMING
) -> AsyncIterator[tuple[Worker, Worker]]:
    """Run two workers, whose hints get lost with the probability ``hints_lost``."""
    async with cluster() as made:
        here, there = await made.add(timing=timing), await made.add(timing=timing)
        here.notifier.lose = there.notifier.lose = hints_lost
        yield here, there


def is_asked(worker: Worker) -> bool:
    """Return whether ``due_at`` is set: a worker asks whether anybody still reads the stream."""
    [stream] = worker.store.inner.database._streams._by_name.values()
    return stream.snapshot().due_at is not None


@pytest.mark.parametrize("away", [False, True])
@in_virtual_time
async def test_last_reader_gone_cancels_the_stream(away: bool) -> None:
    """G6: the stream is cancelled after ``disconnect_grace_s``, even if the store is away then."""
    async with one_worker(timing=TIMING) as worker:
        source = await started(worker)
        following = await follow(worker)
        await asyncio.sleep(60)
        assert not source.closed.is_set(), "the stream has a reader"
        await following.aclose()
        await asyncio.sleep(GRACE_S - 1)
        again = await follow(worker)
        await asyncio.sleep(GRACE_S - 1)
        assert not source.closed.is_set(), "the reader came back in time"
        await again.aclose()
        if away:
            worker.store.away = True
            await asyncio.sleep(GRACE_S + 2)
            worker.store.away = False
        await asyncio.wait_for(source.closed.wait(), GRACE_S + 2)
        assert (await worker.streams.wait("s")).status == "cancelled"


@pytest.mark.parametrize("hints_lost", [0.0, 1.0])
@pytest.mark.parametrize("grace_s", [GRACE_S, 0.5])
@in_virtual_time
async def test_reader_in_another_process_keeps_the_stream(
    hints_lost: float, grace_s: float
) -> None:
    """G6: a reader in another process keeps the stream alive until this reader leaves."""
    timing = Timing(disconnect_grace_s=grace_s)
    async with two(hints_lost, timing) as (here, there):
        source = await started(here)
        following = await follow(there)
        await asyncio.sleep(10 * GRACE_S)
        assert not source.closed.is_set(), "the stream has a reader"
        await source.send("b")
        assert await anext(following) == "b"
        left_at = asyncio.get_running_loop().time()
        await following.aclose()
        await asyncio.wait_for(source.closed.wait(), 3 * GRACE_S)
        took_s = asyncio.get_running_loop().time() - left_at
        shortest_s = max(grace_s, 2 * timing.poll_s)
        assert shortest_s - timing.poll_s - 1 <= took_s <= 2 * shortest_s + 1
        assert (await there.streams.wait("s")).status == "cancelled"


@in_virtual_time
async def test_reloading_reader_keeps_the_stream() -> None:
    """G6: a page that reloads often keeps its stream, even if each time another process answers."""
    async with cluster() as made:
        workers = [await made.add(timing=TIMING) for _ in range(4)]
        source = await started(workers[0])
        for turn in range(40):
            following = await follow(workers[turn % 4])
            await asyncio.sleep(turn % 7)
            await following.aclose()
            await asyncio.sleep(GRACE_S - 3)
            assert not source.closed.is_set()
        await asyncio.wait_for(source.closed.wait(), 3 * GRACE_S)


@in_virtual_time
async def test_source_ends_while_due_at_is_set() -> None:
    """G5: a stream ends ``done`` if its source ends while the worker still waits for a reader."""
    async with two() as (here, there):
        source = await started(here)
        await asyncio.sleep(GRACE_S / 2)
        assert is_asked(here)
        await source.send("b")
        await source.finish()
        body = await there.streams.wait("s")
        assert (body.status, body.text) == ("done", "ab")
        await asyncio.sleep(3 * GRACE_S)
        assert (await there.streams.read("s")).status == "done"
