"""Decides when a worker's free lock means that the worker is dead.

A worker holds an advisory lock in its session. PostgreSQL releases the lock when the worker's
process ends. But a lock can be free although the worker lives. This happens to a worker that has
just lost its connection, and to all workers after a restart of the server. So a free lock means
that the worker is dead only if all of this is true:

- The worker took the lock after the last start of the server. A row in an unlogged table shows
  this, because a crash empties the table. The row also contains the server's start time, which a
  restart changes.
- A second read, 0.5 to 3 seconds later, shows that the lock is still free and that the
  worker has not beaten. A living worker that lost its connection usually has a new one within
  milliseconds. If the worker cannot open a new connection for the lock, it records the loss
  (``unlock_worker``) through a connection of the store's pool.
- In both reads, the statement that read the lock also committed a beat of the worker that reads.
  While the database takes no writes, no worker can take its lock again or record that it lost its
  lock, so the locks of living workers look free.

Until all of this is true, the lock's state is *unknown*, and only missing beats show that a worker
is dead.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from inkstream._types import WorkerState

CONFIRM_S: Final = 0.5
_TIMELY_S: Final = 3.0

Row = tuple[str, int, str]
"""A worker, its counter, and the state of its lock: held, free, released or unknown."""


class Locks:
    """What this process knows about the other workers' locks."""

    def __init__(self) -> None:
        self._dead: dict[str, int] = {}
        self._confirming: set[str] = set()

    async def judge(
        self,
        rows: Sequence[Row],
        look_again: Callable[[], Awaitable[Sequence[Row]]],
        *,
        beaten: bool,
    ) -> list[WorkerState]:
        """Return the workers' states. If a lock has become free, wait half a second and read again.

        Args:
            rows: The rows of the last read.
            look_again: Beats again and returns new rows, in one statement.
            beaten: Whether the statement that returned ``rows`` committed a beat.
        """
        suspects = self._suspects(rows)
        if suspects and not beaten:
            rows = await look_again()
            suspects = self._suspects(rows)
        if suspects:
            self._confirming.update(suspects)
            try:
                first = time.monotonic()
                await asyncio.sleep(CONFIRM_S)
                rows = await look_again()
                if time.monotonic() - first < _TIMELY_S:
                    self._dead.update(
                        (worker, beats)
                        for worker, beats, lock in rows
                        if lock == "free" and suspects.get(worker) == beats
                    )
            finally:
                self._confirming.difference_update(suspects)
        free = {worker: beats for worker, beats, lock in rows if lock == "free"}
        self._dead = {w: beats for w, beats in self._dead.items() if free.get(w) == beats}
        return [
            WorkerState(worker, beats, self._locked(worker, lock)) for worker, beats, lock in rows
        ]

    def _suspects(self, rows: Sequence[Row]) -> dict[str, int]:
        return {
            worker: beats
            for worker, beats, lock in rows
            if lock == "free" and self._dead.get(worker) != beats and worker not in self._confirming
        }

    def _locked(self, worker: str, lock: str) -> bool | None:
        if lock == "held":
            return True
        if lock == "released" or worker in self._dead:
            return False
        return None
