"""``describe`` says why a stream is as it is, even in a process that starts after a fault."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from typing import Any

import pytest

from inkstream import PersistentTextStreaming, StreamDescription, StreamId, StreamNotFound
from inkstream.engine.identity import host_and_pid, new_worker
from inkstream.testing import ScriptedSource, in_virtual_time
from tests.simulation.cluster import Cluster, Worker, cluster


async def writing(worker: Worker, name: str = "s", **options: Any) -> ScriptedSource:
    source = ScriptedSource()
    await worker.streams.create(name, owner="ann", **options)
    worker.streams.start(name, source)
    await source.send("so far")
    await asyncio.sleep(1)
    return source


async def seen_later(made: Cluster, name: str = "s") -> StreamDescription:
    late = await made.add()
    return await late.streams.describe(name)


def codes(description: StreamDescription) -> list[str]:
    return [cause.code for cause in description.causes]


@in_virtual_time
async def test_describe_a_healthy_stream() -> None:
    async with cluster() as made:
        here, there = await made.add(), await made.add()
        await writing(here)
        readers = [await here.engine.readers.open(StreamId("s"), None)]
        readers += [await there.engine.readers.open(StreamId("s"), None) for _ in range(2)]
        for reader in readers:
            await reader.segments()
        await asyncio.sleep(7)
        description = await here.streams.describe("s", owner="ann")
        assert (description.readers.here, description.readers.elsewhere) == (1, 2)
        assert description.readers.complete
        assert description.worker is not None
        assert description.worker.alive
        assert description.worker.name == here.name
        assert codes(description) == ["delivered"]
        late = await seen_later(made)
        assert (late.readers.here, late.readers.elsewhere) == (0, 3)
        assert late.worker is not None
        assert (late.worker.alive, late.worker.name) == (True, here.name)
        assert late.last_piece_at == description.last_piece_at
        assert late.silent_s is not None
        assert 6 < late.silent_s < 10
        assert (late.epoch, late.messages, late.size) == (1, 1, 6)
        assert json.loads(json.dumps(late.as_json()))["worker"]["name"] == here.name
        for reader in readers:
            reader.close()


@in_virtual_time
async def test_describe_hides_other_owners_streams() -> None:
    async with cluster() as made:
        here = await made.add()
        await here.streams.create("s", owner="ann")
        for rights in ({"owner": "bob"}, {"group": "g"}):
            with pytest.raises(StreamNotFound):
                await here.streams.describe("s", **rights)
        with pytest.raises(StreamNotFound):
            await here.streams.describe("none")


@in_virtual_time
async def test_the_source_is_silent() -> None:
    async with cluster() as made:
        await writing(await made.add())
        await asyncio.sleep(40)
        description = await seen_later(made)
        assert codes(description) == ["source_silent", "no_reader"]
        assert "for 4" in description.causes[0].message


@in_virtual_time
async def test_the_rates_of_the_last_minute() -> None:
    async with cluster() as made:
        source = await writing(await made.add())
        for _ in range(80):
            await source.send("0123456789")
            await asyncio.sleep(1)
        rates = (await seen_later(made)).rates
        assert rates is not None
        assert 0.8 < rates.messages_s < 1.2
        assert 8 < rates.bytes_s < 12


@in_virtual_time
async def test_killed_writer_is_named_after_the_end() -> None:
    """G7: ten minutes after a stream's end, ``describe`` still names the killed writer's worker."""
    async with cluster() as made:
        here = await made.add()
        await writing(here)
        here.kill()
        late = await made.add()
        description = await late.streams.describe("s")
        assert codes(description) == ["writer_dead"]
        assert description.worker is not None
        assert (description.worker.alive, description.worker.locked) == (False, False)
        await asyncio.sleep(600)
        description = await late.streams.describe("s")
        assert codes(description) == ["ended"]
        assert "process died" in description.causes[0].message
        assert description.worker is not None
        assert description.worker.name == here.name
        assert description.worker.host == host_and_pid(here.name)[0]


@in_virtual_time
async def test_describe_a_cut_off_host() -> None:
    async with cluster() as made:
        here = await made.add()
        await writing(here)
        here.lose_host()
        await asyncio.sleep(9)
        assert codes(await seen_later(made)) == ["beat_late"]
    async with cluster() as made:
        here = await made.add()
        await writing(here)
        here.lose_host()
        await asyncio.sleep(20)
        assert codes(await seen_later(made)) == ["writer_unheard"]


@in_virtual_time
async def test_describe_a_stuck_reader() -> None:
    """G9: ``describe`` shows a reader that takes no segments."""
    async with cluster() as made:
        here, there = await made.add(), await made.add()
        source = await writing(here)
        slow = await there.engine.readers.open(StreamId("s"), None)
        for _ in range(12):
            await source.send("more")
            await asyncio.sleep(1)
        description = await seen_later(made)
        assert codes(description) == ["reader_behind"]
        assert description.readers.behind == 1
        assert description.readers.behind_s > 5
        slow.close()


@in_virtual_time
async def test_the_store_was_away() -> None:
    """G12: after an outage, ``describe`` shows the outage for about a minute."""
    async with cluster() as made:
        here = await made.add()
        source = await writing(here)
        here.store.away = True
        await source.send("waits")
        await asyncio.sleep(8)
        own = here.engine.condition.now()
        assert own["store_away_s"] > 7
        assert codes(await seen_later(made)) == ["beat_late"]
        here.store.away = False
        await asyncio.sleep(3)
        description = await seen_later(made)
        assert codes(description)[0] == "store_away"
        await asyncio.sleep(70)
        assert "store_away" not in codes(await seen_later(made))


@in_virtual_time
async def test_describe_without_a_writer() -> None:
    async with cluster() as made:
        here = await made.add()
        await here.streams.create("p", start_within_s=60)
        pending = await here.streams.describe("p")
        assert codes(pending) == ["not_started"]
        assert pending.worker is None
        assert pending.due is not None
        assert "never_started" in pending.due.action
        await here.streams.create("w", takeover_within_s=60)
        async with here.streams.write("w") as writer:
            await writer.append("text")
            await writer.release()
        assert codes(await here.streams.describe("w")) == ["let_go"]
        await here.streams.create("log", kind="log")
        assert codes(await here.streams.describe("log")) == ["open"]
        await asyncio.sleep(70)
        ended = [await here.streams.describe(name) for name in "pw"]
        assert [description.end and description.end.code for description in ended] == [
            "never_started",
            "abandoned",
        ]


@in_virtual_time
async def test_worker_description_is_bounded() -> None:
    async with cluster() as made:
        here = await made.add()
        for number in range(400):
            await here.streams.create(f"s{number}")
            here.streams.start(f"s{number}", ScriptedSource())
        await asyncio.sleep(10)
        (report,) = (await here.store.roster()).workers
        said = json.loads(report.said)
        assert len(said["streams"]) == 256
        assert said["unlisted"] == 144
        assert len(report.said) < 16_000
        assert not (await seen_later(made, "s399")).readers.complete


def test_worker_name_has_host_and_pid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "web\0 7.example")
    host, pid = host_and_pid(new_worker())
    assert host == "web--7.example"
    assert pid is not None
    assert host_and_pid("named by a test") == (None, None)


async def test_the_first_beat_after_a_block_says_where_it_was() -> None:
    """After a block, the worker's description still names the line that blocked the loop."""
    async with PersistentTextStreaming("memory://") as streams:
        said = streams.engine.condition.said
        during: list[str] = []
        watching = threading.Timer(1.1, lambda: during.append(said()))
        watching.start()
        time.sleep(1.3)  # noqa: ASYNC251 - the fault under test
        after = json.loads(said())
        watching.join()
    assert after["blocked_at"] == json.loads(during[0])["blocked_at"] is not None
