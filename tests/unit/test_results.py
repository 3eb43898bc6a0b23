"""A source's last result is stored with the stream's end if the writer lives (G5)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from inkstream import (
    JSON,
    End,
    InvalidMessage,
    MessageTooLarge,
    Result,
    Status,
    StreamBody,
    StreamError,
    StreamId,
    Timing,
    WriterFenced,
)
from inkstream.engine.generation import Append
from inkstream.testing import in_virtual_time
from tests.simulation.cluster import Cluster, Worker, cluster, one_worker

USAGE: dict[str, JSON] = {"tokens": 12}
S = StreamId("s")


class Answer:
    """A source that yields results, waits for ``go_on``, and then raises ``then``, if given."""

    def __init__(self, then: Any = None) -> None:
        self.given = asyncio.Event()
        self.go_on = asyncio.Event()
        self._then = then

    async def __call__(self) -> AsyncIterator[str | Result]:
        yield Result({"tokens": 1})
        yield "so far"
        yield Result(USAGE)
        self.given.set()
        await self.go_on.wait()
        if self._then is not None:
            raise self._then


async def writing(worker: Worker, source: Any, **settings: Any) -> None:
    await worker.streams.create("s", **settings)
    worker.streams.start("s", source)
    if isinstance(source, Answer):
        await source.given.wait()
    await asyncio.sleep(0.5)


async def ended(worker: Worker) -> StreamBody:
    """Return the stream after it has ended and its writer has had time to add a result."""
    await asyncio.sleep(20)
    return await worker.streams.read("s")


def told(body: StreamBody) -> tuple[str, str | None, JSON]:
    assert body.end is not None
    return body.status.value, body.end.code, body.end.result


@pytest.mark.parametrize(
    ("then", "expected"),
    [
        (None, ("done", None, USAGE)),
        (RuntimeError("no"), ("error", "internal", USAGE)),
        (StreamError("Later.", code="busy"), ("error", "busy", USAGE)),
        (StreamError("Later.", code="busy", result=0), ("error", "busy", 0)),
        (asyncio.CancelledError(), ("error", "internal", USAGE)),
    ],
)
@in_virtual_time
async def test_end_keeps_the_last_result(
    then: BaseException | None, expected: tuple[Any, ...]
) -> None:
    async with one_worker() as worker:
        answer = Answer(then)
        answer.go_on.set()
        await writing(worker, answer)
        assert told(await ended(worker)) == expected


@pytest.mark.parametrize("timing", [Timing(idle_s=3), Timing(total_s=3)])
@in_virtual_time
async def test_a_timeout_keeps_the_result(timing: Timing) -> None:
    async with one_worker(timing=timing) as worker:
        await writing(worker, Answer())
        assert told(await ended(worker))[::2] == ("timeout", USAGE)


@in_virtual_time
async def test_a_drain_keeps_the_result() -> None:
    """G8: an answer that a drain ends keeps its result."""
    async with one_worker() as worker:
        await writing(worker, Answer())
        await worker.engine.drain(0)
        assert told(await ended(worker)) == ("error", "shutdown", USAGE)


@in_virtual_time
async def test_result_is_kept_through_an_outage() -> None:
    """G12: a result that the source yielded before an outage is stored after the outage."""

    async def source() -> AsyncIterator[str | Result]:
        yield Result(USAGE)
        while True:
            yield "more"
            await asyncio.sleep(0.1)

    async with one_worker(timing=Timing(patience_s=3)) as worker:
        await writing(worker, source)
        worker.store.away = True
        await asyncio.sleep(10)
        worker.store.away = False
        assert told(await ended(worker)) == ("error", "store_unavailable", USAGE)


@pytest.mark.parametrize("elsewhere", [False, True])
@pytest.mark.parametrize("hints", [False, True])
@in_virtual_time
async def test_a_stop_keeps_the_result(elsewhere: bool, hints: bool) -> None:
    """G5: ``on_end`` gets the result of a stopped stream, and readers do not get it."""
    async with cluster() as made:
        here, there = await made.add(reports=True), await made.add(reports=True)
        here.notifier.lose = there.notifier.lose = 0.0 if hints else 1.0
        await writing(here, Answer())
        readers = [await worker.engine.readers.open(S, None) for worker in (here, there)]
        await (there if elsewhere else here).streams.cancel("s")
        for reader in readers:
            while reader.end is None:
                await reader.segments()
            assert reader.end == End(Status.CANCELLED)
            reader.close()
        body = await ended(there)
        assert told(body) == ("cancelled", None, USAGE)
        assert [told(heard) for heard in made.ended] == [told(body)]
        late = [item async for item in there.streams.follow("s")]
        assert late == ["so far", End(Status.CANCELLED)], "late readers see the same end"


async def gives_late() -> AsyncIterator[str | Result]:
    yield "so far"
    try:
        await asyncio.sleep(1000)
    finally:
        await asyncio.sleep(0.3)  # for example, the source asks its provider for the answer's cost
        yield Result(USAGE)


async def returns_late(append: Append) -> JSON:
    await append("so far")
    try:
        await asyncio.sleep(1000)
    except asyncio.CancelledError:
        await asyncio.sleep(0.3)
    return USAGE


@pytest.mark.parametrize("source", [gives_late, returns_late])
@pytest.mark.parametrize("elsewhere", [False, True])
@in_virtual_time
async def test_result_after_cancellation_is_kept(source: Any, elsewhere: bool) -> None:
    async with cluster() as made:
        here, there = await made.add(reports=True), await made.add(reports=True)
        await writing(here, source)
        await (there if elsewhere else here).streams.cancel("s")
        body = await ended(there)
        assert (told(body), body.text) == (("cancelled", None, USAGE), "so far")
        assert [told(heard)[2] for heard in made.ended] == [USAGE]


Heard = asyncio.Queue[StreamBody]


async def two_workers(made: Cluster) -> tuple[Worker, Worker, Heard]:
    heard = Heard()
    here, there = [await made.add(on_end=heard.put) for _ in range(2)]
    return here, there, heard


async def stopped_and_heard(stopper: Worker, heard: Heard) -> tuple[float, StreamBody]:
    """Stop the stream. Return the time until the call of ``on_end``, and this call's argument."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    await stopper.streams.cancel("s")
    body = await heard.get()
    return loop.time() - began, body


async def without_result() -> AsyncIterator[str]:
    yield "so far"
    await asyncio.sleep(1000)


@in_virtual_time
async def test_on_end_waits_for_a_living_writer() -> None:
    async with cluster() as made:
        here, there, heard = await two_workers(made)
        await writing(here, without_result)
        waited_s, body = await stopped_and_heard(there, heard)
        assert waited_s < 0.5
        assert body.end == End(Status.CANCELLED)


@in_virtual_time
async def test_on_end_waits_two_seconds_at_most() -> None:
    """``on_end`` waits at most 2 s for a paused writer, which adds its result when it resumes."""
    async with cluster() as made:
        here, there, heard = await two_workers(made)
        await writing(here, Answer())
        here.store.pause()
        waited_s, body = await stopped_and_heard(there, heard)
        assert waited_s <= 2.5
        assert body.end == End(Status.CANCELLED)
        await asyncio.sleep(1)
        here.store.resume()
        assert told(await ended(there)) == ("cancelled", None, USAGE)


@in_virtual_time
async def test_living_writer_adds_its_result_after_a_timeout() -> None:
    """G7: a living writer adds its result even if another process ended the stream ``timeout``."""
    async with cluster() as made:
        here, there = await made.add(), await made.add()
        await writing(here, Answer())
        here.store.pause()
        here.store.inner.database.release_lock(here.name)
        await there.streams.wait("s")
        here.store.resume()
        assert told(await ended(there)) == ("timeout", "writer_lost", USAGE)


@in_virtual_time
async def test_stopped_job_keeps_its_result() -> None:
    async with cluster() as made:
        here, there = await made.add(), await made.add()
        await here.streams.create("s")
        async with here.streams.write("s") as writer:
            writer.result = {"tokens": 1}
            await writer.append("so far")
            await writer.flush()
            await there.streams.cancel("s")
            writer.result = USAGE
            await asyncio.sleep(5)
            with pytest.raises(WriterFenced):
                await writer.append("more")
        assert told(await ended(there)) == ("cancelled", None, USAGE)


@in_virtual_time
async def test_takeover_drops_the_old_result() -> None:
    """G3: after a take-over, the result of the earlier writer is not stored."""
    async with cluster() as made:
        here, there = await made.add(), await made.add()
        await writing(here, Answer(), takeover_within_s=30)
        here.store.pause()
        here.store.inner.database.release_lock(here.name)
        await asyncio.sleep(3)
        async with there.streams.write("s", takeover=True):
            here.store.resume()
            await asyncio.sleep(5)
        assert told(await ended(there)) == ("done", None, None)


@in_virtual_time
async def test_invalid_result_raises_in_the_source() -> None:
    async with one_worker() as worker:
        await worker.streams.create("s")
        async with worker.streams.write("s") as writer:
            with pytest.raises(InvalidMessage, match="object"):
                writer.result = {"when": object()}  # type: ignore[dict-item]
            with pytest.raises(MessageTooLarge, match=r"a result of .* bytes"):
                writer.result = {"log": "x" * (1024 * 1024)}
            writer.result = USAGE
        assert told(await ended(worker)) == ("done", None, USAGE)
