"""An engine drains in time, belongs to one event loop and process, and keeps its limits (G8)."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from inkstream import (
    End,
    Kind,
    Limits,
    NotRunning,
    PersistentTextStreaming,
    ShuttingDown,
    Status,
    StoreUnavailable,
    StreamConflict,
    StreamEnded,
    StreamId,
    StreamNotFound,
    Timing,
    TooManyStreams,
    WriterFenced,
)
from inkstream._types import Group, Outcome
from inkstream.engine.reader import Reader, ReaderSentAway
from inkstream.engine.settings import FinerTiming
from inkstream.testing import ScriptedSource, in_virtual_time
from tests.simulation.cluster import cluster, one_worker

N = 1_000


@in_virtual_time
async def test_drain_ends_a_thousand_readers() -> None:
    """G8: a drain refuses new answers, lets answers finish in the grace time, and ends the rest."""
    loop = asyncio.get_running_loop()
    async with one_worker(timing=Timing(shutdown_grace_s=10)) as worker:
        sources = [ScriptedSource() for _ in range(N)]
        readers: list[Reader] = []
        for n, source in enumerate(sources):
            await worker.streams.create(f"s{n}")
            worker.streams.start(f"s{n}", source)
            readers.append(await worker.engine.readers.open(StreamId(f"s{n}"), None))
        await asyncio.gather(*[source.send("so far") for source in sources])
        began = loop.time()

        async def told(reader: Reader) -> tuple[str, float]:
            while reader.end is None:
                await reader.segments()
            reader.close()
            return str(reader.end.code or reader.end.status), loop.time() - began

        telling = asyncio.gather(*[told(reader) for reader in readers])
        drain = asyncio.create_task(worker.engine.drain())
        await asyncio.sleep(5)
        with pytest.raises(ShuttingDown):
            worker.streams.start("s0", ScriptedSource())
        with pytest.raises(ShuttingDown):
            await worker.engine.claims.claim(StreamId("s0"))
        await asyncio.gather(*[source.finish() for source in sources[: N // 2]])
        await drain
        ends = await telling
        assert [code for code, _ in ends] == ["done"] * (N // 2) + ["shutdown"] * (N // 2)
        assert all(at <= 6 for _, at in ends[: N // 2])
        assert all(10 <= at <= 11 for _, at in ends[N // 2 :])
        assert all(source.closed.is_set() for source in sources)


@in_virtual_time
async def test_drain_disconnects_readers_of_other_workers() -> None:
    """G8, G5: a drain disconnects readers of another worker's streams without a terminal event."""
    async with cluster() as made:
        here, there = await made.add(), await made.add()
        await here.streams.create("s")
        here.streams.start("s", ScriptedSource())
        await asyncio.sleep(1)
        reader = await there.engine.readers.open(StreamId("s"), None)
        reading = asyncio.create_task(reader.segments())
        await asyncio.sleep(1)
        await there.engine.drain()
        with pytest.raises(ReaderSentAway):
            await reading
        with pytest.raises(ShuttingDown):
            await there.engine.readers.open(StreamId("s"), None)
        reader.close()


@pytest.mark.parametrize(("first_s", "second_s"), [(60, 0), (60, 0.5), (5.5, 60)])
@in_virtual_time
async def test_second_drain_never_extends_the_grace(first_s: float, second_s: float) -> None:
    """G8: a second drain, as after Ctrl-C, can shorten the grace time, but does not extend it."""
    loop = asyncio.get_running_loop()
    async with one_worker(timing=Timing(shutdown_grace_s=first_s)) as worker:
        await worker.streams.create("s")
        worker.streams.start("s", ScriptedSource())
        await asyncio.sleep(1)
        began = loop.time()
        drains = [asyncio.create_task(worker.engine.drain())]
        await asyncio.sleep(5)
        assert (await worker.streams.read("s")).end is None
        drains.append(asyncio.create_task(worker.engine.drain(second_s)))
        await asyncio.wait(drains, return_when=asyncio.FIRST_COMPLETED)
        assert loop.time() - began < 6
        body = await worker.streams.read("s")
        assert body.end is not None
        assert body.end.code == "shutdown"
        for task in drains:
            task.cancel()
        await asyncio.wait(drains)


@in_virtual_time
async def test_drain_disconnects_readers_on_a_read_only_store(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """G8, G12: if the store refuses to end streams, a drain raises, and disconnects the readers."""

    async def refuse(*args: object, **options: object) -> None:
        raise StoreUnavailable("read-only")

    async with one_worker() as worker:
        await worker.streams.create("s")
        worker.streams.start("s", ScriptedSource())
        await asyncio.sleep(1)
        reader = await worker.engine.readers.open(StreamId("s"), None)
        reading = asyncio.create_task(reader.segments())
        with monkeypatch.context() as patch:
            patch.setattr(worker.store, "commit", refuse)
            with pytest.raises(TimeoutError):
                await worker.engine.drain(0)
            with pytest.raises(ReaderSentAway):
                await asyncio.wait_for(reading, 1)
        reader.close()


@in_virtual_time
async def test_drain_gives_up_while_the_store_is_away() -> None:
    """G8, G12: a drain ends even if the store is away. Another process then ends the streams."""
    async with cluster() as made:
        here, there = await made.add(timing=Timing(shutdown_grace_s=1)), await made.add()
        await here.streams.create("s")
        here.streams.start("s", ScriptedSource())
        await asyncio.sleep(1)
        here.store.away = True
        began = asyncio.get_running_loop().time()
        await here.streams.__aexit__(None, None, None)
        assert asyncio.get_running_loop().time() - began < 10
        here.streams._running._users = 1  # so that the cluster can stop this instance again
        body = await asyncio.wait_for(there.streams.wait("s"), 5)
        assert (body.status, body.end and body.end.code) == ("timeout", "writer_lost")


# Event loops and processes ------------------------------------------------------------------------


def test_without_asyncio() -> None:
    """Without an asyncio loop, for example in Trio, calls raise ``NotRunning``."""
    streams = PersistentTextStreaming("memory://")
    with pytest.raises(NotRunning, match=r"async def.*inkstream\.sync.*trio"):
        streams.__aenter__().send(None)

    async def use() -> None:
        async with streams:
            for call in (streams.read("s"), streams.create("s")):
                with pytest.raises(NotRunning, match="asyncio"):
                    await asyncio.to_thread(call.send, None)

    asyncio.run(use())


async def test_not_started() -> None:
    streams = PersistentTextStreaming("memory://")
    with pytest.raises(NotRunning, match="lifespan"):
        await streams.create()


def test_one_instance_on_successive_loops() -> None:
    """Starlette's ``TestClient`` runs the same instance on a new event loop for each block."""
    streams = PersistentTextStreaming("memory://", timing=Timing(shutdown_grace_s=0))

    async def use() -> str:
        async with streams:
            return await streams.create("s")

    assert [asyncio.run(use()) for _ in range(2)] == ["s", "s"]


def test_each_start_is_a_new_worker() -> None:
    """G7: each start of an instance is a new worker, which nobody takes for a worker that died."""
    streams = PersistentTextStreaming("memory://", timing=Timing(shutdown_grace_s=0))

    async def use() -> str:
        async with streams:
            return streams.engine.worker

    assert len({asyncio.run(use()) for _ in range(3)}) == 3


def test_loop_closed_while_streams_run() -> None:
    streams = PersistentTextStreaming("memory://", timing=Timing(shutdown_grace_s=0))

    async def start_only() -> None:
        await streams.__aenter__()

    async def use() -> str:
        async with streams:
            return await streams.create("s")

    asyncio.run(start_only())
    assert asyncio.run(use()) == "s"


async def test_second_loop_gets_not_running() -> None:
    async with PersistentTextStreaming("memory://") as streams:

        async def use() -> None:
            await streams.create("s")

        async def start() -> None:
            await streams.__aenter__()

        for attempt in (use, start):
            with pytest.raises(NotRunning, match="another event loop"):
                await asyncio.to_thread(asyncio.run, attempt())


async def test_forked_process_gets_not_running(monkeypatch: pytest.MonkeyPatch) -> None:
    async with PersistentTextStreaming("memory://") as streams:
        pid = os.getpid()
        with monkeypatch.context() as child:
            child.setattr(os, "getpid", lambda: pid + 1)
            with pytest.raises(NotRunning, match="forked"):
                await streams.create("s")
        await streams.create("s")


@in_virtual_time
async def test_the_limit_of_an_owners_live_streams() -> None:
    """The limit counts an owner's live streams on all workers together."""
    async with cluster() as made:
        limits = Limits(live_streams_per_owner=2)
        here, there = await made.add(limits=limits), await made.add(limits=limits)
        first = await here.streams.create(owner="ann")
        await there.streams.create(owner="ann")
        with pytest.raises(TooManyStreams):
            await here.streams.create(owner="ann")
        await here.streams.create(owner="bob")
        await there.streams.cancel(first)
        await here.streams.create(owner="ann")


@pytest.mark.parametrize("limits", [{"readers": 0}, {"buffer_bytes": -1}, {"message_bytes": 1.5}])
def test_limits_are_whole_numbers(limits: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="whole number"):
        Limits(**limits)


@pytest.mark.parametrize(
    "timing",
    [
        {"beat_s": 5.0},
        {"latency_window_s": 0.1},
        {"idle_s": -1.0},
        {"patience_s": float("nan")},
    ],
)
def test_dangerous_times_are_refused(timing: dict[str, float]) -> None:
    """G7: ``FinerTiming`` refuses, for example, a ``beat_s`` that lets living workers seem dead."""
    with pytest.raises(ValueError, match="Timing"):
        FinerTiming(**timing)


# Logs ------------------------------------------------------------------------------------------


@in_virtual_time
async def test_many_write_a_log_and_all_see_it() -> None:
    """G2: a reader on each worker receives all messages that three workers append to a log."""
    async with cluster() as made:
        workers = [await made.add() for _ in range(3)]
        for worker in workers:
            worker.store.latency_s = 0.05
        await workers[0].streams.create("log", kind=Kind.LOG)
        readers = [await worker.engine.readers.open(StreamId("log"), None) for worker in workers]
        late = workers[1].streams.follow("log", "now")
        first = asyncio.ensure_future(anext(late))
        await asyncio.sleep(1)
        await asyncio.gather(
            *[
                worker.streams.post("log", {"from": who, "number": number})
                for number in range(10)
                for who, worker in enumerate(workers)
            ]
        )
        assert await workers[2].streams.close("log") is True
        assert await workers[2].streams.close("log") is False
        body = await workers[0].streams.read("log")
        assert len(body.parts) == 30
        assert await first == body.parts[0]
        await late.aclose()
        for reader in readers:
            count = 0
            while reader.end is None:
                count += sum(segment.count for segment in await reader.segments())
            assert count == 30
            reader.close()
        with pytest.raises(StreamEnded):
            await workers[0].streams.post("log", "too late")


@in_virtual_time
async def test_text_only_and_log_only_calls() -> None:
    async with one_worker() as worker:
        streams = worker.streams
        await streams.create("text")
        await streams.create("log", kind="log")
        with pytest.raises(StreamConflict):
            await streams.post("text", "x")
        with pytest.raises(StreamConflict):
            await streams.close("text")
        with pytest.raises(StreamConflict):
            await streams.cancel("log")
        with pytest.raises(ValueError, match="nothing to append"):
            await streams.post("log", "")
        with pytest.raises(StreamNotFound):
            await streams.cancel("text", owner="somebody else")


def test_concurrent_starts_share_one_engine(tmp_path: Path) -> None:
    """G3: two jobs of a script that enter ``async with`` on one instance share one engine."""
    streams = PersistentTextStreaming(f"sqlite:///{tmp_path}/streams.db")
    used = set()

    async def job(both: asyncio.Barrier) -> None:
        async with streams:
            await both.wait()
            used.add(streams.engine)
            await both.wait()
            await streams.create()

    async def jobs() -> None:
        both = asyncio.Barrier(2)
        await asyncio.gather(job(both), job(both))

    asyncio.run(jobs())
    assert len(used) == 1


@in_virtual_time
async def test_long_log_message_stays_together() -> None:
    """G11: a long log message stays together while another message is appended."""
    async with one_worker() as worker:
        await worker.streams.create("log", kind=Kind.LOG)
        texts = ["a" * 200_000, "b" * 200_000]
        await asyncio.gather(*[worker.streams.post("log", text) for text in texts])
        assert (await worker.streams.read("log")).text in (texts[0] + texts[1], texts[1] + texts[0])


@pytest.mark.parametrize("cancelled", [False, True])
@in_virtual_time
async def test_writer_is_fenced_by_foreign_ends_only(cancelled: bool) -> None:
    """G3, G5: a writer is not fenced by its own end, even if a poll sees this end first."""
    async with cluster() as made:
        here = await made.add()
        await here.streams.create("s")
        writer = await here.engine.claims.claim(StreamId("s"))
        commit = here.engine.store.commit

        async def late(groups: Sequence[Group], **more: Any) -> list[Outcome]:
            outcomes = await commit(groups, **more)
            await asyncio.sleep(5)
            return outcomes

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(here.engine.store, "commit", late)
            if cancelled:
                await here.streams.cancel("s")
            finishing = here.engine.writers.finish(writer, End(Status.DONE))
            if cancelled:
                with pytest.raises(WriterFenced):
                    await finishing
            else:
                await finishing
        body = await here.streams.read("s")
        assert body.status is (Status.CANCELLED if cancelled else Status.DONE)
