"""Limit how often clients ask for more after the end of a closed stream."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from inkstream.abc import Clock


@dataclass(slots=True)
class _Bucket:
    left: float
    at: float


class ClosedPolls:
    """Allow ``burst`` polls at once after the end of a stream, and later ``rate`` polls per second.

    Args:
        clock: Measures the time between polls.
        rate: Polls per second, for each client and stream.
        burst: How many polls may come at once.
        remembered: How many pairs of client and stream to remember. The pair that was unused for
            the longest time is forgotten first.
    """

    def __init__(self, clock: Clock, *, rate: float, burst: int, remembered: int = 10_000) -> None:
        self._clock = clock
        self._rate = rate
        self._burst = burst
        self._remembered = remembered
        self._buckets: OrderedDict[tuple[int, str], _Bucket] = OrderedDict()

    def allow(self, internal_id: int, client: str) -> bool:
        """Count one poll, and return whether to answer the poll."""
        now = self._clock.monotonic()
        key = (internal_id, client)
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = _Bucket(self._burst, now)
            if len(self._buckets) > self._remembered:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(key)
        bucket.left = min(self._burst, bucket.left + (now - bucket.at) * self._rate)
        bucket.at = now
        if bucket.left < 1:
            return False
        bucket.left -= 1
        return True
