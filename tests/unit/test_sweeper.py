"""The sweep ends the streams of dead workers, but not of living workers (G5, G7, G12)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from inkstream import Status, StreamId, WriterFenced
from inkstream._types import WorkerState
from inkstream.engine.leases import Leases
from inkstream.testing import ScriptedSource, in_virtual_time
from tests.simulation.cluster import Worker, cluster


async def stream(
    worker: Worker, name: str = "s", takeover_within_s: float | None = None
) -> ScriptedSource:
    source = ScriptedSource()
    await worker.streams.create(name, takeover_within_s=takeover_within_s)
    worker.streams.start(name, source)
    await source.send("so far")
    await asyncio.sleep(1)
    return source


# Dead workers ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("how", "within_s"), [("kill", 2.0), ("lose_host", 15.0)])
@in_virtual_time
async def test_readers_see_a_dead_writer_in_time(how: str, within_s: float) -> None:
    """G7: readers get a stream's end in time, no matter when between two beats the writer dies."""
    for moment in range(4):
        async with cluster(moment) as made:
            here, there = await made.add(), await made.add()
            await stream(here)
            await asyncio.sleep(10 + moment * 0.7)
            reader = await there.engine.readers.open(StreamId("s"), None)
            await reader.segments()
            began = asyncio.get_running_loop().time()
            {"kill": here.kill, "lose_host": here.lose_host}[how]()
            while reader.end is None:
                await reader.segments()
            assert reader.end.status is Status.TIMEOUT
            assert reader.end.code == "writer_lost"
            assert asyncio.get_running_loop().time() - began <= within_s
            reader.close()
            assert (await there.streams.read("s")).text == "so far"


@in_virtual_time
async def test_all_streams_of_a_dead_worker_end_in_time() -> None:
    """G7: all streams of a killed process end within 2 s, even if it had a thousand streams."""
    loop = asyncio.get_running_loop()
    async with cluster() as made:
        here, there = await made.add(), await made.add()
        names = [StreamId(f"s{n}") for n in range(1_000)]
        for name in names:
            await here.streams.create(name)
        await asyncio.gather(*[here.engine.claims.claim(name) for name in names])
        await asyncio.sleep(5)
        began = loop.time()
        here.kill()
        bodies = await asyncio.gather(*[there.streams.wait(name) for name in names])
        assert loop.time() - began <= 2
        assert {body.status for body in bodies} == {"timeout"}


@in_virtual_time
async def test_pauses_and_outages_kill_no_writer() -> None:
    """G7: a writer does not seem dead after an outage, slow calls, a pause or a clock jump."""
    async with cluster() as made:
        here, there = await made.add(), await made.add()
        source = await stream(here)
        for worker in made.workers:  # the database is away for all workers
            worker.store.away = True
        await asyncio.sleep(25)
        for worker in made.workers:
            worker.store.away = False
        await asyncio.sleep(30)
        for worker in made.workers:  # the machine is paused
            worker.store.pause()
        asyncio.get_running_loop().jump(600)  # type: ignore[attr-defined]
        await asyncio.sleep(1)
        there.store.resume()  # the worker that does not write resumes first
        await asyncio.sleep(2)
        here.store.resume()
        await asyncio.sleep(30)
        for seconds in (-86400, 2 * 86400, -86400):
            made.clock.jump_wall(seconds)
            await asyncio.sleep(15)
        for worker in made.workers:
            worker.store.latency_s = 1.0
        await asyncio.sleep(60)
        await source.send(", and on")
        await source.finish()
        body = await there.streams.wait("s")
        assert (body.text, body.status) == ("so far, and on", "done")


@in_virtual_time
async def test_idle_worker_beats_before_it_claims() -> None:
    """G7: an idle worker looks dead to others, so its next claim begins with a beat."""
    async with cluster() as made:
        workers = [await made.add() for _ in range(3)]
        await (await stream(workers[0], "first")).finish()
        await asyncio.sleep(120)
        beats = dict(made.database._workers.beats)
        await asyncio.sleep(60)
        assert made.database._workers.beats == beats, "an idle worker does not beat"
        source = await stream(workers[0], "second")
        await asyncio.sleep(60)
        await source.finish()
        assert (await workers[1].streams.wait("second")).status == "done"


@in_virtual_time
async def test_takeover_from_a_dead_writer() -> None:
    """G7, G3: a dead writer's stream is taken over, or ends after the time for a take-over."""
    async with cluster() as made:
        here, there = await made.add(), await made.add()
        await stream(here, "taken", takeover_within_s=10)
        await stream(here, "abandoned", takeover_within_s=10)
        here.kill()
        await asyncio.sleep(5)
        assert (await there.streams.read("taken")).status == "streaming"
        async with there.streams.write("taken", takeover=True) as writer:
            await writer.append(", and on")
        body = await there.streams.read("taken")
        assert (body.text, body.status) == ("so far, and on", "done")
        body = await asyncio.wait_for(there.streams.wait("abandoned"), 10)
        assert (body.text, body.end and body.end.code) == ("so far", "abandoned")


@in_virtual_time
async def test_living_writer_takes_its_stream_back() -> None:
    """G7, G5: a writer that was taken for dead goes on.

    This holds unless the stream has ended or has another writer.
    """
    async with cluster() as made:
        here, there = await made.add(), await made.add()
        source = await stream(here, takeover_within_s=10)
        here.store.pause()
        here.store.inner.database.release_lock(here.name)
        await asyncio.sleep(5)
        assert (await there.engine.readers.page(StreamId("s"), 0, 0)).state.worker is None
        here.store.resume()
        await source.send(", and on")
        await asyncio.sleep(60)
        await source.send(" to the end")
        await source.finish()
        body = await there.streams.wait("s")
        assert (body.text, body.status) == ("so far, and on to the end", "done")


@in_virtual_time
async def test_old_writer_is_refused_after_a_takeover() -> None:
    """G3: after a take-over, the store refuses the old writer's next text."""
    async with cluster() as made:
        here, there = await made.add(), await made.add()
        await here.streams.create("s", takeover_within_s=10)
        writer = await here.engine.claims.claim(StreamId("s"))
        await writer.append("so far")
        await writer.flush()
        here.store.pause()
        here.store.inner.database.release_lock(here.name)
        await asyncio.sleep(5)
        async with there.streams.write("s", takeover=True) as successor:
            here.store.resume()
            await writer.append(" and not this")
            with pytest.raises(WriterFenced):
                await writer.flush()
            await successor.append(", and on")
        assert (await there.streams.read("s")).text == "so far, and on"


@in_virtual_time
async def test_retried_takeover_reads_the_workers_again() -> None:
    """G7: a take-over succeeds even if another worker has just taken the stream over and died."""
    async with cluster() as made:
        here, there, third = await made.add(), await made.add(), await made.add()
        await here.streams.create("s", takeover_within_s=30)
        await (await here.engine.claims.claim(StreamId("s"))).flush()
        here.kill()
        await asyncio.sleep(2)
        commit = third.store.commit

        async def too_late(*args: Any, **options: Any) -> Any:
            third.store.commit = commit  # type: ignore[method-assign]
            await there.engine.claims.claim(StreamId("s"), takeover=True)
            there.kill()
            return await commit(*args, **options)

        third.store.commit = too_late  # type: ignore[method-assign]
        async with third.streams.write("s", takeover=True) as writer:
            await writer.append("taken over twice")
        assert (await third.streams.read("s")).status == "done"


@in_virtual_time
async def test_stream_of_a_forgotten_worker_ends() -> None:
    """G7: a stream ends even if the store no longer lists its worker."""
    async with cluster() as made:
        here, there = await made.add(), await made.add()
        await here.streams.create("s")
        writer = await here.engine.claims.claim(StreamId("s"))
        await writer.append("so far")
        await writer.flush()
        here.kill()
        made.database._workers.forget(here.name)
        body = await asyncio.wait_for(there.streams.wait("s"), 120)
        assert (body.text, body.end and body.end.code) == ("so far", "writer_lost")


def states(**beats: int) -> list[WorkerState]:
    return [WorkerState(name, count, True) for name, count in beats.items()]


def test_lease_counts_only_timely_reads() -> None:
    """G7: a failed read, a slow read, or a gap between reads starts the time of a lease again."""
    for disturb in ("nothing", "missed", "slow", "gap"):
        leases = Leases("me", lease_s=12.0, timely_s=3.0)
        now, dead = 0.0, []
        for step in range(30):
            now += 1.0
            if step == 10:
                if disturb == "missed":
                    leases.missed()
                    continue
                if disturb == "gap":
                    now += 5.0
            began = now - (4.0 if disturb == "slow" and step == 10 else 0.0)
            dead = leases.observe(states(other=5, me=1), began, now)
            if dead:
                break
        assert dead == ["other"]
        assert now == (13.0 if disturb == "nothing" else pytest.approx(24.0, abs=6.0))
        assert now >= (13.0 if disturb == "nothing" else 22.0)


def test_growing_counter_lives_free_lock_is_dead() -> None:
    """G7: a worker whose counter grows is alive, unless its lock is free."""
    leases = Leases("me", lease_s=12.0, timely_s=3.0)
    for step in range(100):
        assert leases.observe(states(other=step // 5), step, step) == []
    gone = [WorkerState("other", 99, False)]
    assert leases.observe(gone, 100, 100) == ["other"]


@pytest.mark.parametrize("phase_s", [3, 11, 13, 25, 40])
@in_virtual_time
async def test_read_only_database_kills_no_writer(phase_s: float) -> None:
    """G7, G12: if the database takes no writes, no counter grows, but no writer seems dead."""
    async with cluster() as made:
        here, there = await made.add(), await made.add()
        source = await stream(here)
        await asyncio.sleep(20)
        for worker in made.workers:
            worker.store.read_only = True
        await asyncio.sleep(phase_s)
        for worker in (there, here):  # the worker that observes the writer can write first
            worker.store.read_only = False
            await asyncio.sleep(3)
        await asyncio.sleep(30)
        await source.send(", and on")
        await source.finish()
        body = await there.streams.wait("s")
        assert (body.text, body.status) == ("so far, and on", "done")


# Due streams -------------------------------------------------------------------------------------


@in_virtual_time
async def test_expired_stream_is_deleted() -> None:
    async with cluster() as made:
        worker = await made.add()
        for name in ("done", "cancelled", "lost", "kept"):
            await worker.streams.create(name, retain_s=None if name == "kept" else 60)
        for name in ("done", "kept"):
            async with worker.streams.write(name):
                pass
        await worker.streams.cancel("cancelled")
        killed = await made.add()
        await killed.engine.claims.claim(StreamId("lost"))
        killed.kill()
        await asyncio.sleep(50)
        assert len(await worker.streams.read_many(["done", "cancelled", "lost", "kept"])) == 4
        await asyncio.sleep(20)
        assert list(await worker.streams.read_many(["done", "cancelled", "lost", "kept"])) == [
            "kept"
        ]


@in_virtual_time
async def test_sweeper_survives_concurrent_deletes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """G7: a dead worker's streams end although another process deletes some of the streams."""
    async with cluster() as made:
        killed, worker = await made.add(), await made.add()
        other = await made.add()
        for n in range(20):
            await killed.streams.create(f"s{n}")
            await killed.engine.claims.claim(StreamId(f"s{n}"))
        worker.store.latency_s = 0.2
        killed.kill()
        for n in range(0, 20, 2):
            await asyncio.sleep(0.1)
            await other.streams.delete(f"s{n}")
        await asyncio.sleep(5)
        left = await worker.streams.list(limit=100)
        assert {state.status for state in left.streams} == {Status.TIMEOUT}
        assert len(left.streams) == 10
    assert "failed" not in caplog.text
