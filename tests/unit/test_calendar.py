"""A jump of the wall clock does not end or delete streams at once."""

from __future__ import annotations

import asyncio
import logging

import pytest

from inkstream.engine.calendar import JUMP_S, TRUSTED_AFTER_S, Calendar
from inkstream.testing import in_virtual_time
from tests.simulation.cluster import cluster


class Clock:
    """A clock that a test sets by hand. Its wall clock shows ``at + ahead``."""

    def __init__(self) -> None:
        self.at, self.ahead = 100.0, 1.7e9

    def monotonic(self) -> float:
        return self.at

    def wall(self) -> float:
        return self.at + self.ahead


@pytest.mark.parametrize("jump_s", [JUMP_S + 1, 3 * 3600.0, -3 * 3600.0, 1e9])
def test_clock_jump_is_not_trusted(jump_s: float, caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    calendar = Calendar(clock)
    assert calendar.now() == clock.wall()
    clock.ahead += jump_s
    for _ in range(3):
        clock.at += 1
        assert calendar.now() is None
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    clock.ahead -= jump_s
    assert calendar.now() == clock.wall(), "the corrected clock is trusted"
    clock.ahead += jump_s
    assert calendar.now() is None
    clock.at += TRUSTED_AFTER_S
    assert calendar.now() == clock.wall(), "after a while, the new time is trusted"


@pytest.mark.parametrize("jump_s", [3 * 3600.0, -3 * 3600.0])
def test_time_is_counted_from_the_later_clock(jump_s: float) -> None:
    """A stream that is created while the clock is wrong is not due too early."""
    clock = Clock()
    calendar = Calendar(clock)
    right = clock.wall()
    clock.ahead += jump_s
    assert calendar.wall() == max(right, clock.wall())
    clock.ahead += 3600.0
    assert calendar.wall() == max(right, clock.wall())


def test_slow_clock_correction_is_trusted() -> None:
    clock = Clock()
    calendar = Calendar(clock)
    for _ in range(1_000):
        clock.at += 1
        clock.ahead += 0.5
        assert calendar.now() == clock.wall()


@in_virtual_time
async def test_a_stream_made_while_the_clock_is_behind() -> None:
    """When the clock is set right, the stream stays ``pending`` for its ``start_within_s``."""
    async with cluster() as made:
        worker = await made.add()
        made.clock.jump_wall(-3 * 3600)
        await asyncio.sleep(2)
        await worker.streams.create("pending", start_within_s=1200)
        made.clock.jump_wall(3 * 3600)
        await asyncio.sleep(60)
        assert (await worker.streams.read("pending")).status == "pending"
        await asyncio.sleep(1300)
        assert (await worker.streams.read("pending")).status == "timeout"


@in_virtual_time
async def test_a_jump_ends_and_deletes_nothing() -> None:
    async with cluster() as made:
        worker = await made.add()
        await worker.streams.create("pending", start_within_s=1200)
        await worker.streams.create("ended", retain_s=1200)
        async with worker.streams.write("ended") as writer:
            await writer.append("kept")
        await asyncio.sleep(2)
        made.clock.jump_wall(3 * 3600)
        await asyncio.sleep(300)
        made.clock.jump_wall(-3 * 3600)
        await asyncio.sleep(5)
        assert (await worker.streams.read("pending")).status == "pending"
        assert (await worker.streams.read("ended")).text == "kept"
        await asyncio.sleep(1300)
        assert (await worker.streams.read("pending")).status == "timeout"
        assert await worker.streams.read_many(["ended"]) == {}
