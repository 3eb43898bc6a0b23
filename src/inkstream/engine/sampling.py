"""Measures a few of many events, so that measuring costs a busy process little time."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

_A_TICK: Final = 2


class Sampling:
    """Choose about two events between two ticks, evenly spread. If there are fewer, choose all.

    The number of events between two chosen events is random. If the number were fixed, the reader
    that is always the third of forty could be the only reader that is ever measured.

    Args:
        record: Records a measurement.

    Attributes:
        record: Records a measurement.
        left: The number of events up to and including the next chosen event. A caller for which a
            call of ``due`` costs too much subtracts 1 itself, and calls ``chosen`` at zero.
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
        """Choose the next event to measure; call this at a chosen event."""
        self.left = self._random.randrange(1, 2 * self._each)
        self._drawn += self.left

    def tick(self) -> None:
        """Adapt the distance between chosen events to the number of events since the last tick."""
        counted = self._drawn - self.left
        self._each = max(1, (counted - self._counted) // _A_TICK)
        self._counted = counted
        if self.left >= 2 * self._each:  # events became rarer: the chosen one may be far away
            self._drawn -= self.left - self._each
            self.left = self._each
