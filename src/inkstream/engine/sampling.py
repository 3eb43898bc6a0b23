"""Chooses a few of many events to measure, because it would cost too much to measure each event."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

_A_TICK: Final = 2


class Sampling:
    """Choose about two of the events between two ticks. If there are fewer events, choose all.

    The number of events between two chosen events is random. If this number were always forty, and
    the server sent every commit to forty readers in turn, every chosen event would be a send to the
    same reader.

    Attributes:
        record: Records a measurement.
        left: The number of events up to and including the next chosen event. A caller that must be
            fast does not call ``due``: for each event it subtracts 1 from ``left``, and calls
            ``chosen`` when ``left`` is zero.
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
        """Count an event; return whether the caller must measure the event."""
        self.left -= 1
        if self.left:
            return False
        self.chosen()
        return True

    def chosen(self) -> None:
        """Choose the next event to measure. Call this method at each chosen event."""
        self.left = self._random.randrange(1, 2 * self._each)
        self._drawn += self.left

    def tick(self) -> None:
        """Adapt the distance between chosen events to the number of events since the last tick."""
        counted = self._drawn - self.left
        self._each = max(1, (counted - self._counted) // _A_TICK)
        self._counted = counted
        if self.left >= 2 * self._each:  # events became rarer, so the next choice is too far away
            self._drawn -= self.left - self._each
            self.left = self._each
