"""Measure a few of many events, so that a busy process spends little on being watched."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

_A_TICK: Final = 2


class Sampling:
    """Choose about two events between two ticks, evenly spread, and all where there are fewer.

    Chance sets the distances: with a fixed one, the reader that is always the third of forty could
    be the only one that is ever measured.

    Args:
        record: Takes a measurement.

    Attributes:
        record: The same.
        left: Events up to the next one to measure, itself included. A caller that is too busy for
            ``due`` counts it down itself, and calls ``chosen`` at zero.
    """

    __slots__ = ("_counted", "_drawn", "_each", "_random", "left", "record")

    def __init__(self, record: Callable[[float], None]) -> None:
        self.record = record
        self.left = 1
        self._each = 1
        self._drawn = 1
        self._counted = 0
        self._random = random.Random(0)

    def due(self) -> bool:
        """Count an event; return whether to measure it."""
        self.left -= 1
        if self.left:
            return False
        self.chosen()
        return True

    def chosen(self) -> None:
        """Choose the next event to measure, after one that was."""
        self.left = self._random.randrange(1, 2 * self._each)
        self._drawn += self.left

    def tick(self) -> None:
        """Choose more or fewer, by how many events came since the last tick."""
        counted = self._drawn - self.left
        self._each = max(1, (counted - self._counted) // _A_TICK)
        self._counted = counted
        if self.left >= 2 * self._each:  # it was busy: the next one might be far away
            self._drawn -= self.left - self._each
            self.left = self._each
