"""When a worker's lock, found free, means that the worker is dead.

A worker holds an advisory lock on its session, which PostgreSQL releases the moment that the
process is gone. But a living worker's lock is free too, for a moment, when it lost just that
connection; and everybody's is after a restart of the server. So a free lock is *death* only if

- it was taken in this life of the server: the row that says so is in an unlogged table, which a
  crash empties, and holds the server's start time, which a restart changes;
- it is still free, and the worker has not beaten, half a second later, by a timely read. A worker
  that lost the connection is back in some milliseconds; and if it cannot get a new one at once, it
  says so (``unlock_worker``) through any other connection that it has;
- both reads belong to statements in which the observer's own beat committed. While the database
  takes no writes, nobody can take a lock again, or say that it was lost: all locks look free.

Until then it is *unknown*, and the beats decide.
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
"""A worker, its beats, and its lock: held, free, released or unknown."""


class Locks:
    """This process's view of the others' locks."""

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
        """Return the workers' states; takes half a second once for each lock that became free.

        Args:
            rows: The rows that a read has just shown.
            look_again: Beats and reads once more, in one statement.
            beaten: Whether the statement that showed ``rows`` committed a beat.
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
