"""Random schedules of calls and faults. The id of a failed test contains its seed."""

from __future__ import annotations

import logging

import pytest

from inkstream.testing import run_virtual
from tests.simulation.cluster import cluster
from tests.simulation.world import World


async def simulate(seed: int, steps: int) -> None:
    async with cluster(seed) as made:
        world = World(made)
        await world.run(steps)
        world.check()


@pytest.mark.seeds(60, 5_000)
def test_random_schedules(seed: int, caplog: pytest.LogCaptureFixture) -> None:
    """G1–G5, G7, G9, G10, G12: a random schedule of calls and faults breaks no guarantee."""
    caplog.set_level(logging.CRITICAL + 1, "inkstream")  # the library logs simulated failures
    run_virtual(simulate(seed, steps=60))
