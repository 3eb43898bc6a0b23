"""Generations: which messages of a stream were committed before and after a loss of data.

A restore from a backup, or a failover, may lose messages that readers have already received. The
store then draws a new generation for everything that is committed later. An offset names the
generation of the message before it, so the offset is valid only while that message is still stored
(docs/decisions/0014).
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from typing import Final, NamedTuple, TypeAlias

MAX_RUNS: Final = 32
"""A stream keeps at most this many runs. When it gets one more, the oldest two are merged."""

_GENERATIONS: Final = 1 << 24


class Run(NamedTuple):
    """Consecutive messages of one generation, up to the first message of the next run.

    Attributes:
        first: The number of the first message; the stream's first message has number 0. The end of
            a stream counts as one more message.
        generation: The store's generation when these messages were committed; never 0.
    """

    first: int
    generation: int


Runs: TypeAlias = tuple[Run, ...]


def generation_of(runs: Runs, count: int) -> int:
    """Return the generation of the last of ``count`` messages, or 0 if there is none."""
    for run in reversed(runs):
        if run.first < count:
            return run.generation
    return 0


def extended(runs: Runs, first: int, generation: int) -> Runs:
    """Return a stream's runs after messages of a generation were added, from ``first`` on."""
    if runs and runs[-1].generation == generation:
        return runs
    if runs and runs[-1].first == first:  # the last run is still empty
        return extended(runs[:-1], first, generation)
    runs = (*runs, Run(first, generation))
    if len(runs) > MAX_RUNS:
        # The merge never makes an invalid offset valid, because no offset in the first run has the
        # second run's generation. A valid offset in the first run becomes invalid: its reader must
        # start again.
        runs = (Run(runs[0].first, runs[1].generation), *runs[2:])
    return runs


def inherited(runs: Runs, position: int) -> Runs:
    """Return a fork's runs: those of the source's messages before ``position``."""
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
    """Return the runs in the format of a store: a flat JSON array."""
    return json.dumps([number for run in runs for number in run], separators=(",", ":"))


def load_runs(numbers: Sequence[int]) -> Runs:
    """Return the runs that are stored in a flat array."""
    return tuple(map(Run, numbers[::2], numbers[1::2]))
