"""Events reach every observer, and a mistake in one observer affects no other observer."""

from __future__ import annotations

import asyncio
import inspect
import logging
from typing import Any

import pytest

from inkstream.engine.observer import Ended, Observer
from inkstream.engine.observers import Observers
from inkstream.testing import ScriptedSource, in_virtual_time
from tests.simulation.cluster import cluster, one_worker

EVENTS = [name for name in vars(Observer) if not name.startswith("_") and name != "samples_sends"]


class Noting(Observer):
    """Records each event, and then raises ``ValueError`` if ``fails`` is true."""

    def __init__(self, *, fails: bool = False) -> None:
        self.noted: list[str] = []
        for event in EVENTS:
            setattr(self, event, self._noting(event, fails))

    def _noting(self, event: str, fails: bool) -> Any:
        def note(*arguments: object) -> None:
            self.noted.append(event)
            if fails:
                raise ValueError(event)

        return note


@pytest.mark.parametrize("event", EVENTS)
def test_every_event_is_passed_on(event: str, caplog: pytest.LogCaptureFixture) -> None:
    """An event that is missing in ``Observers`` would reach no observer."""
    first, second = Noting(fails=True), Noting()
    method = getattr(Observers(first, second), event)
    method(*[None] * len(inspect.signature(method).parameters))
    assert first.noted == second.noted == [event]
    assert f"failed in {event}()" in caplog.text


def test_sends_are_sampled_if_one_wants_them() -> None:
    sampling = Noting()
    sampling.samples_sends = True
    assert Observers(Noting(), sampling).samples_sends
    assert not Observers(Noting(), Noting()).samples_sends


def test_an_observer_that_fails_stops_no_stream(caplog: pytest.LogCaptureFixture) -> None:
    """G1: an exception of an application's observer must not end the task that commits."""
    failing = Noting(fails=True)

    @in_virtual_time
    async def play() -> None:
        async with cluster() as made:
            here = await made.add(observer=failing)
            await here.streams.create("s")
            source = ScriptedSource()
            here.streams.start("s", source)
            await source.send("text")
            await asyncio.sleep(1)
            await source.finish()
            assert (await here.streams.wait("s")).status == "done"
            assert (await here.streams.read("s")).text == "text"

    with caplog.at_level(logging.ERROR):
        play()
    seen = {"opened", "claimed", "running", "first_piece", "committed", "ended", "lagged", "swept"}
    assert seen <= set(failing.noted)


class Durations(Observer):
    def __init__(self) -> None:
        self.of: dict[str, float] = {}

    def ended(self, ended: Ended) -> None:
        self.of[ended.stream.stream_id] = round(ended.duration_s)


@in_virtual_time
async def test_durations_count_from_what_the_docs_say() -> None:
    """A duration begins at the claim of the writer that ends the stream.

    If a cancel ends the stream, the duration begins at the first claim. If nobody claimed the
    stream, the duration begins at the creation.
    """
    durations = Durations()
    async with one_worker(observer=durations) as worker:
        streams = worker.streams
        for name in ("unclaimed", "cancelled", "finished"):
            await streams.create(name, takeover_within_s=60)
        for name in ("cancelled", "finished"):
            async with streams.write(name) as writer:
                await writer.append("text")
                await writer.flush()
                if name == "finished":
                    await asyncio.sleep(2)
                await writer.release()
        await asyncio.sleep(1)
        async with streams.write("finished", takeover=True):
            await asyncio.sleep(4)
        await streams.cancel("cancelled")
        await streams.cancel("unclaimed")
    assert durations.of == {"finished": 4, "cancelled": 7, "unclaimed": 7}
