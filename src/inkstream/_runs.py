"""Generations: which of a stream's messages were committed between two rewinds of the store.

A restore from a backup, or a failover, may lose messages that readers have. Whatever is committed
after it stands in another generation, so an offset that names the generation of the message before
it is right only while that message is still there (docs/decisions/0014).
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from typing import Final, NamedTuple, TypeAlias

MAX_RUNS: Final = 32
"""A stream keeps this many; of one more, the oldest two become one."""

_GENERATIONS: Final = 1 << 24


class Run(NamedTuple):
    """Consecutive messages of one generation, up to where the next run begins.

    Attributes:
        first: The number of the first message, from 0. An end counts as the message after the last.
        generation: The store's generation when they were committed; never 0.
    """

    first: int
    generation: int


Runs: TypeAlias = tuple[Run, ...]


def generation_of(runs: Runs, count: int) -> int:
    """Return the generation of the last of ``count`` messages; 0 where there is none."""
    for run in reversed(runs):
        if run.first < count:
            return run.generation
    return 0


def extended(runs: Runs, first: int, generation: int) -> Runs:
    """Return the runs of a stream that gains messages from ``first`` on, in a generation."""
    if runs and runs[-1].generation == generation:
        return runs
    if runs and runs[-1].first == first:  # it held nothing yet
        return extended(runs[:-1], first, generation)
    runs = (*runs, Run(first, generation))
    if len(runs) > MAX_RUNS:
        # No offset in the first run ever had the second one's generation. So none that is wrong
        # becomes right, and a reader that begins anew can get past it.
        runs = (Run(runs[0].first, runs[1].generation), *runs[2:])
    return runs


def inherited(runs: Runs, position: int) -> Runs:
    """Return the runs of a fork's messages before ``position``."""
    return tuple(run for run in runs if run.first < position)


def is_generation(number: int) -> bool:
    """Tell whether a generation may have this number."""
    return 0 < number < _GENERATIONS


def draw_generation(other_than: int) -> int:
    """Return a random generation that is neither 0 nor the given one."""
    while (drawn := 1 + secrets.randbelow(_GENERATIONS - 1)) == other_than:
        pass
    return drawn


def dump_runs(runs: Runs) -> str:
    """Return the runs as a store may keep them: a flat JSON array."""
    return json.dumps([number for run in runs for number in run], separators=(",", ":"))


def load_runs(numbers: Sequence[int]) -> Runs:
    """Return the runs that a flat array says."""
    return tuple(map(Run, numbers[::2], numbers[1::2]))
