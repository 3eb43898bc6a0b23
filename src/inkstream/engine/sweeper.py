"""The sweeper ends the streams of dead workers, or frees them for other workers (G7)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Final, TypeAlias

from inkstream._errors import StoreUnavailable
from inkstream._types import End, Query, Status, StreamState
from inkstream.engine.changes import Changes
from inkstream.engine.core import Core
from inkstream.engine.presence import Presence
from inkstream.engine.tails import Tails

_log = logging.getLogger("inkstream")

_BATCH: Final = 200

WRITER_LOST = End(Status.TIMEOUT, "writer_lost", "The answer was interrupted.")

_Seen: TypeAlias = tuple[int, int, Status]


class Sweeper:
    """Look repeatedly for dead workers, and act on their streams."""

    def __init__(self, core: Core, presence: Presence, changes: Changes, tails: Tails) -> None:
        self._worker = core.worker
        self._store = core.store
        self._clock = core.clock
        self._observer = core.observer
        self._timing = core.timing
        self._presence = presence
        self._changes = changes
        self._tails = tails
        self._suspects: frozenset[str] = frozenset()
        now = core.clock.monotonic()
        self._strays: frozenset[_Seen] = frozenset()
        self._strays_at = now
        self._orphans: frozenset[_Seen] = frozenset()
        self._orphans_at = now

    async def run(self) -> None:
        """Call ``sweep`` until cancelled."""
        while True:
            try:
                await self.sweep()
            except StoreUnavailable:
                self._presence.missed()
            except Exception:
                self._presence.missed()
                _log.exception("the sweep failed; trying again")
            await asyncio.sleep(self._timing.sweep_s)

    async def sweep(self) -> None:
        """Act on streams of dead workers. Less often, also look for strays and for orphans."""
        began = self._clock.monotonic()
        await self._bury_the_dead()
        now = self._clock.monotonic()
        self._observer.swept(now - began)
        if now - self._strays_at >= self._timing.lease_s / 2:
            self._strays_at = now
            await self._take_care_of_strays()
        if now - self._orphans_at >= 4 * self._timing.lease_s:
            self._orphans_at = now
            await self._take_care_of_orphans()

    async def _bury_the_dead(self) -> None:
        # Read a worker's streams before the worker's counter. In the opposite order, a paused
        # worker could resume and claim a stream between the two reads. Because of the old counter,
        # this process would then end the claimed stream.
        owned = {worker: await self._owned_by(worker) for worker in self._suspects}
        forget: list[str] = []
        beat = False
        for worker, still_s in self._presence.doubted().items():
            if await self._store.find(Query(worker=worker, limit=1)):
                beat = True  # if this beat fails, no worker is taken for dead
            elif still_s >= self._timing.lease_s:
                forget.append(worker)  # the worker owns nothing and does not beat
        dead = await self._presence.beat_if_due(now_too=beat)
        for worker in dead:
            found = owned.get(worker)
            if found is None:
                found = await self._owned_by(worker)
                if found and not await self._presence.is_unlocked(worker):
                    continue  # the next sweep reads this worker's streams first, then its counter
            if not found and worker not in forget:
                forget.append(worker)
            for start in range(0, len(found), _BATCH):
                some = found[start : start + _BATCH]
                await asyncio.gather(*[self._bury(state) for state in some])
            if found:
                self._observer.worker_dead(worker, len(found))
        self._suspects = frozenset(dead).difference(forget)
        if forget:
            await self._presence.forget(tuple(forget))

    async def _owned_by(self, worker: str) -> list[StreamState]:
        return [state async for state in self._all(Query(worker=worker))]

    async def _take_care_of_strays(self) -> None:
        """Act on the streams that the store assigns to this worker but that have no writer here.

        Such a stream remains, for example, when the outcome of its claim is lost. No other worker
        acts on it, because this worker is alive. Two searches in sequence must find the stream,
        because after the first search the outcome may still arrive.
        """
        strays: dict[_Seen, StreamState] = {}
        query = Query(worker=self._worker, statuses=(Status.STREAMING,))
        async for state in self._all(query):
            if not self._tails.writes(state):
                strays[state.internal_id, state.epoch, state.status] = state
        for key, state in strays.items():
            if key in self._strays:
                await self._bury(state)
        self._strays = frozenset(strays)

    async def _take_care_of_orphans(self) -> None:
        """Act on the streams of workers that the store does not list, as if they were dead.

        The store forgets an idle worker. If this worker then claims a stream and dies before its
        next beat, no read of the workers returns this worker. Two searches in sequence must find
        the stream, because a living worker beats between the two searches.
        """
        orphans: dict[_Seen, StreamState] = {}
        for query in (Query(statuses=(Status.STREAMING,)), Query(unreported=True)):
            async for state in self._all(query):
                if state.worker is not None and not self._presence.knows(state.worker):
                    orphans[state.internal_id, state.epoch, state.status] = state
        for key, state in orphans.items():
            if key in self._orphans:
                await self._bury(state)
        self._orphans = frozenset(orphans)

    async def _all(self, query: Query) -> AsyncIterator[StreamState]:
        while True:
            found = await self._store.find(replace(query, limit=_BATCH))
            for state in found:
                yield state
            if len(found) < _BATCH:
                return
            query = replace(query, before=found[-1].internal_id)

    async def _bury(self, state: StreamState) -> None:
        """Take a stream from a worker that is dead or does not write the stream.

        If the stream has ended, another worker can then report the end. If the stream has not
        ended and may be taken over, another writer can then take it over. If the stream may not be
        taken over, this method ends the stream.
        """
        if state.status is not Status.STREAMING:
            await self._changes.commit(state, state.still(worker=None))
        elif state.takeover_within_s > 0:
            due_at = self._clock.wall() + state.takeover_within_s
            await self._changes.commit(state, state.still(worker=None, due_at=due_at))
        else:
            await self._changes.end_as_seen(state, WRITER_LOST)
