"""When its cause happens, each metric changes by the right amount."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final, TypeAlias

import pytest

from inkstream import StreamId
from inkstream.engine.sampling import Sampling
from inkstream.testing import ScriptedSource, in_virtual_time
from inkstream.testing.virtual_time import VirtualLoop
from tests.http.asgi import scope_of
from tests.simulation.cluster import Cluster, Worker, cluster
from tests.unit.recorded import Recorded

INSTRUMENTS: Final = Path(__file__).parents[2] / "src/inkstream/telemetry/instruments.py"
ALL: Final = set(re.findall(r'"(inkstream\.[\w.]+)"', INSTRUMENTS.read_text()))
ALWAYS: Final = {"inkstream.loop.lag", "inkstream.sweep.duration", "inkstream.tidy.duration"}
"""The metrics that an idle process changes, because its loop, its sweeps and ``tidy`` run."""

Cause: TypeAlias = Callable[[Cluster, Worker], Awaitable[None]]


async def written(worker: Worker, name: str = "s") -> ScriptedSource:
    source = ScriptedSource()
    await worker.streams.create(name)
    worker.streams.start(name, source)
    await asyncio.sleep(1)
    return source


async def a_stream_is_written(made: Cluster, here: Worker) -> None:
    await written(here)


async def a_piece_comes_late(made: Cluster, here: Worker) -> None:
    source = await written(here)
    await asyncio.sleep(3)
    await source.send("text")
    await asyncio.sleep(1)


async def two_pieces_in_two_streams(made: Cluster, here: Worker) -> None:
    sources = [await written(here, "a"), await written(here, "b")]
    for source in sources:
        await source.send("text")
    await asyncio.sleep(1)


async def an_answer_ends(made: Cluster, here: Worker) -> None:
    source = await written(here)
    await asyncio.sleep(4)
    await source.finish()
    await asyncio.sleep(1)


async def a_reader_comes(made: Cluster, here: Worker) -> None:
    await here.streams.create("s")
    here.readers[await here.engine.readers.open(StreamId("s"), None)] = None


async def the_store_is_away(made: Cluster, here: Worker) -> None:
    source = await written(here)
    here.store.away = True
    await source.send("waits")
    await asyncio.sleep(3)


async def the_store_comes_back(made: Cluster, here: Worker) -> None:
    await the_store_is_away(made, here)
    here.store.away = False
    await asyncio.sleep(3)


async def another_process_stops_it(made: Cluster, here: Worker) -> None:
    await written(here)
    other = await made.add()
    await other.streams.cancel("s")
    await asyncio.sleep(1)


async def another_process_dies(made: Cluster, here: Worker) -> None:
    other = await made.add()
    await written(other)
    other.kill()
    await asyncio.sleep(5)


async def a_client_takes_slowly(made: Cluster, here: Worker) -> None:
    source = await written(here)
    app = here.streams.asgi(allow_anonymous=True)
    gone = asyncio.Event()

    async def receive() -> Any:
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        await asyncio.sleep(0.2)

    reading = asyncio.create_task(app(scope_of("GET", "/s"), receive, send))
    for _ in range(10):
        await source.send("text")
        await asyncio.sleep(1)
    await asyncio.sleep(40)  # meanwhile pings are sent, and their delays must not count
    gone.set()
    await reading


async def code_blocks_the_loop(made: Cluster, here: Worker) -> None:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    loop.jump(2.0)
    await asyncio.sleep(1)


async def time_goes_by(made: Cluster, here: Worker) -> None:
    await asyncio.sleep(30)


CAUSES: Final[dict[str, tuple[Cause, float, float]]] = {
    "inkstream.streams.live": (a_stream_is_written, 1, 1),
    "inkstream.readers": (a_reader_comes, 1, 1),
    "inkstream.buffer.bytes": (the_store_is_away, len("waits"), len("waits")),
    "inkstream.stream.first_piece": (a_piece_comes_late, 3.9, 4.1),
    "inkstream.stream.duration": (an_answer_ends, 4.9, 5.1),
    "inkstream.stream.ends": (an_answer_ends, 1, 1),
    "inkstream.commits": (an_answer_ends, 2, 2),
    "inkstream.messages": (two_pieces_in_two_streams, 2, 2),
    "inkstream.bytes": (two_pieces_in_two_streams, 8, 8),
    "inkstream.commit.duration": (an_answer_ends, 0, 0.1),
    "inkstream.commit.streams": (two_pieces_in_two_streams, 4, 4),  # two claims and two texts
    "inkstream.send.delay": (a_client_takes_slowly, 1.7, 2.1),
    "inkstream.store.errors": (the_store_is_away, 2, 10),
    "inkstream.store.away": (the_store_comes_back, 2.9, 4),
    "inkstream.writers.fenced": (another_process_stops_it, 1, 1),
    "inkstream.workers.dead": (another_process_dies, 1, 1),
    "inkstream.sweep.duration": (time_goes_by, 0, 0.1),
    "inkstream.tidy.duration": (time_goes_by, 0, 0.1),
    "inkstream.loop.lag": (code_blocks_the_loop, 1.7, 2),
}
"""For each metric: what the test does, and the smallest and largest expected growth.

For a histogram, the growth is the growth of its sum.
"""


def test_all_have_a_cause() -> None:
    assert set(CAUSES) == ALL


@pytest.mark.parametrize("name", sorted(CAUSES))
def test_moves(name: str) -> None:
    cause, least, most = CAUSES[name]
    recorded = Recorded()

    @in_virtual_time
    async def play() -> None:
        async with cluster() as made:
            here = await made.add(observer=recorded.observer)
            await asyncio.sleep(0.1)
            counted, summed = recorded.total(name), recorded.sum(name)
            if name not in ALWAYS:
                assert (counted, summed) == (0, 0)
            await cause(made, here)
            assert recorded.total(name) > counted
            assert least <= recorded.sum(name) - summed <= most

    play()


def test_an_idle_process_moves_only_the_clocks() -> None:
    recorded = Recorded()

    @in_virtual_time
    async def play() -> None:
        async with cluster() as made:
            await made.add(observer=recorded.observer)
            await time_goes_by(made, made.workers[0])
            assert {name for name in ALL if recorded.total(name)} == ALWAYS

    play()


def test_gauges_fall_again() -> None:
    """When an engine stops, its streams no longer count as live."""
    recorded = Recorded()

    @in_virtual_time
    async def play() -> None:
        async with cluster() as made:
            here = await made.add(observer=recorded.observer)
            await the_store_comes_back(made, here)
            assert recorded.total("inkstream.buffer.bytes") == 0
            assert recorded.total("inkstream.streams.live") == 1
            await here.streams.cancel("s")
            assert recorded.total("inkstream.streams.live") == 0
            await written(here, "left")
        assert recorded.total("inkstream.streams.live") == 0

    play()


def test_few_of_many_are_measured() -> None:
    """Of 2500 events per tick, ``Sampling`` soon measures at most eight.

    If there are two events per tick, ``Sampling`` measures most events.
    """
    measured: list[float] = []
    sampling = Sampling(measured.append)
    for events, least, most in (
        (1, 1, 1),
        (2500, 1, 2500),
        (2500, 1, 8),
        (2500, 1, 8),
        (1, 0, 1),
    ):
        measured.clear()
        for number in range(events):
            if sampling.due():
                sampling.record(number)
        sampling.tick()
        assert least <= len(measured) <= most, events
    measured.clear()
    for _ in range(8):
        for _ in range(2):
            if sampling.due():
                sampling.record(0)
        sampling.tick()
    assert len(measured) > 12
