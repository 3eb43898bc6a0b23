"""If a database has lost text that readers have, the readers are disconnected (G1, G10)."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from inkstream import End, OffsetGone, OutcomeUnknown, Status, StreamId, WriterFenced
from inkstream._types import Refused
from inkstream.engine.reader import Reader, ReaderSentAway
from inkstream.testing import ScriptedSource, in_virtual_time
from tests.simulation.cluster import Cluster, Worker, cluster

S = StreamId("s")


def rewind(made: Cluster, tail: int, **state: object) -> None:
    made.database.after = None  # otherwise ``Witness`` would report the loss
    stream = made.database._streams._by_name[S]
    del stream.segments[tail:]
    stream.tail = tail
    stream.state = replace(stream.state, tail=tail, **state)  # type: ignore[arg-type]


async def follow(worker: Worker) -> tuple[Reader, asyncio.Task[None]]:
    """Read three messages. Return the reader, and a task that reads to the end of the stream."""
    reader = await worker.engine.readers.open(S, None)
    while reader.position < 3:
        await reader.segments()

    async def wait() -> None:
        while reader.end is None:
            await reader.segments()

    return reader, asyncio.create_task(wait())


async def fill(made: Cluster, worker: Worker) -> None:
    await worker.streams.create("s")
    writer = await worker.engine.claims.claim(S)
    for piece in ("a", "b", "c"):
        await writer.append(piece)
        await writer.flush()


@pytest.mark.parametrize("how", ["streaming", "ended", "ended and told"])
@in_virtual_time
async def test_readers_of_lost_text_are_disconnected(how: str) -> None:
    """Readers of lost text get no terminal event, and afterwards their offset is refused."""
    async with cluster() as made:
        here, there = await made.add(), await made.add()
        await fill(made, here)
        reader, following = await follow(there)
        here.kill()
        rewind(made, 1)
        if how != "streaming":
            stream = made.database._streams._by_name[S]
            end = {"status": Status.TIMEOUT, "worker": None, "ended_at": made.clock.wall()}
            stream.state = replace(stream.state, **end)  # type: ignore[arg-type]
        if how == "ended and told":
            there.engine._tails.hint([S])
        with pytest.raises(ReaderSentAway):
            await asyncio.wait_for(following, 5)
        assert reader.end is None
        with pytest.raises(OffsetGone):
            await there.engine.readers.open(S, reader.offset)
        reader.close()
        assert (await there.streams.wait("s")).text == "a"
        there.assert_nothing_kept()


@in_virtual_time
async def test_slow_reader_gets_no_lost_text() -> None:
    async with cluster() as made:
        here, there = await made.add(), await made.add()
        await fill(made, here)
        reader, following = await follow(there)
        slow = await there.engine.readers.open(S, None)
        here.kill()
        rewind(made, 0)
        with pytest.raises(ReaderSentAway):
            await asyncio.wait_for(following, 5)
        with pytest.raises(ReaderSentAway):
            await slow.segments()
        for each in (reader, slow):
            each.close()


@in_virtual_time
async def test_writer_with_lost_text_stops() -> None:
    """G3: after a loss, the store refuses the writer's next commit, and no reader hangs."""
    async with cluster() as made:
        here = await made.add()
        await here.streams.create("s")
        writer = await here.engine.claims.claim(S)
        for piece in ("a", "b", "c"):
            await writer.append(piece)
            await writer.flush()
        reader, following = await follow(here)
        rewind(made, 1)
        await writer.append("d")
        with pytest.raises(WriterFenced, match="the database lost text of the stream"):
            await writer.flush()
        with pytest.raises(ReaderSentAway):
            await asyncio.wait_for(following, 5)
        reader.close()


@in_virtual_time
async def test_a_start_after_a_loss_calls_no_source() -> None:
    """G4: if the writer's process starts the stream again after a loss, no source is called."""
    async with cluster() as made:
        here = await made.add()
        first, second = ScriptedSource(), ScriptedSource()
        await here.streams.create("s")
        here.streams.start("s", first)
        for piece in ("a", "b", "c"):
            await first.send(piece)
            await asyncio.sleep(1)  # the piece is stored
        rewind(made, 1)
        await first.send("d")
        await asyncio.sleep(1)  # the writer is fenced
        here.streams.start("s", second)
        await asyncio.sleep(1)
        assert not second.calls
        body = await asyncio.wait_for(here.streams.wait("s"), 30)
        assert (body.text, body.end and body.end.code) == ("a", "writer_lost")


@in_virtual_time
async def test_a_start_after_a_cancelled_claim_calls_its_source() -> None:
    """G4: a claim was cancelled and its outcome was lost, so nobody has written the stream yet."""
    async with cluster() as made:
        here = await made.add()
        await here.streams.create("s")
        first, second = ScriptedSource(), ScriptedSource()
        cancelled = here.streams.start("s", first)
        commit = here.store.inner.commit

        async def lost(*args: Any, **kwargs: Any) -> None:
            await commit(*args, **kwargs)
            cancelled.cancel()
            await asyncio.sleep(0.01)
            raise OutcomeUnknown("lost")

        here.store.inner.commit = lost  # type: ignore[method-assign, assignment]
        await asyncio.sleep(1)
        here.store.inner.commit = commit  # type: ignore[method-assign]
        here.streams.start("s", second)
        await second.send("whole")
        await second.finish()
        body = await asyncio.wait_for(here.streams.wait("s"), 30)
        assert (body.text, body.status, first.calls) == ("whole", "done", 0)


@in_virtual_time
async def test_a_start_after_a_second_claim_and_a_loss_calls_no_source() -> None:
    """G4: the outcome of a claim that this process did not need is lost, and later text is lost."""
    async with cluster() as made:
        here = await made.add()
        await here.streams.create("s")
        commit = here.store.inner.commit

        async def lost(*args: Any, **kwargs: Any) -> Any:
            outcomes = await commit(*args, **kwargs)
            if any(isinstance(outcome, Refused) for outcome in outcomes):
                raise OutcomeUnknown("lost")
            return outcomes

        here.store.inner.commit = lost  # type: ignore[method-assign]
        here.store.latency_s = 0.2
        first = asyncio.create_task(here.engine.claims.claim(S))
        await asyncio.sleep(0.1)
        second = asyncio.create_task(here.engine.claims.claim(S))
        writer = await first
        with pytest.raises(OutcomeUnknown):
            await second
        here.store.latency_s = 0.0
        for piece in ("a", "b", "c"):
            await writer.append(piece)
            await writer.flush()
        rewind(made, 1)
        await writer.append("d")
        with pytest.raises(WriterFenced):
            await writer.flush()
        source = ScriptedSource()
        here.streams.start("s", source)
        await asyncio.sleep(1)
        assert not source.calls


@in_virtual_time
async def test_late_state_is_not_a_loss() -> None:
    """G2: a worker that reads an old state after a newer commit does not see a loss of text."""
    async with cluster() as made:
        here, there = await made.add(), await made.add()
        here.store.latency_s = there.store.latency_s = 0.5
        await here.streams.create("s")
        writer = await here.engine.claims.claim(S)
        readers = [await worker.engine.readers.open(S, None) for worker in (here, there)]

        async def read(reader: Reader) -> str:
            text = ""
            while reader.end is None:
                text += "".join(s.payload.decode() for s in await reader.segments())
            reader.close()
            return text

        reading = [asyncio.create_task(read(reader)) for reader in readers]
        for number in range(100):
            await writer.append(f"{number} ")
            await asyncio.sleep(0.1)
            here.engine._tails.hint(None)
            there.engine._tails.hint([S])
        await here.engine.writers.finish(writer, End(Status.DONE))
        whole = "".join(f"{number} " for number in range(100))
        assert await asyncio.gather(*reading) == [whole, whole]
