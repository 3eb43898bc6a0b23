"""Text is durable before readers see it, and all writers of an engine share commits (G1, G12)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from inkstream import (
    End,
    OutcomeUnknown,
    ShuttingDown,
    Status,
    StoreUnavailable,
    StreamId,
    Timing,
    WriterFenced,
)
from inkstream._types import Committed, Group, Head, Outcome
from inkstream.engine.reader import ReaderSentAway
from inkstream.engine.settings import FinerLimits
from inkstream.engine.writer import Writer
from inkstream.testing import ScriptedSource, in_virtual_time
from tests.simulation.cluster import Worker, cluster, one_worker
from tests.simulation.faults import FaultyStore
from tests.simulation.follower import Follower


async def claim(worker: Worker, name: str) -> Writer:
    await worker.streams.create(name)
    return await worker.engine.claims.claim(StreamId(name))


async def seen(worker: Worker, name: str, offset: str | None = None) -> str:
    text = ""
    try:
        async with asyncio.timeout(1):
            async for item in worker.streams.follow(name, offset):
                if isinstance(item, str):
                    text += item
    except TimeoutError:
        pass
    return text


@in_virtual_time
async def test_nothing_is_shown_before_the_store_has_returned() -> None:
    """G1: readers get a text only after the store has returned from the commit of this text."""
    async with one_worker() as worker:
        writer = await claim(worker, "s")
        worker.store.pause()
        await writer.append("not yet saved")
        assert await seen(worker, "s") == ""
        worker.store.resume()
        assert await seen(worker, "s") == "not yet saved"
        await writer.flush()


@in_virtual_time
async def test_simulation_detects_a_missing_commit() -> None:
    """G1: a simulated reader notices that a store only pretends to commit."""

    async def pretend(
        self: FaultyStore, groups: Sequence[Group], *, connection: object | None = None
    ) -> list[Outcome]:
        return [
            Committed(tuple(Head(change.if_epoch or 0, 1, 1, 1) for change in group.changes))
            for group in groups
        ]

    async with cluster() as made:
        worker = await made.add()
        writer = await claim(worker, "s")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(FaultyStore, "commit", pretend)
            await writer.append("never saved")
            await writer.flush()
        with pytest.raises(AssertionError, match="G1"):
            await Follower("s", made.witness, made.rng, lambda: worker).run()


@in_virtual_time
async def test_one_commit_takes_everything_pending() -> None:
    async with one_worker() as worker:
        writers = [await claim(worker, f"s{i}") for i in range(50)]
        before = len(worker.store.commits)
        for writer in writers:
            await writer.append("a")
            await writer.append("b")
        await asyncio.gather(*[writer.flush() for writer in writers])
        [groups] = worker.store.commits[before:]
        assert len(groups) == 50, "each writer's pieces are one group"
        assert (await worker.streams.read("s7")).text == "ab"


@in_virtual_time
async def test_a_quiet_system_commits_at_once() -> None:
    loop = asyncio.get_running_loop()
    async with one_worker() as worker:
        writer = await claim(worker, "s")
        for _ in range(3):
            await asyncio.sleep(1)
            began = loop.time()
            await writer.append("token")
            await writer.flush()
            assert loop.time() == began, "a quiet system commits without a wait"


async def pace(worker: Worker, streams: int) -> float:
    """Return the mean time between commits while ``streams`` writers append every 4 ms."""
    writers = [await claim(worker, f"s{i}") for i in range(streams)]
    before = len(worker.store.commits)
    for _ in range(300):
        for writer in writers:
            await writer.append("x")
        await asyncio.sleep(0.004)
    return 300 * 0.004 / (len(worker.store.commits) - before)


@pytest.mark.parametrize(("streams", "least_s", "most_s"), [(1, 0.004, 0.007), (700, 0.045, 0.06)])
@in_virtual_time
async def test_window_grows_under_load(streams: int, least_s: float, most_s: float) -> None:
    async with one_worker() as worker:
        assert least_s <= await pace(worker, streams) <= most_s


@in_virtual_time
async def test_lost_commit_is_not_repeated() -> None:
    """G2, G5: if the outcome of a commit is lost, its text is still stored exactly once."""
    async with cluster() as made:
        worker = await made.add()
        source = ScriptedSource()
        await worker.streams.create("s")
        worker.streams.start("s", source)
        await source.send("one ")
        worker.store.lose = 1.0
        await source.send("two ")
        await asyncio.sleep(1)
        worker.store.lose = 0.5
        await source.send("three")
        await source.finish()
        body = await worker.streams.wait("s")
        assert (body.text, body.status) == ("one two three", "done")


@in_virtual_time
async def test_memory_stays_bounded_while_the_store_is_away() -> None:
    """G12, G9: in an outage, appends wait when the buffers are full, and no text is lost."""
    limits = FinerLimits(buffer_bytes=1000, buffers_bytes=1500)
    async with one_worker(limits=limits) as worker:
        writers = [await claim(worker, name) for name in ("a", "b")]
        worker.store.away = True

        async def fill(writer: Writer) -> None:
            for _ in range(50):
                await writer.append("x" * 100)

        fills = [asyncio.create_task(fill(writer)) for writer in writers]
        await asyncio.sleep(5)
        assert not any(task.done() for task in fills)
        assert sum(writer.pending_bytes for writer in writers) <= 1500 + 100
        assert all(writer.pending_bytes <= 1000 for writer in writers)
        worker.store.away = False
        await asyncio.gather(*fills)
        await asyncio.gather(*[writer.flush() for writer in writers])
        assert [len((await worker.streams.read(name)).text) for name in "ab"] == [5000, 5000]


@in_virtual_time
async def test_long_outage_ends_source_and_readers() -> None:
    """G12: a worker closes a source whose text waits for the store longer than ``patience_s``.

    The worker also disconnects the readers, and stores the stream's end when the store is back.
    """
    async with one_worker(timing=Timing(patience_s=10)) as worker:
        source = ScriptedSource()
        await worker.streams.create("s")
        worker.streams.start("s", source)
        await source.send("saved")
        reader = await worker.engine.readers.open(StreamId("s"), None)
        assert len(await reader.segments()) == 1
        cut = asyncio.ensure_future(reader.segments())
        worker.store.away = True
        await source.send("never saved")
        await asyncio.wait_for(source.closed.wait(), 12)
        with pytest.raises(ReaderSentAway):
            await cut
        reader.close()
        worker.store.away = False
        body = await asyncio.wait_for(worker.streams.wait("s"), 5)
        assert (body.status, body.end and body.end.code) == ("error", "store_unavailable")
        assert body.text in ("saved", "savednever saved")


@in_virtual_time
async def test_quiet_writer_survives_an_outage() -> None:
    """G7, G12: a writer with no text to commit survives an outage in which another change fails."""
    async with one_worker(timing=Timing(patience_s=3)) as worker:
        writer = await claim(worker, "quiet")
        await worker.streams.create("other")
        other = await worker.engine.readers.state(StreamId("other"))
        worker.store.away = True
        with pytest.raises(StoreUnavailable):
            await worker.engine.changes.end_stream(other, End(Status.CANCELLED))
        worker.store.away = False
        await asyncio.sleep(60)
        await writer.append("still mine")
        await writer.flush()


@in_virtual_time
async def test_quiet_writer_gets_its_end_after_an_outage() -> None:
    """G12, G5: if one writer's text waits too long for the store, all writers' streams end."""
    async with one_worker(timing=Timing(patience_s=3)) as worker:
        quiet, loud = await claim(worker, "quiet"), await claim(worker, "loud")
        worker.store.away = True
        await loud.append("x")
        await asyncio.wait_for(quiet.stopped, 10)
        for writer in (quiet, loud):
            with pytest.raises(StoreUnavailable):
                await asyncio.wait_for(writer.flush(), 1)
        worker.store.away = False
        for name in ("quiet", "loud"):
            body = await asyncio.wait_for(worker.streams.wait(name), 10)
            assert body.end is not None
            assert body.end.code == "store_unavailable"


@in_virtual_time
async def test_stop_ends_all_waits_for_a_commit() -> None:
    """G8: if the store hangs, calls that wait for a commit raise when the worker stops.

    If the change may have reached the store, its call raises ``OutcomeUnknown``.
    """
    async with cluster() as made:
        worker = await made.add()
        writer = await claim(worker, "s")
        await worker.streams.create("other")
        other = await worker.engine.readers.state(StreamId("other"))
        worker.store.pause()
        await writer.append("x")
        waiting = [
            asyncio.create_task(writer.flush()),
            asyncio.create_task(worker.engine.changes.end_stream(other, End(Status.CANCELLED))),
        ]
        claimed = worker.engine.starts.start_for_request(
            StreamId("other"), ScriptedSource(), allow=lambda _: True
        )
        await asyncio.sleep(1)
        # The earlier commit still runs, so this change has not reached the store.
        queued = worker.engine.changes.end_stream(other, End(Status.DONE))
        waiting.append(asyncio.create_task(queued))
        await asyncio.sleep(1)
        await worker.engine.stop(0)
        done, _ = await asyncio.wait(waiting, timeout=1)
        assert [type(task.exception()) for task in waiting if task in done] == [
            OutcomeUnknown,
            OutcomeUnknown,
            StoreUnavailable,
        ]
        with pytest.raises(ShuttingDown):
            await asyncio.wait_for(claimed, 1)


@in_virtual_time
async def test_refused_group_does_not_affect_others() -> None:
    """G3: if the store refuses one writer's changes, it still stores another writer's changes."""
    async with cluster() as made:
        here, there = await made.add(), await made.add()
        loser, winner = await claim(here, "a"), await claim(here, "b")
        here.notifier.lose = there.notifier.lose = 1.0
        await there.streams.cancel("a")
        await loser.append("too late")
        await winner.append("in time")
        await winner.flush()
        with pytest.raises(WriterFenced) as caught:
            await loser.flush()
        assert caught.value.status == "cancelled"
        assert (await here.streams.read("a")).text == ""


@in_virtual_time
async def test_committer_survives_unexpected_errors(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with one_worker() as worker:
        writer = await claim(worker, "s")

        def broken(method: str) -> None:
            if method == "commit":
                worker.store.inner.database.before = None
                raise ZeroDivisionError

        worker.store.inner.database.before = broken
        await writer.append("kept")
        await writer.flush()
        assert (await worker.streams.read("s")).text == "kept"
    assert "unexpected error" in caplog.text


@in_virtual_time
async def test_submitted_groups_fail_during_an_outage() -> None:
    async with one_worker() as worker:
        await worker.streams.create("s")
        worker.store.lose = 1.0
        with pytest.raises(OutcomeUnknown):
            await worker.streams.cancel("s")
        worker.store.lose = 0.0
        assert (await worker.streams.read("s")).status == "cancelled"


@in_virtual_time
async def test_an_outage_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """A start tries its claim again and again, but the log shows only one outage."""

    async def refuse(*args: Any, **options: Any) -> Any:
        raise StoreUnavailable("read-only")

    async with one_worker() as worker:
        await worker.streams.create("s")
        writes = worker.store.commit
        worker.store.commit = refuse  # type: ignore[method-assign]
        source = ScriptedSource()
        worker.streams.start("s", source)
        await asyncio.sleep(20)
        worker.store.commit = writes  # type: ignore[method-assign]
        await source.send("text")
        await source.finish()
        await worker.streams.wait("s")
    events = [getattr(record, "event", None) for record in caplog.records]
    assert events.count("store_away") == events.count("store_back") == 1


@in_virtual_time
async def test_writer_that_gave_up_does_not_say_that_nothing_changed() -> None:
    """G12: if ``finish`` gives up after ``patience_s``, it raises ``OutcomeUnknown``.

    The text and the end may be stored later.
    """
    async with one_worker(timing=Timing(patience_s=3)) as worker:
        writer = await claim(worker, "s")
        worker.store.away = True
        await writer.append("late")
        with pytest.raises(OutcomeUnknown):
            await worker.engine.writers.finish(writer, End(Status.DONE))
        worker.store.away = False
        body = await asyncio.wait_for(worker.streams.wait("s"), 5)
        assert (body.text, body.status) == ("late", "done")


@in_virtual_time
async def test_end_is_written_after_giving_up_during_a_commit() -> None:
    """G12, G5: if a commit succeeds after its writer gave up, the stream's end is stored too."""
    for seed in range(8):
        async with cluster(seed) as made:
            worker = await made.add(timing=Timing(patience_s=3))
            writer = await claim(worker, "s")
            worker.store.away = True
            await writer.append("on its way")
            await asyncio.sleep(2.5)
            worker.store.latency_s = 4.0
            worker.store.away = False
            await asyncio.wait_for(asyncio.shield(writer.stopped), 5)
            worker.store.latency_s = 0.0
            body = await asyncio.wait_for(worker.streams.wait("s"), 5)
            assert body.end is not None
            assert (body.status, body.end.code) == ("error", "store_unavailable")
            assert body.text == "on its way"
