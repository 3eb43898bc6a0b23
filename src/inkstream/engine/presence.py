"""Sends this worker's beats, and finds out which other workers are dead (G7)."""

from __future__ import annotations

from inkstream.engine.condition import Condition
from inkstream.engine.core import Core
from inkstream.engine.leases import Leases

_LONG_AGO = -1e9


class Presence:
    """Beat while this worker has streams, and detect other workers that have died.

    Attributes:
        dead: The workers that were dead at the last read of the workers.
    """

    def __init__(self, core: Core, condition: Condition) -> None:
        timing = core.timing
        self.dead: frozenset[str] = frozenset()
        self._condition = condition
        self._store = core.store
        self._clock = core.clock
        self._timing = timing
        self._leases = Leases(core.worker, timing.lease_s, max(3 * timing.sweep_s, timing.beat_s))
        # Nothing calls ``has_streams`` while the loop is blocked, so ``is_busy`` adds ``stall_s``.
        self._stall_s = timing.stall_s
        self._beat_at = _LONG_AGO
        self._busy_at = _LONG_AGO

    def has_streams(self, now: float) -> None:
        """Record that this worker writes or follows streams now, so that the worker keeps beating.

        A worker that has only readers beats too, because operators read its description of itself.
        """
        self._busy_at = now

    @property
    def is_busy(self) -> bool:
        """True while this worker has streams, and for some time after that. Any thread may ask."""
        return self._clock.monotonic() - self._busy_at < 2 * self._timing.lease_s + self._stall_s

    async def show_life(self) -> None:
        """Beat now, unless this worker's last beat is at most ``Timing.beat_s`` old.

        A worker that has had no streams for some time sends no beats. Without this call before a
        claim, other workers could take such a worker for dead, and end the stream that it has
        claimed.
        """
        now = self._clock.monotonic()
        self.has_streams(now)
        if now - self._beat_at > self._timing.beat_s:
            await self._heartbeat(beat=True)

    async def look(self) -> None:
        """Read the workers now without a beat, and update ``dead``."""
        await self._heartbeat(beat=False)

    def doubted(self) -> dict[str, float]:
        """Return each worker whose counter is overdue, with the seconds since the counter grew."""
        return self._leases.doubted(self._clock.monotonic())

    async def beat_if_due(self, *, now_too: bool) -> list[str]:
        """Read the workers, and beat if a beat is due; return the workers that are dead.

        With ``now_too``, beat even if no beat is due. If the database accepts no writes, this beat
        fails, and the read then does not count against other workers.
        """
        now = self._clock.monotonic()
        active = now - self._busy_at < 2 * self._timing.lease_s
        due = now - self._beat_at >= self._timing.beat_s - self._timing.sweep_s / 2
        return await self._heartbeat(beat=now_too or (active and due))

    async def forget(self, workers: tuple[str, ...]) -> None:
        """Make the store forget each of ``workers`` to which no stream belongs."""
        await self._heartbeat(beat=False, forget=workers)

    async def is_unlocked(self, worker: str) -> bool:
        """Read the workers again; return whether the lock of ``worker`` is free."""
        workers = await self._store.heartbeat(beat=False)
        return any(w.worker == worker and w.locked is False for w in workers)

    def knows(self, worker: str) -> bool:
        """Return whether ``worker`` is this worker, or was in the last read."""
        return self._leases.knows(worker)

    def missed(self) -> None:
        """Record that a read failed. The lease time of every worker starts anew."""
        self._leases.missed()

    async def _heartbeat(self, *, beat: bool, forget: tuple[str, ...] = ()) -> list[str]:
        began = self._clock.monotonic()
        workers = await self._store.heartbeat(
            beat=beat, forget=forget, said=self._condition.said() if beat else None
        )
        now = self._clock.monotonic()
        if beat:
            self._beat_at = began
        dead = self._leases.observe(workers, began, now)
        self.dead = frozenset(dead)
        return dead
