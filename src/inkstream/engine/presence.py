"""This worker's own beats, and what it knows of the other workers (G7)."""

from __future__ import annotations

from inkstream.engine.condition import Condition
from inkstream.engine.core import Core
from inkstream.engine.leases import Leases

_LONG_AGO = -1e9


class Presence:
    """Show that this worker lives while it has streams, and see which others have died.

    Attributes:
        dead: The workers that the last read showed to be dead.
    """

    def __init__(self, core: Core, condition: Condition) -> None:
        timing = core.timing
        self.dead: frozenset[str] = frozenset()
        self._condition = condition
        self._store = core.store
        self._clock = core.clock
        self._timing = timing
        self._leases = Leases(core.worker, timing.lease_s, max(3 * timing.sweep_s, timing.beat_s))
        self._stall_s = timing.stall_s  # nothing notes streams while the loop is blocked
        self._beat_at = _LONG_AGO
        self._busy_at = _LONG_AGO

    def has_streams(self, now: float) -> None:
        """Note that this worker writes or follows streams now, so that it goes on beating.

        With readers alone too: other processes know of them from what it says with its beats.
        """
        self._busy_at = now

    @property
    def is_busy(self) -> bool:
        """True while this worker goes on beating; may be read from any thread."""
        return self._clock.monotonic() - self._busy_at < 2 * self._timing.lease_s + self._stall_s

    async def show_life(self) -> None:
        """Beat now unless a beat is fresh: before a claim, or others might take us for dead."""
        now = self._clock.monotonic()
        self.has_streams(now)
        if now - self._beat_at > self._timing.beat_s:
            await self._heartbeat(beat=True)

    async def look(self) -> None:
        """Read the other workers now, so that ``dead`` is fresh."""
        await self._heartbeat(beat=False)

    def doubted(self) -> dict[str, float]:
        """Return the workers whose counter should have moved, and how long it stood still."""
        return self._leases.doubted(self._clock.monotonic())

    async def beat_if_due(self, *, now_too: bool) -> list[str]:
        """Read the other workers, with a beat if one is due; return the workers that are dead.

        Args:
            now_too: Beat in any case: a read without a beat of our own proves no death.
        """
        now = self._clock.monotonic()
        active = now - self._busy_at < 2 * self._timing.lease_s
        due = now - self._beat_at >= self._timing.beat_s - self._timing.sweep_s / 2
        return await self._heartbeat(beat=now_too or (active and due))

    async def forget(self, workers: tuple[str, ...]) -> None:
        """Remove dead workers that own nothing any more from the store."""
        await self._heartbeat(beat=False, forget=workers)

    async def is_unlocked(self, worker: str) -> bool:
        """Tell if a worker's lock is free, by a read of its own."""
        workers = await self._store.heartbeat(beat=False)
        return any(w.worker == worker and w.locked is False for w in workers)

    def knows(self, worker: str) -> bool:
        """Tell if the last read showed this worker."""
        return self._leases.knows(worker)

    def missed(self) -> None:
        """Note that a read failed: counters that were seen to stand still prove nothing now."""
        self._leases.missed()

    async def _heartbeat(self, *, beat: bool, forget: tuple[str, ...] = ()) -> list[str]:
        began = self._clock.monotonic()
        workers = await self._store.heartbeat(
            beat=beat, forget=forget, said=self._condition.said() if beat else None
        )
        now = self._clock.monotonic()
        if beat:
            self._beat_at = began
        dead = self._leases.observe(workers, began, now, beaten=beat)
        self.dead = frozenset(dead)
        return dead
