"""Ends of streams wait for a store that is away, but a stop waits only for a while (G8, G12)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from inkstream import End, Status, StoreUnavailable, StreamId, Timing
from inkstream.engine.reader import ReaderSentAway
from inkstream.engine.settings import FinerLimits
from inkstream.engine.writer import Writer
from inkstream.testing import ScriptedSource, in_virtual_time
from tests.simulation.cluster import Worker, cluster, one_worker


async def claim(worker: Worker, name: str) -> Writer:
    await worker.streams.create(name)
    return await worker.engine.claims.claim(StreamId(name))


@in_virtual_time
async def test_finish_during_an_outage_is_stored_later() -> None:
    """G12, G5: a long outage disconnects readers. Later, accepted text and the end are stored."""
    async with one_worker(timing=Timing(patience_s=3)) as worker:
        writer = await claim(worker, "s")
        await writer.append("seen")
        await writer.flush()
        reader = await worker.engine.readers.open(StreamId("s"), None)
        assert await reader.segments()
        writes = worker.store.commit

        async def refuse(*args: Any, **options: Any) -> Any:
            raise StoreUnavailable("read-only")

        worker.store.commit = refuse  # type: ignore[method-assign]
        await writer.append(", accepted")
        finishing = asyncio.create_task(worker.engine.writers.finish(writer, End(Status.DONE)))
        with pytest.raises(ReaderSentAway):
            await asyncio.wait_for(reader.segments(), 5)
        reader.close()
        with pytest.raises(StoreUnavailable):
            await asyncio.wait_for(finishing, 1)
        with pytest.raises(StoreUnavailable):
            await writer.append("too late")
        worker.store.commit = writes  # type: ignore[method-assign]
        body = await asyncio.wait_for(worker.streams.wait("s"), 5)
        assert (body.text, body.status) == ("seen, accepted", "done")
        worker.assert_nothing_kept()


@in_virtual_time
async def test_end_after_giving_up_is_reported() -> None:
    """G12: if a writer gave up before its end was stored, ``on_end`` is called after the outage."""
    async with cluster() as made:
        worker = await made.add(reports=True, timing=Timing(patience_s=3))
        source = ScriptedSource()
        await worker.streams.create("s")
        worker.streams.start("s", source)
        await source.send("all of it")
        worker.store.away = True
        await source.finish()
        await asyncio.sleep(60)
        assert not made.ended
        worker.store.away = False
        await asyncio.sleep(30)
        assert [(body.text, body.status) for body in made.ended] == [("all of it", "done")]


@in_virtual_time
async def test_stop_is_bounded_while_the_store_is_away() -> None:
    """G8, G12: a stop while the store is away takes limited time and limited memory."""
    async with cluster() as made:
        limits = FinerLimits(buffer_bytes=1000, buffers_bytes=3000)
        here = await made.add(limits=limits, timing=Timing(patience_s=20, shutdown_grace_s=1))
        there = await made.add()
        writers = [await claim(here, str(n)) for n in range(6)]
        here.store.away = True
        appends = [asyncio.create_task(_append_for_ever(writer)) for writer in writers[1:]]
        await writers[0].append("the last text")
        ending = asyncio.create_task(here.engine.writers.finish(writers[0], End(Status.DONE)))
        await asyncio.sleep(10)
        pending = here.engine._committer.room.used
        assert pending <= limits.buffers_bytes + 6 * 100, (
            "each writer may exceed the limit by one message"
        )
        began = asyncio.get_running_loop().time()
        await here.engine.stop()
        assert asyncio.get_running_loop().time() - began <= 10
        done, _ = await asyncio.wait([ending, *appends], timeout=1)
        assert [type(task.exception()) for task in done] == [StoreUnavailable] * 6
        for n in range(6):
            body = await asyncio.wait_for(there.streams.wait(str(n)), 5)
            assert (body.text, body.end and body.end.code) == ("", "writer_lost")


async def _append_for_ever(writer: Writer) -> None:
    while True:
        await writer.append("x" * 100)
