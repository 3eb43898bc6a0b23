"""Readers can begin at any offset and read at any speed (G1, G2, G5, G9, G10)."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from inkstream import (
    End,
    InvalidOffset,
    Limits,
    OffsetGone,
    Status,
    StreamId,
    StreamNotFound,
    Timing,
    TooManyReaders,
)
from inkstream._types import Page
from inkstream.abc import Store
from inkstream.engine import readers
from inkstream.engine.reader import Reader, ReaderSentAway
from inkstream.engine.settings import FinerLimits
from inkstream.engine.writer import Writer
from inkstream.testing import ScriptedSource, in_virtual_time
from inkstream.wire import Offset
from tests.simulation.cluster import Worker, cluster, one_worker
from tests.simulation.witness import flat

S = StreamId("s")


async def claim(worker: Worker) -> Writer:
    await worker.streams.create(S)
    return await worker.engine.claims.claim(S)


async def rest_of(reader: Reader) -> str:
    text = ""
    while reader.end is None:
        text += flat(await reader.segments())
    reader.close()
    return text


async def offset_at(worker: Worker, position: int) -> Offset:
    return Offset.at((await worker.engine.readers.page(S, 0, 0)).state, position)


@in_virtual_time
async def test_any_reconnect_point_gives_the_same_text() -> None:
    """G2: on both workers, a reader that begins at any offset gets the rest of the same text."""
    async with cluster() as made:
        here, there = await made.add(), await made.add()
        source = ScriptedSource()
        await here.streams.create(S)
        here.streams.start(S, source)
        open_readers: list[tuple[int, Reader]] = []
        for n in range(30):
            await source.send(f"<{n}>")
            await asyncio.sleep(0.1)
            state = (await here.engine.readers.page(S, 0, 0)).state
            for worker in (here, there):
                offset = Offset.at(state, state.tail)
                open_readers.append((n + 1, await worker.engine.readers.open(S, offset)))
        await source.finish()
        for seen, reader in open_readers:
            assert await rest_of(reader) == "".join(f"<{n}>" for n in range(seen, 30))
        for worker in (here, there):
            for position in range(31):
                reader = await worker.engine.readers.open(S, await offset_at(worker, position))
                assert await rest_of(reader) == "".join(f"<{n}>" for n in range(position, 30))
            worker.assert_nothing_kept()


@in_virtual_time
async def test_slow_reader_reads_old_text_from_the_store() -> None:
    """G9, G2: a writer does not wait for a slow reader, and the slow reader misses nothing."""
    limits = FinerLimits(tail_bytes=100, page_bytes=500)
    async with one_worker(limits=limits) as worker:
        writer = await claim(worker)
        slow = await worker.engine.readers.open(S, None)
        fast = await worker.engine.readers.open(S, None)
        text = ""
        for n in range(2000):
            await writer.append(f"<{n}>")
            if n % 10 == 0:
                text += flat(await fast.segments())
        assert slow.position == 0
        assert slow.tail._bytes <= 100 + 100
        await worker.engine.writers.finish(writer, End(Status.DONE))
        whole = "".join(f"<{n}>" for n in range(2000))
        assert await rest_of(slow) == whole
        assert text + await rest_of(fast) == whole


@in_virtual_time
async def test_frames_and_segments_say_the_same() -> None:
    async with one_worker() as worker:
        writer = await claim(worker)
        reader = await worker.engine.readers.open(S, None)
        await writer.append("a")
        await writer.append({"n": 1})
        await writer.flush()
        frames = await reader.frames()
        assert frames.count(b"data: ") == 2
        assert str(reader.offset).encode() in frames
        await worker.engine.writers.finish(writer, End(Status.DONE))
        assert await reader.frames() == b""
        assert reader.end == End(Status.DONE)
        assert reader.offset.ended
        reader.close()


@pytest.mark.parametrize("text", ["", "x", "1_2", "0" * 25, f"{1:010d}_{0:09d}_AAAAx", "9" * 33])
@in_virtual_time
async def test_a_malformed_offset(text: str) -> None:
    """G10: a malformed offset raises ``InvalidOffset``."""
    async with one_worker() as worker:
        await claim(worker)
        with pytest.raises(InvalidOffset):
            await worker.engine.readers.open(S, text)


@in_virtual_time
async def test_wrong_offset_raises_immediately() -> None:
    """G10: on each worker, an offset past the tail or with another internal id is refused."""
    async with cluster() as made:
        here, there = await made.add(), await made.add()
        writer = await claim(here)
        await writer.append("x")
        await writer.flush()
        for worker in (here, there):
            for wrong in (Offset(1, 2), Offset(2, 0), Offset(2, 1)):
                with pytest.raises(OffsetGone):
                    await worker.engine.readers.open(S, wrong)
            (await worker.engine.readers.open(S, await offset_at(here, 1))).close()
        await here.engine.writers.finish(writer, End(Status.DONE))
        await asyncio.sleep(0)
        here.assert_nothing_kept()
        there.assert_nothing_kept()


@in_virtual_time
async def test_offset_ahead_of_this_process_is_accepted() -> None:
    """G10: a worker accepts a valid offset that is ahead of what this worker has read."""
    async with cluster() as made:
        here, there = await made.add(), await made.add()
        writer = await claim(here)
        waiting = await there.engine.readers.open(S, None)
        here.notifier.lose = 1.0
        await writer.append("x")
        await writer.flush()
        assert waiting.tail.position == 0
        reader = await there.engine.readers.open(S, await offset_at(here, 1))
        await here.engine.writers.finish(writer, End(Status.DONE))
        assert await rest_of(reader) == ""
        assert await rest_of(waiting) == "x"


@in_virtual_time
async def test_recreated_stream_has_other_offsets() -> None:
    """G10, G5: readers of a deleted stream get an error, and a new stream refuses their offsets."""
    async with cluster() as made:
        here, there = await made.add(), await made.add()
        source = ScriptedSource()
        await here.streams.create(S)
        here.streams.start(S, source)
        await source.send("old")
        await asyncio.sleep(1)
        readers = [await worker.engine.readers.open(S, None) for worker in (here, there)]
        for reader in readers:
            assert flat(await reader.segments()) == "old"
        waiting = [asyncio.create_task(reader.segments()) for reader in readers]
        await asyncio.sleep(1)
        assert await there.streams.delete(S)
        await there.streams.create(S)
        for task in waiting:
            with pytest.raises(StreamNotFound):
                await asyncio.wait_for(task, 3)
        for reader in readers:
            reader.close()
            with pytest.raises(OffsetGone):
                await here.engine.readers.open(S, reader.offset)
        await asyncio.wait_for(source.closed.wait(), 1)
        fresh = await here.engine.readers.open(S, None)
        assert fresh.tail.internal_id == 2
        fresh.close()


@in_virtual_time
async def test_closing_and_interrupting() -> None:
    async with one_worker() as worker:
        await claim(worker)
        reader = await worker.engine.readers.open(S, None)
        waiting = asyncio.create_task(reader.segments())
        await asyncio.sleep(1)
        reader.interrupt()
        assert await waiting == []
        assert reader.end is None
        waiting = asyncio.create_task(reader.segments())
        await asyncio.sleep(1)
        reader.close()
        reader.close()
        with pytest.raises(ReaderSentAway):
            await waiting
        assert worker.engine.readers._readers == {}


@pytest.mark.parametrize("waits", [False, True])
@in_virtual_time
async def test_an_interruption_is_not_lost(waits: bool) -> None:
    """G9: ``interrupt`` ends exactly one wait of a reader, even if the wait begins later."""
    async with one_worker() as worker:
        await claim(worker)
        reader = await worker.engine.readers.open(S, None)
        if waits:
            waiting = asyncio.create_task(reader.segments())
            await asyncio.sleep(1)
            assert reader.tail.wake() == 1
            reader.interrupt()
        else:
            reader.interrupt()
            waiting = asyncio.create_task(reader.segments())
        assert await asyncio.wait_for(waiting, 10) == []
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.segments(), 10)
        reader.close()


@pytest.mark.parametrize("ends", [False, True])
@in_virtual_time
async def test_takeover_publishes_unread_text(ends: bool) -> None:
    """G2, G5: after a take-over, readers on the new writer's worker get all text without hints."""
    async with cluster() as made:
        here, there = await made.add(), await made.add()
        here.notifier.lose = there.notifier.lose = 1.0
        await here.streams.create(S, takeover_within_s=60)
        first = await here.engine.claims.claim(S)
        reader = await there.engine.readers.open(S, None)
        await asyncio.sleep(1)
        await first.append("all of it")
        await here.engine.writers.release(first)
        waiting = asyncio.create_task(reader.segments())
        second = await there.engine.claims.claim(S, takeover=True)
        if ends:
            await there.engine.writers.finish(second, End(Status.DONE))
            assert flat(await waiting) + await rest_of(reader) == "all of it"
        else:
            assert flat(await asyncio.wait_for(waiting, 0.01)) == "all of it"
            reader.close()


@in_virtual_time
async def test_a_cancelled_wait_leaves_nothing_behind() -> None:
    """G9: a reader whose wait was cancelled does not count as a waiting reader."""
    async with one_worker() as worker:
        await claim(worker)
        reader = await worker.engine.readers.open(S, None)
        for _ in range(10):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(reader.segments(), 1)
        assert reader.tail.wake() == 0
        reader.close()


@pytest.mark.parametrize(
    ("limits", "limit"), [(Limits(readers=5), 5), (Limits(readers_per_stream=2), 4)]
)
@in_virtual_time
async def test_limits_of_readers(limits: Limits, limit: int) -> None:
    """G9: readers that arrive at the same moment cannot exceed the limits."""
    async with one_worker(limits=limits) as worker:
        for name in ("a", "b"):
            await worker.streams.create(name)
        found = await asyncio.gather(
            *[worker.engine.readers.open(StreamId("ab"[n % 2]), None) for n in range(20)],
            return_exceptions=True,
        )
        readers = [reader for reader in found if isinstance(reader, Reader)]
        refused = [error for error in found if isinstance(error, TooManyReaders)]
        assert (len(readers), len(refused)) == (limit, 20 - limit)
        assert {error.limit for error in refused} <= {limits.readers, limits.readers_per_stream}
        for reader in readers:
            reader.close()
        worker.assert_nothing_kept()


@in_virtual_time
async def test_readers_survive_a_short_outage() -> None:
    """G12, G2: a reader gets all text and the end after a short outage of the store."""
    async with cluster(1) as made:
        here, there = await made.add(), await made.add()
        writer = await claim(here)
        reader = await there.engine.readers.open(S, None)
        reading = asyncio.create_task(rest_of(reader))
        there.store.away = True
        for n in range(5):
            await writer.append(f"<{n}>")
            await asyncio.sleep(1)
        assert reader.position == 0
        there.store.away = False
        await here.engine.writers.finish(writer, End(Status.DONE))
        assert await reading == "<0><1><2><3><4>"


@in_virtual_time
async def test_stream_is_readable_after_an_outage() -> None:
    """G12: a long outage disconnects readers, but new readers can follow the stream afterwards."""
    async with one_worker() as worker:
        writer = await claim(worker)  # the writer appends nothing during the outage
        reader = await worker.engine.readers.open(S, None)
        reading = asyncio.create_task(reader.segments())
        worker.store.away = True
        with pytest.raises(ReaderSentAway):
            await asyncio.wait_for(reading, worker.engine.timing.patience_s + 5)
        worker.store.away = False
        reader.close()
        await asyncio.sleep(1)
        again = await worker.engine.readers.open(S, None)
        reading = asyncio.create_task(again.segments())
        await asyncio.sleep(5)
        await writer.append("alive")
        assert flat(await reading) == "alive"
        again.close()


@in_virtual_time
async def test_followers_of_random_pace_see_the_same_text() -> None:
    """G2, G5: followers of any speed, on both workers, see the same text and the same end."""
    async with cluster() as made:
        rng = random.Random(0)
        workers = [await made.add(limits=FinerLimits(tail_bytes=64)) for _ in range(2)]
        source = ScriptedSource()
        await workers[0].streams.create(S)
        workers[0].streams.start(S, source)

        async def follow(worker: Worker, slow_s: float) -> tuple[str, End | None]:
            text, offset, end = "", None, None
            while end is None:
                following = worker.streams.follow(S, offset)
                async for item in following:
                    if isinstance(item, End):
                        end = item
                    else:
                        text += str(item)
                    await asyncio.sleep(slow_s)
                    if rng.random() < 0.2:
                        break
                offset = following.offset
                await following.aclose()
            return text, end

        followers = [
            asyncio.create_task(follow(rng.choice(workers), rng.random())) for _ in range(10)
        ]
        for n in range(100):
            await source.send(f"<{n}>")
            await asyncio.sleep(0.05)
        await source.finish()
        whole = "".join(f"<{n}>" for n in range(100))
        assert await asyncio.gather(*followers) == [(whole, End(Status.DONE))] * 10


@in_virtual_time
async def test_follow_from_now_misses_nothing() -> None:
    """G2: "now" means the time of the first connection, and not the time of a reconnection."""
    async with cluster() as made:
        here, there = await made.add(timing=Timing(patience_s=1)), await made.add()
        await there.streams.create("log", kind="log")
        await there.streams.post("log", "before")
        following = here.streams.follow("log", "now")
        first = asyncio.ensure_future(anext(following))
        await asyncio.sleep(3)
        here.store.away = True
        await asyncio.sleep(10)
        await there.streams.post("log", "meanwhile")
        here.store.away = False
        assert await asyncio.wait_for(first, 5) == "meanwhile"
        await following.aclose()


@in_virtual_time
async def test_check_fixes_now() -> None:
    """G2: after ``check``, a reader from "now" gets text from before its first ``anext``."""
    async with one_worker() as worker:
        await worker.streams.create("log", kind="log")
        await worker.streams.post("log", "before")
        checked = worker.streams.follow("log", "now")
        unchecked = worker.streams.follow("log", "now")
        await checked.check()
        await worker.streams.post("log", "between")
        first = asyncio.ensure_future(anext(unchecked))
        assert await anext(checked) == "between"
        await asyncio.sleep(1)
        await worker.streams.post("log", "after")
        assert await first == await anext(checked) == "after"
        await checked.aclose()
        await unchecked.aclose()


@pytest.mark.parametrize("method", ["read", "read_many"])
@in_virtual_time
async def test_read_of_an_ending_stream_is_complete(method: str) -> None:
    """G5: a read of several pages that reports ``done`` has the complete text."""
    async with one_worker() as worker:
        writer = await claim(worker)
        read = getattr(worker.store, method)

        async def write() -> None:
            for _ in range(3):
                await writer.append("ten bytes.")
                await writer.flush()

        async def end_after(*args: Any, **options: Any) -> Any:
            patched.setattr(worker.store, method, read)
            answer = await read(*args, **options)
            await write()
            await worker.engine.writers.finish(writer, End(Status.DONE))
            return answer

        await write()
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(readers, "_SNAPSHOT_BYTES", 10)
            patched.setattr(worker.store, method, end_after)
            if method == "read":
                body = await worker.streams.read(S)
            else:
                body = (await worker.streams.read_many([S]))[S]
        assert (body.status, body.text) == ("done", "ten bytes." * 6)


class CountingStore:
    def __init__(self, store: Store) -> None:
        self._store = store
        self.reads = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def read(self, stream_id: StreamId, after: int, max_bytes: int, **more: Any) -> Page:
        self.reads += 1
        return await self._store.read(stream_id, after, max_bytes, **more)


@in_virtual_time
async def test_page_is_read_once_and_sent_in_pieces() -> None:
    """G9, G2: a worker reads a large text from the store once, and sends it in small pieces."""
    async with one_worker() as worker:
        writer = await claim(worker)
        whole = "".join(f"<{n:07}>" for n in range(100_000))
        for at in range(0, len(whole), 50_000):
            await writer.append(whole[at : at + 50_000])
            await writer.flush()
        await worker.engine.writers.finish(writer, End(Status.DONE))
        counting = CountingStore(worker.engine.readers._store)
        worker.engine.readers._store = cast(Store, counting)
        offset = await offset_at(worker, 3)
        counting.reads = 0
        state, page = await worker.engine.readers.look(S, offset)
        assert state.ended
        reader = await worker.engine.readers.open(S, offset, page)
        pieces: list[str] = []
        while reader.end is None:
            pieces.append(flat(await reader.segments()))
        reader.close()
        assert "".join(pieces) == whole[150_000:]
        assert max(map(len, pieces)) <= 128 * 1024
        assert counting.reads == 1


@in_virtual_time
async def test_a_follow_goes_on_after_a_timeout() -> None:
    """G2: if an ``anext`` is cancelled, the next ``anext`` loses no item, and repeats none."""
    async with one_worker() as worker:
        streams = worker.streams
        await streams.create("s")

        async def source() -> AsyncIterator[str]:
            for n in range(4):
                yield f"{n} "
                await asyncio.sleep(0.4)

        streams.start("s", source)
        following = streams.follow("s")
        items: list[object] = []
        timeouts = 0
        while not (items and isinstance(items[-1], End)):
            try:
                items.append(await asyncio.wait_for(anext(following), 0.1))
            except TimeoutError:
                timeouts += 1
        assert items[:-1] == ["0 ", "1 ", "2 ", "3 "]
        assert timeouts >= 4
        with pytest.raises(StopAsyncIteration):
            await anext(following)
        await following.aclose()
