"""Leases: how a worker finds out that another worker has died (G7).

A worker is taken for dead when its lock is free. A worker is also taken for dead when its counter
did not grow for the lease time, although this process read the counter often enough in that time. A
failed or late read starts the lease time anew, because this process may have been paused, or the
database may have been away. Leases do not depend on the wall clock.

The counters also stop growing when the database answers reads but accepts no writes. So while the
counter of a worker with streams is overdue, the sweeper sends its own beat with each read. If the
sweeper's beat fails, the read counts as failed.
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
    """Keep what this worker has read about the other workers, and decide which workers are dead.

    A read is late if it takes more than ``timely_s`` seconds, or if it ends more than ``timely_s``
    seconds after the end of the previous read.
    """

    def __init__(self, me: str, lease_s: float, timely_s: float) -> None:
        self._me = me
        self._lease_s = lease_s
        self._timely_s = timely_s
        self._seen: dict[str, _Still] = {}
        self._last_read: float | None = None

    def knows(self, worker: str) -> bool:
        """Return whether ``worker`` is this worker, or was in the last read."""
        return worker == self._me or worker in self._seen

    def doubted(self, now: float) -> dict[str, float]:
        """Return each worker whose counter is overdue, with the seconds since the counter grew.

        A counter is overdue after a third of the lease time. If the database then accepts writes
        again, a living worker has two thirds of the lease time left to beat.
        """
        return {
            worker: now - still.since
            for worker, still in self._seen.items()
            if now - still.since > self._lease_s / 3
        }

    def missed(self) -> None:
        """Record that a read failed. The lease time of every worker starts anew."""
        self._seen.clear()
        self._last_read = None

    def observe(self, workers: Iterable[WorkerState], began: float, now: float) -> list[str]:
        """Process the result of a read; return the workers that are dead.

        The read lasted from ``began`` until ``now``, in monotonic seconds.
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
