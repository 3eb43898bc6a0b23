"""Group commit: everything that an engine has pending, in one transaction.

The order is the guarantee (G1): commit; then each party publishes to its tail, wakes readers and
resolves what waits for it; then hint to other processes. Nothing is shown before the store has
returned.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Protocol

from inkstream._errors import OutcomeUnknown, StoreUnavailable
from inkstream._types import Group, Outcome, StreamId
from inkstream.abc import Notifier
from inkstream.engine.buffer import SharedRoom
from inkstream.engine.core import Core

_log = logging.getLogger("inkstream")

# The cost of a commit for this process, to choose the distance to the next: measured, see
# docs/decisions. It is counted, not timed, so that a simulation sees the same distances.
_COMMIT_S = 300e-6
_STREAM_S = 20e-6
_READER_S = 20e-6
_SHARE = 4.0
"""Commits are kept so far apart that they take about a quarter of the time."""


class Party(Protocol):
    """A party to a commit: a writer, or a group that was submitted."""

    @property
    def stream_id(self) -> StreamId:
        """The stream that the commit changes."""

    def take(self) -> Sequence[Group]:
        """Return what to commit now, in order; nothing, if there is nothing any more."""

    def settle(self, outcomes: Sequence[Outcome]) -> int:
        """Publish what came of ``take``'s groups; return how many readers that woke."""

    def failed(self, exc: StoreUnavailable) -> bool:
        """Note that the commit failed; return whether to try it again with the next one."""


class Committer:
    """Collect what is pending, commit it at the right moment, and have it published.

    Attributes:
        room: How much all writers together may accept before it is committed.
        committed_at: Monotonic time of the last commit that succeeded.
        away_since: Monotonic time since which the store has been away, or ``None``.
    """

    def __init__(self, core: Core, notifier: Notifier) -> None:
        self.room = SharedRoom(core.limits.buffers_bytes)
        self.away_since: float | None = None
        self.committed_at = 0.0
        self._store = core.store
        self._clock = core.clock
        self._timing = core.timing
        self._observer = core.observer
        self._notifier = notifier
        self._queue: dict[Party, None] = {}
        self._hints: dict[StreamId, None] = {}
        self._hinting = asyncio.Event()
        self._wanted = asyncio.Event()
        self._committed: asyncio.Future[None] | None = None
        self._next_at = 0.0
        self._away_tries = 0

    def join(self, party: Party) -> None:
        """Put a party in line for the next commit. It keeps its place if it is in line already."""
        self._queue[party] = None
        self._wanted.set()

    async def next_commit(self) -> None:
        """Wait until the next commit has been settled."""
        if self._committed is None:
            self._committed = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._committed)

    async def submit(
        self, stream_id: StreamId, group: Group, published: Callable[[Outcome], int]
    ) -> Outcome:
        """Commit a group with the next batch; ``published`` runs first, in commit order.

        Cancelled while it waits, the group is committed or not, never half.

        Raises:
            StoreUnavailable: It did not happen; ``OutcomeUnknown``: it may have.
        """
        submission = _Submission(stream_id, group, published)
        self.join(submission)
        return await submission.outcome

    async def run(self) -> None:
        """Commit until cancelled. Parties still in line then fail with ``StoreUnavailable``."""
        try:
            while True:
                await self._wanted.wait()
                # A quiet system commits at once; what the loop has ready to run may join first.
                wait = self._next_at - self._clock.monotonic()
                await asyncio.sleep(max(0.0, wait))
                self._wanted.clear()
                await self._commit()
        finally:
            queue, self._queue = self._queue, {}
            for party in queue:
                party.failed(StoreUnavailable("these streams stopped: not committed"))

    async def _commit(self) -> None:
        queue, self._queue = self._queue, {}
        parties: list[tuple[Party, int]] = []
        groups: list[Group] = []
        for party in queue:
            taken = party.take()
            if taken:
                groups += taken
                parties.append((party, len(taken)))
        if not groups:
            self.away_since = None  # the writers whose text waited for the store were stopped
            self._end_waits()
            return
        started = self._clock.monotonic()
        try:
            outcomes = await self._store.commit(groups)
        except asyncio.CancelledError:
            stopped = OutcomeUnknown("these streams stopped while it was committed")
            for party, _ in parties:
                party.failed(stopped)
            raise
        except StoreUnavailable as exc:
            self._failed(exc, parties)
            return
        except Exception as exc:
            _log.exception("the store failed in an unforeseen way")
            self._failed(OutcomeUnknown(str(exc)), parties)
            return
        self.committed_at = ended = self._clock.monotonic()
        if self.away_since is not None:
            self._observer.store_back(ended - self.away_since)
            self.away_since = None
        self._away_tries = 0
        woken = self._settle(parties, outcomes)
        self._observer.committed(ended - started, groups)
        work = _COMMIT_S + _STREAM_S * len(groups) + _READER_S * woken
        timing = self._timing
        distance = min(max(_SHARE * work, timing.latency_window_s), timing.throughput_window_s)
        self._next_at = started + distance
        self._hinting.set()

    def _settle(self, parties: Sequence[tuple[Party, int]], outcomes: Sequence[Outcome]) -> int:
        woken = at = 0
        for party, count in parties:
            woken += party.settle(outcomes[at : at + count])
            at += count
            self._hints[party.stream_id] = None
        self._end_waits()
        return woken

    async def run_hints(self) -> None:
        """Hint to other processes until cancelled, never in the way of the next commit."""
        while True:
            await self._hinting.wait()
            self._hinting.clear()
            names, self._hints = self._hints, {}
            await self._notifier.notify(names)

    def hint(self, stream_id: StreamId) -> None:
        """Hint at a stream that changed without a commit of this engine's."""
        self._hints[stream_id] = None
        self._hinting.set()

    def _failed(self, exc: StoreUnavailable, parties: Sequence[tuple[Party, int]]) -> None:
        """Keep the writers' text for the next attempt, and fail the submitted groups now (G12)."""
        now = self._clock.monotonic()
        if self.away_since is None:
            self.away_since = now
            self._observer.store_away(exc)
        self._observer.store_failed(exc)
        again = {party: None for party, _ in parties if party.failed(exc)}
        self._queue = {**again, **self._queue}
        self._next_at = now + min(0.05 * 2**self._away_tries, 1.0)
        self._away_tries = min(self._away_tries + 1, 10)
        if self._queue:
            self._wanted.set()
        else:
            # No text waits. A store that is not asked must not look away for ever, or writers that
            # are merely quiet would be given up.
            self.away_since = None

    def _end_waits(self) -> None:
        committed, self._committed = self._committed, None
        if committed is not None and not committed.done():
            committed.set_result(None)

    def give_up_waiting(self) -> None:
        """Let writers that wait for room look again (they may have been stopped)."""
        self._end_waits()


class _Submission:
    """A group that is committed once: it is not tried again when the store is away."""

    def __init__(
        self, stream_id: StreamId, group: Group, published: Callable[[Outcome], int]
    ) -> None:
        self.stream_id = stream_id
        self.outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._group = group
        self._published = published

    def take(self) -> Sequence[Group]:
        return (self._group,)

    def settle(self, outcomes: Sequence[Outcome]) -> int:
        (outcome,) = outcomes
        woken = self._published(outcome)
        if not self.outcome.done():
            self.outcome.set_result(outcome)
        return woken

    def failed(self, exc: StoreUnavailable) -> bool:
        if not self.outcome.done():
            self.outcome.set_exception(exc)
        return False
