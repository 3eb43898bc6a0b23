"""Leases: how a worker finds out that another worker has died (G7).

A worker is dead when the lock of its process is free. It is also dead when its counter did not grow
for the lease time, while all reads of the counter succeeded in time. A failed or late read starts
the lease time anew, because this process may have been paused or the database may have been away.
The wall clock is not used.

The counters also stop growing when the database answers reads but takes no writes. So while a
worker is in doubt, the sweeper sends a beat of its own with each read. If that beat fails, the read
counts as failed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from inkstream._types import WorkerState

_MIN_READS = 4


@dataclass(slots=True)
class _Still:
    beats: int
    since: float
    reads: int = 0


class Leases:
    """What this worker has seen of the other workers."""

    def __init__(self, me: str, lease_s: float, timely_s: float) -> None:
        self._me = me
        self._lease_s = lease_s
        self._timely_s = timely_s
        self._seen: dict[str, _Still] = {}
        self._last_read: float | None = None

    def knows(self, worker: str) -> bool:
        """Return whether the last read returned this worker."""
        return worker == self._me or worker in self._seen

    def doubted(self, now: float) -> dict[str, float]:
        """Return the workers whose counter is overdue, and for how long it has not grown.

        A worker is in doubt after a third of the lease time. If the database then accepts writes
        again, the rest of the lease time is enough for the worker to beat.
        """
        return {
            worker: now - still.since
            for worker, still in self._seen.items()
            if now - still.since > self._lease_s / 3
        }

    def missed(self) -> None:
        """Record that a read failed, and start the lease time of all workers anew."""
        self._seen.clear()
        self._last_read = None

    def observe(self, workers: Iterable[WorkerState], began: float, now: float) -> list[str]:
        """Process the result of a read; return the workers that are dead.

        Args:
            workers: The workers that the read returned.
            began: When the read began, in monotonic seconds.
            now: When the read ended.
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
            still.reads += 1
            seen[worker.worker] = still
            if worker.locked is False or (
                still.reads >= _MIN_READS and now - still.since >= self._lease_s
            ):
                dead.append(worker.worker)
        self._seen = seen
        return dead
