"""A late read or commit, which lacks the newest generation, causes no wrong offset (G10)."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from inkstream import End, Status, StreamId
from inkstream._types import Change, Group, StreamState
from inkstream.testing import in_virtual_time
from inkstream.wire import Offset, encode_messages
from tests.simulation.cluster import Cluster, Worker, cluster

S = StreamId("s")


async def stored(worker: Worker) -> StreamState:
    return (await worker.store.read(S, 0, 0)).state


def append(made: Cluster, state: StreamState, text: str) -> None:
    """Append in a new generation, as a writer in another process would."""
    made.database.draw()
    (segment,) = encode_messages([text], state.tail)
    change = Change(internal_id=state.internal_id, if_epoch=state.epoch, append=segment)
    made.database._streams.apply(Group((change,)))


@in_virtual_time
async def test_a_claim_has_the_run_of_the_last_append() -> None:
    """The old writer's last append may commit after the new writer has read the stream's state."""
    async with cluster() as made:
        made.database.after = None  # ``Witness`` would report an append outside a store
        here, there = await made.add(), await made.add()
        await here.streams.create("s", takeover_within_s=60)
        old = await here.engine.claims.claim(S)
        await old.append("old ")
        await old.flush()
        state = await stored(there)
        here.kill()
        await asyncio.sleep(2)

        def late(_: object) -> None:
            there.store.arrives = lambda _: None
            append(made, state, "late ")

        there.store.arrives = late
        await there.engine.claims.claim(S, takeover=True)
        reader = await there.engine.readers.open(S, "now")
        assert reader.position == 2
        assert reader.offset.lies_in(await stored(there))
        reader.close()


@in_virtual_time
async def test_an_uncertain_commit_keeps_its_own_generation() -> None:
    """Text of a commit whose outcome was lost keeps its generation when the stream ends later."""
    async with cluster() as made:
        here, there = await made.add(), await made.add()
        await here.streams.create("s")
        writer = await here.engine.claims.claim(S)
        reader = await here.engine.readers.open(S, None)
        here.store.lose = 1.0
        here.notifier.lose = there.notifier.lose = 1.0
        await writer.append("landed")
        await asyncio.sleep(0.5)  # every attempt reaches the store, and no outcome comes back
        assert (await stored(there)).tail == 1
        here.store.away = True
        made.database.draw()
        end = End(Status.TIMEOUT, "writer_lost", "The writer is lost.")
        await there.engine.changes.end_as_seen(await stored(there), end)
        here.store.away, here.store.lose = False, 0.0
        await reader.segments()
        assert (reader.position, reader.end) == (1, None)
        assert reader.offset.lies_in(await stored(there))
        reader.close()


@in_virtual_time
async def test_a_page_past_the_tail_brings_its_runs() -> None:
    """A reader that catches up from the store may get messages that its tail has not seen yet."""
    async with cluster() as made:
        here, there = await made.add(), await made.add()
        here.notifier.lose = there.notifier.lose = 1.0
        await here.streams.create("s")
        writer = await here.engine.claims.claim(S)
        for piece in ("a", "b"):
            await writer.append(piece)
            await writer.flush()
        reader = await there.engine.readers.open(S, "now")
        late = await there.engine.readers.open(S, replace(reader.offset, position=1))
        late._ahead = []  # as if ``open`` had read no message
        made.database.draw()
        await writer.append("c")
        await writer.flush()
        while late.position < 3 and late.position < reader.tail.position:
            await late.segments()
        assert late.position == 3 > reader.tail.position
        assert Offset.at(late.tail, 3).lies_in(await stored(there))
        for each in (reader, late):
            each.close()


@in_virtual_time
async def test_a_commit_on_an_ended_stream_brings_the_run_of_the_end() -> None:
    """A process may store that ``on_end`` has returned while its tail does not know the end yet."""
    async with cluster() as made:
        here, there = await made.add(), await made.add()
        here.notifier.lose = there.notifier.lose = 1.0
        await here.streams.create("s")
        writer = await here.engine.claims.claim(S)
        await writer.append("a")
        await writer.flush()
        reader = await there.engine.readers.open(S, "now")
        made.database.draw()
        await here.engine.writers.finish(writer, End(Status.DONE))
        ended = await stored(there)
        change = Change(internal_id=ended.internal_id, report=False)
        await there.engine._tails.commit(ended, change)
        assert await reader.segments() == []
        assert reader.end is not None
        assert reader.offset.lies_in(ended)
        reader.close()


@in_virtual_time
async def test_a_late_claim_keeps_the_run_of_the_end() -> None:
    """The outcome of a claim may arrive when this process already knows the stream's end."""
    async with cluster() as made:
        here = await made.add()
        await here.streams.create("s")
        pending = await stored(here)
        reader = await here.engine.readers.open(S, None)
        made.database.draw()
        await here.streams.cancel("s")
        assert await reader.segments() == []
        claimed = replace(pending, status=Status.STREAMING, epoch=pending.epoch + 1)
        writer = here.engine.writers.adopt(claimed)
        assert writer is not None
        assert reader.offset.lies_in(await stored(here))
        writer.fence(None)
        reader.close()
