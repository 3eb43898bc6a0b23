"""G2, G3, G5: if a stream lost messages, the readers of other streams stay connected."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable

import pytest

from inkstream import wire
from inkstream._errors import OffsetGone, WriterFenced
from inkstream._types import Change, Group, Query, StreamId
from inkstream.engine.reader import ReaderSentAway
from inkstream.stores.memory import MemoryDatabase
from inkstream.testing.virtual_time import in_virtual_time
from tests.simulation.cluster import Worker, cluster
from tests.simulation.witness import flat

S = StreamId("s")
OTHER = StreamId("other")


def back_up(database: MemoryDatabase) -> Callable[[], None]:
    """Return a function that restores the streams and the generation as they are now."""
    streams = database._streams
    kept = ("_last_id", "_by_id", "_by_name", "_live_of", "_unmerged", "generation")
    saved = copy.deepcopy({name: getattr(streams, name) for name in kept})

    def restore() -> None:
        for name, value in saved.items():
            setattr(streams, name, value)

    return restore


@pytest.mark.parametrize("grown", [False, True])
@in_virtual_time
async def test_only_rewound_streams_disconnect(grown: bool) -> None:
    """Workers notice that a stream lost messages, even if it has grown again in the meantime."""
    async with cluster() as made:
        here, there = await made.add(), await made.add()
        for name in (S, OTHER):
            await here.streams.create(name)
        writer = await here.engine.claims.claim(S)
        other = await here.engine.claims.claim(OTHER)
        await writer.append("A1 ")
        await other.append("kept")
        await writer.flush()
        await other.flush()
        restore = back_up(here.store.inner.database)
        for text in ("A2 ", "A3 "):
            await writer.append(text)
            await writer.flush()
        readers = [await worker.engine.readers.open(S, None) for worker in (here, there)]
        bystander = await there.engine.readers.open(OTHER, None)
        assert [flat(await reader.segments()) for reader in readers] == ["A1 A2 A3 "] * 2
        assert flat(await bystander.segments()) == "kept"
        offset = readers[0].offset
        waits = [asyncio.ensure_future(reader.segments()) for reader in readers]
        waiting = asyncio.ensure_future(bystander.segments())
        await asyncio.sleep(0)

        here.store.inner.database.after = None  # otherwise ``Witness`` would report the loss
        restore()
        here.store.inner.database.draw()
        if grown:
            await grow(there)
        for wait in waits:
            with pytest.raises(ReaderSentAway):
                await asyncio.wait_for(wait, 5.0)
        for reader in readers:
            reader.close()
        with pytest.raises(WriterFenced):  # noqa: PT012  (append or flush raises)
            await writer.append("A4 ")
            await writer.flush()
        for worker in (here, there):
            with pytest.raises(OffsetGone):
                await worker.engine.readers.open(S, offset)
        await other.append(" on")
        await other.flush()
        assert flat(await asyncio.wait_for(waiting, 5.0)) == " on"
        bystander.close()


async def grow(worker: Worker) -> None:
    """Append more messages to the restored stream than the stream has lost."""
    (state,) = await worker.store.find(Query(stream_ids=(S,)))
    segments = wire.encode_messages(["B"], 0)
    change = Change(internal_id=state.internal_id, append=segments[0], next_epoch=True)
    await worker.store.commit([Group((change,))] * 4)


@in_virtual_time
async def test_needless_new_generation_disconnects_nobody() -> None:
    async with cluster() as made:
        here, there = await made.add(), await made.add()
        await here.streams.create(S)
        writer = await here.engine.claims.claim(S)
        readers = [await worker.engine.readers.open(S, None) for worker in (here, there)]
        got = ["", ""]
        for n in range(5):
            await writer.append(f"{n} ")
            await writer.flush()
            here.store.inner.database.draw()
            await asyncio.sleep(3.0)
            for at, reader in enumerate(readers):
                got[at] += flat(await reader.segments())
        assert got == ["0 1 2 3 4 "] * 2
        offsets = [reader.offset for reader in readers]
        assert offsets[0] == offsets[1]
        for reader in readers:
            reader.close()
