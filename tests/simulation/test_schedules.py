"""G1 to G5, G7, G9, G10, G12 under random schedules; a failure names the seed that shows it."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from inkstream.testing import run_virtual
from tests.simulation.cluster import cluster
from tests.simulation.world import World

Rounds = Callable[[int, int], range]


async def simulate(seed: int, steps: int) -> None:
    async with cluster(seed) as made:
        world = World(made)
        await world.run(steps)
        world.check()


@pytest.mark.timeout(3600)
def test_random_schedules(rounds: Rounds, caplog: pytest.LogCaptureFixture) -> None:
    """G1–G5, G7, G9, G10, G12."""
    caplog.set_level(logging.CRITICAL + 1, "inkstream")  # failures are what is simulated
    for seed in rounds(60, 5_000):
        try:
            run_virtual(simulate(seed, steps=60))
        except BaseException as exc:
            exc.add_note(f"in the schedule of seed {seed}")
            raise
