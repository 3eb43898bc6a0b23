"""Runs: which messages of a stream were committed in which generation of the store.

A restore from a backup, or a failover, may lose messages that readers have already received. After
such a loss, the store gives all later commits a new generation. An offset contains the generation
of the message before the offset. So the offset becomes invalid if another message takes the place
of this message (docs/decisions/0014).
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from typing import Final, NamedTuple, TypeAlias

MAX_RUNS: Final = 32
"""The maximum number of runs of a stream. If a stream gets more, the two oldest are merged."""

_GENERATIONS: Final = 1 << 24


class Run(NamedTuple):
    """Consecutive messages of one generation, up to the first message of the next run.

    Attributes:
        first: The number of the run's first message. The stream's first message has the number 0.
            The end of a stream counts as one more message.
        generation: The store's generation when these messages were committed; never 0. Merged runs
            have the generation of the later run.
    """

    first: int
    generation: int


Runs: TypeAlias = tuple[Run, ...]


def generation_of(runs: Runs, count: int) -> int:
    """Return the generation of the message before the position ``count``; 0 if there is none."""
    for first, generation in reversed(runs):
        if first < count:
            return generation
    return 0


def extended(runs: Runs, first: int, generation: int) -> Runs:
    """Return the runs after one more commit, which belongs to ``generation``.

    ``first`` is the number of the commit's first message.
    """
    if runs and runs[-1].generation == generation:
        return runs
    if runs and runs[-1].first == first:  # the last run has no messages, so remove the run
        return extended(runs[:-1], first, generation)
    runs = (*runs, Run(first, generation))
    if len(runs) > MAX_RUNS:
        # The messages of the first run get the second run's generation. A valid offset in the first
        # run becomes invalid, so its reader must start again. An invalid offset stays invalid,
        # because no offset before the second run has the second run's generation.
        runs = (Run(runs[0].first, runs[1].generation), *runs[2:])
    return runs


def inherited(runs: Runs, position: int) -> Runs:
    """Return the part of ``runs`` that a fork gets if it copies messages up to ``position``."""
    return tuple(run for run in runs if run.first < position)


def is_generation(number: int) -> bool:
    """Return whether ``number`` is a valid generation."""
    return 0 < number < _GENERATIONS


def draw_generation(other_than: int) -> int:
    """Return a random generation that is neither 0 nor ``other_than``."""
    while (drawn := 1 + secrets.randbelow(_GENERATIONS - 1)) == other_than:
        pass
    return drawn


def dump_runs(runs: Runs) -> str:
    """Return ``runs`` in the form in which a store keeps them: a flat JSON array of numbers."""
    return json.dumps([number for run in runs for number in run], separators=(",", ":"))


def load_runs(numbers: Sequence[int]) -> Runs:
    """Return the runs that ``dump_runs`` wrote as ``numbers``."""
    return tuple(map(Run, numbers[::2], numbers[1::2]))
