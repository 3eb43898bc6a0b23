"""Ends live streams that are due, and calls ``Store.tidy``, the housekeeping of the store."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from inkstream._errors import StoreUnavailable
from inkstream._types import End, Query, Status
from inkstream.engine.changes import Changes
from inkstream.engine.core import Core

_log = logging.getLogger("inkstream")

_LOOK_S: Final = 1.0
_BATCH: Final = 200
_TIDY_BYTES: Final = 1024 * 1024

NEVER_STARTED = End(Status.TIMEOUT, "never_started", "The answer was never started.")
ABANDONED = End(Status.TIMEOUT, "abandoned", "The answer was interrupted and not taken up again.")


class DueStreams:
    """End live streams that are due, and call ``Store.tidy``, again and again."""

    def __init__(self, core: Core, changes: Changes) -> None:
        self._store = core.store
        self._clock = core.clock
        self._observer = core.observer
        self._tidy_s = core.timing.tidy_s
        self._changes = changes

    async def run(self) -> None:
        """End due streams until cancelled."""
        while True:
            more = False
            try:
                more = await self._end_some()
            except StoreUnavailable:
                pass
            except Exception:
                _log.exception("streams that are due could not be ended; trying again")
            await asyncio.sleep(0 if more else _LOOK_S)

    async def _end_some(self) -> bool:
        """End one batch of due streams; return whether more streams may be due now."""
        now = self._clock.now()
        if now is None:
            return False
        found = await self._store.find(
            Query(
                due_before=now,
                statuses=(Status.PENDING, Status.STREAMING),
                worker=None,
                limit=_BATCH,
            )
        )
        ends = [
            self._changes.end_as_seen(
                state, NEVER_STARTED if state.status is Status.PENDING else ABANDONED
            )
            for state in found
        ]
        done = await asyncio.gather(*ends)
        return len(found) == _BATCH and any(state is not None for state in done)

    async def run_tidy(self) -> None:
        """Call ``Store.tidy`` until cancelled."""
        while True:
            pause = self._tidy_s
            began = self._clock.monotonic()
            try:
                now = self._clock.now()
                # While the wall clock is not trusted, ``tidy`` gets the time 0 (in the year 1970).
                # No stream is due then, so ``tidy`` merges segments but deletes no stream.
                if await self._store.tidy(0.0 if now is None else now, _TIDY_BYTES):
                    pause = min(pause, 0.02)
                self._observer.tidied(self._clock.monotonic() - began)
            except StoreUnavailable:
                pass
            except Exception:
                _log.exception("tidying the store failed; trying again")
            await asyncio.sleep(pause)
