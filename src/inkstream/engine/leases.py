"""Leases: how a worker shows that it lives, and how others see that one has died (G7).

A worker is dead when the lock that dies with it is free, or when its counter stood still for the
lease, seen by reads that all succeeded in time. A read that failed, or came late because this
process was paused or the database away, begins the count again. No wall clock takes part.

A counter also stands still while the database takes no writes and answers reads. So only reads in
whose statement a beat of this worker's own committed count, and they must span half the lease.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from inkstream._types import WorkerState

_MIN_READS = 4


@dataclass(slots=True)
class _Still:
    beats: int
    since: float
    reads: int = 0
    proven_since: float = math.inf


class Leases:
    """All that this worker has seen of the others."""

    def __init__(self, me: str, lease_s: float, timely_s: float) -> None:
        self._me = me
        self._lease_s = lease_s
        self._timely_s = timely_s
        self._seen: dict[str, _Still] = {}
        self._last_read: float | None = None

    def knows(self, worker: str) -> bool:
        """Tell if the last read showed this worker."""
        return worker == self._me or worker in self._seen

    def doubted(self, now: float) -> dict[str, float]:
        """Return the workers whose counter should have moved, and how long it stood still."""
        return {
            worker: now - still.since
            for worker, still in self._seen.items()
            if now - still.since > self._lease_s / 3
        }

    def missed(self) -> None:
        """Note that a read failed: what was counted so far means nothing."""
        self._seen.clear()
        self._last_read = None

    def observe(
        self, workers: Iterable[WorkerState], began: float, now: float, *, beaten: bool
    ) -> list[str]:
        """Take a read that lasted from ``began`` to ``now``; return the workers that are dead.

        Args:
            workers: The workers that it showed.
            began: When it began, in monotonic seconds.
            now: When it ended.
            beaten: Whether this worker's own beat committed in the same statement.
        """
        late = self._last_read is not None and now - self._last_read > self._timely_s
        if late or now - began > self._timely_s:
            self._seen.clear()
        self._last_read = now
        dead: list[str] = []
        seen: dict[str, _Still] = {}
        for worker in workers:
            if worker.worker == self._me:
                continue
            still = self._seen.get(worker.worker)
            if still is None or still.beats != worker.beats:
                still = _Still(worker.beats, now)
            if beaten:
                still.reads += 1
                still.proven_since = min(still.proven_since, now)
            seen[worker.worker] = still
            if worker.locked is False or (
                still.reads >= _MIN_READS
                and now - still.since >= self._lease_s
                and now - still.proven_since >= self._lease_s / 2
            ):
                dead.append(worker.worker)
        self._seen = seen
        return dead
