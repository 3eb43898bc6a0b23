"""A late read or commit of a deleted stream does not affect a new stream with its id (G3, G10)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from inkstream import End, Status, StreamId, WriterFenced
from inkstream.engine.writer import Writer
from inkstream.testing import in_virtual_time
from tests.simulation.cluster import Worker, one_worker
from tests.simulation.witness import flat

S = StreamId("s")


async def claim(worker: Worker) -> Writer:
    await worker.streams.create(S)
    return await worker.engine.claims.claim(S)


@in_virtual_time
async def test_page_of_a_deleted_stream_is_not_used() -> None:
    """G10: ``open`` ignores the page that ``look`` read before the stream was created anew."""
    async with one_worker() as worker:
        writer = await claim(worker)
        await writer.append("old")
        await worker.engine.writers.finish(writer, End(Status.DONE))
        _, page = await worker.engine.readers.look(S, None)
        await worker.streams.delete(S)
        writer = await claim(worker)
        await writer.append("new")
        await writer.flush()
        tail = worker.engine._tails.get(S)
        reader = await worker.engine.readers.open(S, None, page)
        assert reader.tail is tail
        assert flat(await reader.segments()) == "new"
        reader.close()
        await worker.engine.writers.finish(writer, End(Status.DONE))


@in_virtual_time
async def test_late_read_does_not_change_a_new_stream() -> None:
    """G3, G10: a late read of a deleted stream does not change the new stream with its id."""
    async with one_worker() as worker:
        writer = await claim(worker)
        await writer.append("old")
        await worker.engine.writers.finish(writer, End(Status.DONE))
        late = await worker.store.read(S, 0, 1000)
        await worker.streams.delete(S)
        read, arrives = worker.store.read, asyncio.Event()

        async def read_late(*args: Any, **options: Any) -> Any:
            worker.store.read = read  # type: ignore[method-assign]
            await arrives.wait()
            return late

        worker.store.read = read_late  # type: ignore[method-assign]
        opening = asyncio.create_task(worker.engine.readers.open(S, None))
        await asyncio.sleep(0)
        writer = await claim(worker)
        await writer.append("new")
        await writer.flush()
        arrives.set()
        reader = await opening
        assert flat(await reader.segments()) == "new"
        reader.close()
        await writer.append(", and on")
        await worker.engine.writers.finish(writer, End(Status.DONE))
        assert (await worker.streams.read(S)).text == "new, and on"


@in_virtual_time
async def test_late_claim_of_a_deleted_stream_is_refused() -> None:
    """G3: if a claim returns after its stream was deleted, the writer's first append is refused."""
    async with one_worker() as worker:
        await worker.streams.create(S)
        commit, arrives = worker.store.commit, asyncio.Event()

        async def answer_late(*args: Any, **options: Any) -> Any:
            worker.store.commit = commit  # type: ignore[method-assign]
            outcomes = await commit(*args, **options)
            await arrives.wait()
            return outcomes

        worker.store.commit = answer_late  # type: ignore[method-assign]
        claiming = asyncio.create_task(worker.engine.claims.claim(S))
        await asyncio.sleep(1)
        await worker.streams.delete(S)
        await worker.streams.create(S)
        reader = await worker.engine.readers.open(S, None)
        arrives.set()
        with pytest.raises(WriterFenced):
            await (await claiming).append("too late")
        writer = await worker.engine.claims.claim(S)
        await writer.append("new")
        await writer.flush()
        assert flat(await reader.segments()) == "new"
        reader.close()
        await worker.engine.writers.finish(writer, End(Status.DONE))
