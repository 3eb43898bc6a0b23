"""A writer stores each accepted message once, until it loses its stream (G3, G5, G9, G11)."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from inkstream import (
    End,
    InvalidMessage,
    Limits,
    MessageTooLarge,
    NotClaimed,
    OutcomeUnknown,
    Status,
    StreamId,
    StreamTooLarge,
    Timing,
    TooManyStreams,
    WriterFenced,
)
from inkstream.engine.writer import Writer
from inkstream.testing import in_virtual_time
from tests.simulation.cluster import Worker, cluster, one_worker

SMILE = "\N{GRINNING FACE}"
HALVES = ("\ud83d", "\ude00")


async def claim(worker: Worker, name: str = "s") -> Writer:
    await worker.streams.create(name)
    return await worker.engine.claims.claim(StreamId(name))


async def stored(worker: Worker, *pieces: str | dict[str, str]) -> tuple[object, ...]:
    writer = await claim(worker)
    for piece in pieces:
        await writer.append(piece)
    await worker.engine.writers.finish(writer, End(Status.DONE))
    return (await worker.streams.read("s")).parts


@pytest.mark.parametrize(
    ("pieces", "parts"),
    [
        ((HALVES[0], HALVES[1]), (SMILE,)),
        (("a" + HALVES[0], HALVES[1] + "b"), (f"a{SMILE}b",)),
        ((HALVES[0], "", HALVES[1]), (SMILE,)),
        ((HALVES[0], "b"), ("�b",)),
        ((HALVES[1], "b"), ("�b",)),
        ((HALVES[0],), ("�",)),
        ((HALVES[0], {"a": "b"}, HALVES[1]), ("�", {"a": "b"}, "�")),
        ((HALVES[0], *HALVES), ("�" + SMILE,)),
        (("\0\r\n\r", "\n "), ("\0\r\n\r\n ",)),
        (("", ""), ()),
    ],
)
@in_virtual_time
async def test_text_comes_back_exactly(
    pieces: tuple[str | dict[str, str], ...], parts: tuple[object, ...]
) -> None:
    """G11: two halves of a character in two pieces are joined, and a lone half becomes U+FFFD."""
    async with one_worker() as worker:
        assert await stored(worker, *pieces) == parts


@in_virtual_time
async def test_half_a_character_survives_a_cancelled_append() -> None:
    """G11: a cancelled append must not discard half a character that an earlier append accepted."""
    async with one_worker(limits=Limits(buffer_bytes=10)) as worker:
        writer = await claim(worker)
        worker.store.pause()
        await writer.append("0123456789" + HALVES[0])
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await writer.append(HALVES[1] + "refused")
        worker.store.resume()
        await writer.append(HALVES[1] + "accepted")
        await worker.engine.writers.finish(writer, End(Status.DONE))
        assert (await worker.streams.read("s")).text == f"0123456789{SMILE}accepted"


@in_virtual_time
async def test_the_buffer_is_bounded() -> None:
    """G9: append waits while the buffer is full, and goes on after a commit."""
    async with one_worker(limits=Limits(buffer_bytes=100)) as worker:
        writer = await claim(worker)
        worker.store.pause()
        for _ in range(10):
            await writer.append("x" * 10)
        waiting = asyncio.create_task(writer.append("one more"))
        await asyncio.sleep(10)
        assert not waiting.done()
        assert writer.pending_bytes == 100
        worker.store.resume()
        await waiting
        await writer.flush()
        assert writer.pending_bytes == 0
        assert len((await worker.streams.read("s")).text) == 108


@in_virtual_time
async def test_waiting_append_raises_when_its_stream_is_deleted() -> None:
    """G3: a waiting append raises, whether or not a commit runs when the stream is deleted."""
    async with one_worker(limits=Limits(buffer_bytes=10)) as worker:
        for n in range(20):
            writer = await claim(worker, f"s{n}")

            async def write(writer: Writer = writer) -> None:
                while True:
                    await writer.append("0123456789")

            writing = asyncio.create_task(write())
            await asyncio.sleep(1 + n / 3000)
            await worker.streams.delete(f"s{n}")
            with pytest.raises(WriterFenced):
                await asyncio.wait_for(writing, 10)


@in_virtual_time
async def test_message_larger_than_the_buffer() -> None:
    async with one_worker(limits=Limits(buffer_bytes=10)) as worker:
        assert await stored(worker, "x" * 1000) == ("x" * 1000,)


@in_virtual_time
async def test_limits_of_message_and_stream() -> None:
    """G9: each error names its limit. A refused message is not stored, and the writer goes on."""
    limits = Limits(message_bytes=10, stream_bytes=25)
    async with one_worker(limits=limits) as worker:
        writer = await claim(worker)
        with pytest.raises(MessageTooLarge) as message:
            await writer.append("é" * 6)
        assert (message.value.limit, message.value.actual) == (10, 12)
        await writer.append("x" * 10)
        await writer.append("x" * 10)
        with pytest.raises(StreamTooLarge) as stream:
            await writer.append("x" * 6)
        assert (stream.value.limit, stream.value.actual) == (25, 26)
        await writer.append("x" * 5)
        await worker.engine.writers.finish(writer, End(Status.DONE))
        assert (await worker.streams.read("s")).text == "x" * 25


@pytest.mark.parametrize("wrong", [1, None, ["a"], {"a": float("nan")}, {"a": object()}])
@in_virtual_time
async def test_invalid_message_is_refused(wrong: object) -> None:
    """G11: a message that is neither text nor a JSON object is refused, and the writer goes on."""
    async with one_worker() as worker:
        writer = await claim(worker)
        with pytest.raises(InvalidMessage):
            await writer.append(wrong)  # type: ignore[arg-type]
        await writer.append("goes on")
        await writer.flush()


@pytest.mark.parametrize("stop", [False, True])
@in_virtual_time
async def test_running_commit_does_not_change(stop: bool) -> None:
    """G1, G2: a running commit does not change if the writer gets more text, or is fenced."""
    async with one_worker() as worker:
        writer = await claim(worker)
        await writer.append("one")
        taken = list(writer.take())
        before = [replace(change) for group in taken for change in group.changes]
        await writer.append("two")
        if stop:
            writer.fence(None)
            assert not writer.append_at_once("three")
        assert list(writer.take()) == ([] if stop else taken)
        assert [change for group in taken for change in group.changes] == before
        assert [change.append and change.append.payload for change in before] == [b"one"]


@in_virtual_time
async def test_the_end_commits_with_the_last_text() -> None:
    """G5: one change of one commit contains a stream's last text and its end."""
    async with one_worker() as worker:
        writer = await claim(worker)
        before = len(worker.store.commits)
        await writer.append("last words")
        await worker.engine.writers.finish(writer, End(Status.DONE))
        [[group]] = worker.store.commits[before:]
        [change] = group.changes
        assert change.append is not None
        assert change.end == End(Status.DONE)


@in_virtual_time
async def test_end_is_written_after_a_cancelled_finish() -> None:
    """G5: the end is written even if the task that calls finish is cancelled."""
    async with cluster() as made:
        worker = await made.add(reports=True)
        writer = await claim(worker)
        worker.store.pause()
        finishing = asyncio.create_task(worker.engine.writers.finish(writer, End(Status.DONE)))
        await asyncio.sleep(1)
        finishing.cancel()
        worker.store.resume()
        await asyncio.sleep(30)
        assert (await worker.streams.read("s")).status == "done"
        assert [body.status for body in made.ended] == ["done"], "the end must be reported too"


@in_virtual_time
async def test_after_the_end_nothing_is_accepted() -> None:
    """G5: after the end, every append and every flush raises ``WriterFenced``."""
    async with one_worker() as worker:
        writer = await claim(worker)
        await writer.append("all")
        finishing = asyncio.create_task(worker.engine.writers.finish(writer, End(Status.DONE)))
        await asyncio.sleep(0)
        assert not writer.active
        with pytest.raises(WriterFenced):
            await writer.append("x")
        await finishing
        for call in (writer.append("x"), writer.flush()):
            with pytest.raises(WriterFenced):
                await call
        with pytest.raises(WriterFenced):
            await worker.engine.writers.finish(writer, End(Status.ERROR))
        body = await worker.streams.read("s")
        assert (body.status, body.text) == ("done", "all")


@pytest.mark.parametrize("text", ["new", ""])
@in_virtual_time
async def test_a_superseded_writer_is_refused(text: str) -> None:
    """G3: after a take-over, the old writer's flush raises, even before the new writer writes."""
    async with cluster() as made:
        here, there = await made.add(), await made.add()
        here.notifier.lose = there.notifier.lose = 1.0
        await here.streams.create("s", takeover_within_s=60)
        old = await here.engine.claims.claim(StreamId("s"))
        await old.append("old ")
        await old.flush()
        here.store.pause()
        made.database.release_lock(here.name)
        await asyncio.sleep(2)
        new = await there.engine.claims.claim(StreamId("s"), takeover=True)
        await new.append(text)
        await new.flush()
        await old.append("never seen")
        here.store.resume()
        with pytest.raises(WriterFenced) as caught:
            await old.flush()
        assert caught.value.status == "streaming"
        assert (await here.streams.read("s")).text == "old " + text
        assert not old.stopped.cancelled()
        assert old.stopped.done()


ENDED = "this writer lost stream 's': another operation ended the stream: "
WHY = {
    "cancelled": ("cancelled", ENDED + "cancelled"),
    "sweep": ("timeout", ENDED + "timeout (writer_lost)"),
    "taken over": ("streaming", "this writer lost stream 's': another writer took the stream over"),
    "deleted": (None, "this writer lost stream 's': the stream does not exist any more"),
    "idle": ("timeout", "stream 's' was ended by this process: timeout (idle)"),
    "finished": ("done", "stream 's' was ended by this process: done"),
    "finishing": ("done", "stream 's' is being ended by this process: done"),
    "released": (
        "streaming",
        "stream 's' was released by this writer, so it can append nothing more",
    ),
    "releasing": (
        "streaming",
        "stream 's' is being released by this writer, so it can append nothing more",
    ),
}


@pytest.mark.parametrize("how", WHY)
@in_virtual_time
async def test_the_error_says_why(how: str) -> None:
    """G3: the error of a writer that lost, ended or released its stream names the true reason."""
    async with cluster() as made:
        here, there = await made.add(timing=Timing(idle_s=60)), await made.add()
        await here.streams.create("s", takeover_within_s=60)
        writer = await here.engine.claims.claim(StreamId("s"))
        writers, waiting = here.engine.writers, None
        match how:
            case "cancelled":
                await there.streams.cancel("s")
            case "deleted":
                await there.streams.delete("s")
            case "sweep":
                state = (await there.store.read(StreamId("s"), 0, 0)).state
                await there.engine.changes.end_as_seen(
                    state, End(Status.TIMEOUT, "writer_lost", "The writer is lost.")
                )
            case "taken over":
                here.store.pause()
                made.database.release_lock(here.name)
                await asyncio.sleep(2)
                await there.engine.claims.claim(StreamId("s"), takeover=True)
                here.store.resume()
            case "idle":
                await asyncio.sleep(62)
            case "finished":
                await writers.finish(writer, End(Status.DONE))
            case "finishing":
                waiting = asyncio.create_task(writers.finish(writer, End(Status.DONE)))
                await asyncio.sleep(0)
            case "released":
                await writers.release(writer)
            case "releasing":
                waiting = asyncio.create_task(writers.release(writer))
                await asyncio.sleep(0)
        with pytest.raises(WriterFenced) as caught:  # noqa: PT012  (append or flush raises)
            await writer.append("x")
            await writer.flush()
        assert (caught.value.status, str(caught.value)) == WHY[how]
        if waiting is not None:
            await waiting


@in_virtual_time
async def test_a_living_writer_cannot_be_taken_over() -> None:
    """G3: ``claim`` with ``takeover`` raises ``NotClaimed`` while the stream's writer lives."""
    async with cluster() as made:
        here, there = await made.add(), await made.add()
        await claim(here)
        await asyncio.sleep(60)
        with pytest.raises(NotClaimed, match="living writer"):
            await there.engine.claims.claim(StreamId("s"), takeover=True)


@in_virtual_time
async def test_cancelled_claim_leaves_no_writer() -> None:
    """G5, G7: a cancelled claim leaves no writer. The stream stays pending, or ends ``error``."""
    left: list[str] = []
    for delay_s in (0.0, 0.1, 0.3, 0.45, 0.5):
        async with one_worker() as worker:
            await worker.streams.create("s")
            worker.store.latency_s = 0.2
            claiming = asyncio.create_task(worker.engine.claims.claim(StreamId("s")))
            await asyncio.sleep(delay_s)
            claiming.cancel()
            await asyncio.wait([claiming])
            await asyncio.sleep(30)
            state = (await worker.engine.readers.page(StreamId("s"), 0, 0)).state
            assert claiming.cancelled()
            assert not worker.engine.writers._writers
            left.append(state.status)
    assert left == ["pending"] * 3 + ["error"] * 2


@in_virtual_time
async def test_lost_claim_ends_its_stream() -> None:
    """G7: if the outcome of a claim was lost, the worker ends the stream that nobody writes."""
    async with cluster() as made:
        worker = await made.add(reports=True)
        await worker.streams.create("s")
        # The end of the lost claim's stream must not end this other stream of the worker.
        busy = await claim(worker, "busy")
        worker.store.lose = 1.0
        with pytest.raises(Exception, match="lost on the way back"):
            await worker.engine.claims.claim(StreamId("s"))
        worker.store.lose = 0.0
        assert (await worker.streams.read("s")).status == "streaming"
        body = await asyncio.wait_for(worker.streams.wait("s"), 15)
        assert (body.status, body.end and body.end.code) == ("timeout", "writer_lost")
        assert busy.active


@in_virtual_time
async def test_lost_takeover_can_be_retried() -> None:
    """G4, G7: if a take-over's outcome was lost, a second take-over succeeds.

    A claim without ``takeover`` is refused. Otherwise a second start would call the source again.
    """
    async with cluster() as made:
        here, there = await made.add(), await made.add()
        await here.streams.create("s", takeover_within_s=60)
        first = await here.engine.claims.claim(StreamId("s"))
        await first.append("so far")
        await here.engine.writers.release(first)
        await there.engine._presence.show_life()
        there.store.lose = 1.0
        with pytest.raises(OutcomeUnknown):
            await there.engine.claims.claim(StreamId("s"), takeover=True)
        there.store.lose = 0.0
        with pytest.raises(NotClaimed):
            await there.engine.claims.claim(StreamId("s"))
        second = await there.engine.claims.claim(StreamId("s"), takeover=True)
        await there.engine.writers.finish(second, End(Status.DONE))
        assert (await here.streams.wait("s")).text == "so far"


@in_virtual_time
async def test_late_read_does_not_stop_a_new_writer() -> None:
    """G3: a read that begins before a claim, and returns after it, does not stop the new writer."""
    for seed in range(20):
        async with cluster(seed) as made:
            worker = await made.add()
            await worker.streams.create("s")
            worker.store.latency_s = 0.1
            reading = asyncio.create_task(worker.engine.readers.open(StreamId("s"), None))
            writer = await worker.engine.claims.claim(StreamId("s"))
            (await reading).close()
            await asyncio.sleep(1)
            await writer.append("mine")
            await writer.flush()


@in_virtual_time
async def test_concurrent_claims_respect_the_limit() -> None:
    async with one_worker(limits=Limits(live_streams=3)) as worker:
        names = [f"s{i}" for i in range(8)]
        for name in names:
            await worker.streams.create(name)
        claims = await asyncio.gather(
            *[worker.engine.claims.claim(StreamId(name)) for name in names], return_exceptions=True
        )
        writers = [claimed for claimed in claims if isinstance(claimed, Writer)]
        assert len(writers) == 3
        refused = [claimed for claimed in claims if isinstance(claimed, TooManyStreams)]
        assert [error.limit for error in refused] == [3] * 5
        await worker.engine.writers.finish(writers[0], End(Status.DONE))
        await asyncio.sleep(0)
        await worker.engine.claims.claim(StreamId(names[-1]))


@in_virtual_time
async def test_source_without_waits_lets_other_tasks_run() -> None:
    async with one_worker() as worker:
        writer = await claim(worker)
        turns = 0

        async def other() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        task = asyncio.create_task(other())
        for _ in range(11 * 64):
            await writer.append("x")
        task.cancel()
        assert turns >= 10


@in_virtual_time
async def test_a_healthy_writer_takes_the_short_way() -> None:
    """After each commit, a writer accepts the next four messages without slow checks."""
    async with one_worker() as worker:
        writer = await claim(worker)
        await writer.append("the limits are checked once, here")
        await writer.flush()
        for _ in range(10):
            assert all(writer.append_at_once("x") for _ in range(4))
            await writer.flush()


@in_virtual_time
async def test_release_commits_all_accepted_text() -> None:
    """G3: a release stores all accepted text. Then the next writer goes on, or the stream ends."""
    timing = Timing(start_within_s=5)
    async with one_worker(timing=timing) as worker:
        for name in ("taken", "abandoned"):
            await worker.streams.create(name)
            async with worker.streams.write(name) as first:
                await first.append("first ")
                await first.release()
        async with worker.streams.write("taken", takeover=True) as second:
            assert (await second.body()).text == "first "
            await second.append("second")
        assert (await worker.streams.read("taken")).text == "first second"
        body = await asyncio.wait_for(worker.streams.wait("abandoned"), 10)
        assert (body.status, body.end and body.end.code) == ("timeout", "abandoned")


@in_virtual_time
async def test_exception_in_write_block_ends_stream() -> None:
    async with one_worker() as worker:
        await worker.streams.create("s")

        async def job() -> None:
            async with worker.streams.write("s") as writer:
                await writer.append("so far")
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await job()
        body = await worker.streams.read("s")
        assert (body.text, body.status) == ("so far", "error")
        assert body.end is not None
        assert body.end.code == "internal"


@in_virtual_time
async def test_cancelled_append_accepts_nothing() -> None:
    """G11: a cancelled append stores nothing. Otherwise a retry would store the text twice."""
    async with one_worker() as worker:
        writer = await claim(worker)
        accepted = cancelled = 0

        async def write() -> None:
            nonlocal accepted
            while accepted < 1000:
                await writer.append(f"{accepted} ")
                accepted += 1

        while accepted < 1000:
            writing = asyncio.create_task(write())
            await asyncio.sleep(0)
            if writing.cancel():
                await asyncio.wait([writing])
                cancelled += 1
        assert cancelled
        await worker.engine.writers.finish(writer, End(Status.DONE))
        assert (await worker.streams.read("s")).text == "".join(f"{n} " for n in range(1000))


@in_virtual_time
async def test_stream_ends_despite_an_invalid_result() -> None:
    """G5: a writer with an invalid result ends its stream with ``error``, and keeps the text."""
    async with one_worker() as worker:
        await worker.streams.create("s")

        async def write() -> None:
            async with worker.streams.write("s") as writing:
                await writing.append("kept")
                writing.result = object()  # type: ignore[assignment]

        with pytest.raises(InvalidMessage):
            await write()
        body = await worker.streams.read("s")
        assert (body.status, body.text) == ("error", "kept")


@in_virtual_time
async def test_end_status_must_be_terminal() -> None:
    """G5: ``finish`` refuses the status ``streaming``, and the writer goes on."""
    async with one_worker() as worker:
        await worker.streams.create("s")
        async with worker.streams.write("s") as writing:
            with pytest.raises(ValueError, match=r"not .streaming."):
                await writing.finish("streaming")
            await writing.append("goes on")
            await writing.finish(result={"tokens": 2})
            assert (await writing.body()).text == "goes on"
        assert (await worker.streams.read("s")).status == "done"


@in_virtual_time
async def test_half_a_character_uses_no_room() -> None:
    """G9, G11: half a character waits for its other half, and uses no room in the buffer."""
    async with one_worker(limits=Limits(buffer_bytes=1000)) as worker:
        writer = await claim(worker)
        await writer.append("a" + HALVES[0])
        await writer.flush()
        assert (await worker.streams.read("s")).text == "a"
        async with asyncio.timeout(1):
            await writer.append(HALVES[1] + "b" * 996)
        await writer.flush()
        assert writer.pending_bytes == 0, (
            "two joined halves take fewer bytes than two separate halves"
        )
        assert worker.engine._committer.room.used == 0
        assert (await worker.streams.read("s")).text == "a" + SMILE + "b" * 996


@in_virtual_time
async def test_half_a_character_does_not_prevent_idle() -> None:
    async with one_worker(timing=Timing(idle_s=5)) as worker:
        writer = await claim(worker)
        await writer.append(HALVES[0])
        body = await asyncio.wait_for(worker.streams.wait("s"), 10)
        assert (body.text, body.end and body.end.code) == ("\ufffd", "idle")
