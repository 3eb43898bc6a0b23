"""``on_end`` is called for every end, even if the process died or the store was away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from inkstream import StreamBody, Timing
from inkstream.engine.reports import REPORT_TRIES
from inkstream.testing import ScriptedSource, in_virtual_time
from tests.simulation.cluster import cluster
from tests.unit.test_sweeper import stream


@pytest.mark.parametrize("end", ["finish", "fail", "cancel", "kill", "never started"])
@in_virtual_time
async def test_every_end_is_reported(end: str) -> None:
    async with cluster() as made:
        here = await made.add(reports=True, timing=Timing(start_within_s=5))
        there = await made.add(reports=True)
        source = ScriptedSource()
        await here.streams.create("s")
        if end != "never started":
            here.streams.start("s", source)
            await source.send("so far")
        if end == "finish":
            await source.finish({"tokens": 2})
        elif end == "fail":
            await source.fail(RuntimeError("no"))
        elif end == "cancel":
            await there.streams.cancel("s")
        elif end == "kill":
            here.kill()
        await asyncio.sleep(20)
        [body] = made.ended
        assert body == await there.streams.read("s")
        assert body.status.ended


@in_virtual_time
async def test_process_with_on_end_makes_the_report() -> None:
    """If a process dies before its report, the report waits for a process with an ``on_end``."""
    async with cluster() as made:
        killed = await made.add(reports=True)
        await made.add()
        source = await stream(killed)
        killed.engine.life.spawn(source.finish())
        made.on_end_fails = 1.0
        await asyncio.sleep(0.5)
        killed.kill()
        made.on_end_fails = 0.0
        await asyncio.sleep(30)
        assert made.ended == []
        await made.add(reports=True)
        await asyncio.sleep(5)
        assert [body.status for body in made.ended] == ["done"]


@in_virtual_time
async def test_an_on_end_that_raises_is_called_again() -> None:
    calls: list[StreamBody] = []

    async def on_end(body: StreamBody) -> None:
        calls.append(body)
        if len(calls) < 3:
            raise RuntimeError("billing is away")

    async with cluster() as made:
        worker = await made.add(on_end=on_end)
        await (await stream(worker)).finish()
        await asyncio.sleep(60)
        assert len(calls) == 3
        assert not made.witness.histories[1].state.report


@pytest.mark.parametrize("error", [RuntimeError, asyncio.CancelledError])
@in_virtual_time
async def test_an_on_end_that_always_raises_is_given_up(error: type[BaseException]) -> None:
    calls: list[StreamBody] = []

    async def on_end(body: StreamBody) -> None:
        calls.append(body)
        raise error

    async with cluster() as made:
        worker = await made.add(on_end=on_end)
        await (await stream(worker)).finish()
        await asyncio.sleep(120)
        assert len(calls) == REPORT_TRIES
        assert not made.witness.histories[1].state.report


@in_virtual_time
async def test_report_waits_for_the_store() -> None:
    """G12: a failed read of the store does not count as a failure of ``on_end``."""
    async with cluster() as made:
        worker = await made.add(reports=True)
        made.on_end_fails = 1.0
        source = await stream(worker)
        await source.finish()
        await asyncio.sleep(0.5)
        made.on_end_fails = 0.0
        worker.store.away = True
        await asyncio.sleep(120)
        assert not made.ended
        worker.store.away = False
        await asyncio.sleep(30)
        assert [body.text for body in made.ended] == ["so far"]


@in_virtual_time
async def test_an_on_end_that_deletes_its_stream(caplog: pytest.LogCaptureFixture) -> None:
    calls = []

    async def on_end(body: StreamBody) -> None:
        calls.append(body.stream_id)
        await worker.streams.delete(body.stream_id)

    async with cluster() as made:
        worker = await made.add(on_end=on_end)
        await (await stream(worker)).finish()
        await asyncio.sleep(30)
        assert calls == ["s"]
        assert made.witness.histories[1].deleted
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


@in_virtual_time
async def test_lost_end_is_reported_by_its_worker() -> None:
    """G5: a worker reports a stream's end even if the outcome of the end's commit was lost."""
    async with cluster() as made:
        worker = await made.add(reports=True)
        await worker.streams.create("s")
        worker.store.lose = 1.0
        with pytest.raises(Exception, match="lost on the way back"):
            await worker.streams.cancel("s")
        worker.store.lose = 0.0
        await asyncio.sleep(20)
        assert [body.status for body in made.ended] == ["cancelled"]


@in_virtual_time
async def test_stop_waits_for_running_reports() -> None:
    done = asyncio.Event()

    async def on_end(body: StreamBody) -> None:
        await asyncio.sleep(1)
        done.set()

    async with cluster() as made:
        worker = await made.add(on_end=on_end)
        await (await stream(worker)).finish()
    assert done.is_set()


@in_virtual_time
async def test_one_worker_reports_many_ends() -> None:
    """One worker reports all ends, even if there are more ends than one query returns."""

    async def source() -> AsyncIterator[str]:
        yield "x"

    async with cluster() as made:
        silent = await made.add(reports=True)
        for n in range(450):
            await silent.streams.create(f"s{n}")
            silent.streams.start(f"s{n}", source)
        made.on_end_fails = 1.0
        await asyncio.sleep(1)
        silent.kill()
        made.on_end_fails = 0.0
        await made.add(reports=True)
        await asyncio.sleep(30)
        assert len({body.stream_id for body in made.ended}) == 450
