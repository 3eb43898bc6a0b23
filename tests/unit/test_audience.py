"""Answers that stop when nobody reads them, and readers in other processes (G6)."""

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
    """Start a stream that stops with its readers, and has some text."""
    source = ScriptedSource()
    await worker.streams.create("s")
    worker.streams.start("s", source, on_disconnect="cancel")
    await source.send("a")
    return source


async def follow(worker: Worker) -> Following:
    """Return a follower that has seen that text, and waits for more."""
    following = worker.streams.follow("s")
    assert await anext(following) == "a"
    return following


@contextlib.asynccontextmanager
async def two(
    hints_lost: float = 0.0, timing: Timing = TIMING
) -> AsyncIterator[tuple[Worker, Worker]]:
    """Give two workers whose hints get lost, each as likely."""
    async with cluster() as made:
        here, there = await made.add(timing=timing), await made.add(timing=timing)
        here.notifier.lose = there.notifier.lose = hints_lost
        yield here, there


def is_asked(worker: Worker) -> bool:
    """Tell if the stream is to end, unless a reader objects."""
    [stream] = worker.store.inner.database._streams._by_name.values()
    return stream.snapshot().due_at is not None


@pytest.mark.parametrize("away", [False, True])
@in_virtual_time
async def test_the_last_reader_gone_cancels_where_that_was_asked_for(away: bool) -> None:
    """G6: after its grace, and also when the store was away just then."""
    async with one_worker(timing=TIMING) as worker:
        source = await started(worker)
        following = await follow(worker)
        await asyncio.sleep(60)
        assert not source.closed.is_set(), "a reader is there"
        await following.aclose()
        await asyncio.sleep(GRACE_S - 1)
        again = await follow(worker)
        await asyncio.sleep(GRACE_S - 1)
        assert not source.closed.is_set(), "it came back in time"
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
async def test_a_reader_in_another_process_is_a_reader(hints_lost: float, grace_s: float) -> None:
    """G6: however long it stays, and it is noticed when it goes."""
    timing = Timing(disconnect_grace_s=grace_s)
    async with two(hints_lost, timing) as (here, there):
        source = await started(here)
        following = await follow(there)
        await asyncio.sleep(10 * GRACE_S)
        assert not source.closed.is_set(), "a reader is there"
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
async def test_a_reader_that_moves_from_process_to_process_is_a_reader() -> None:
    """G6: as with a page that is loaded again and again behind a load balancer."""
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
async def test_a_question_is_nothing_to_an_answer_that_ends() -> None:
    """G5: it stood when the source came to its end."""
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
