"""Group commit: one transaction commits the changes of all queued parties of an engine.

The order of the steps keeps guarantee G1: a reader gets only stored text. First the store commits.
Then each party publishes its messages to its tail, wakes the readers of the tail, and tells its
callers the outcome. Last, other processes get a hint.
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

# Estimates of this process's CPU time for each commit, for each group in it, and for each woken
# reader. The times are constants, because measured times would make two simulations with the same
# seed differ.
_COMMIT_S = 300e-6
_STREAM_S = 20e-6
_READER_S = 20e-6
_SHARE = 4.0
"""The time from the start of a commit to the next start, divided by the cost of the commit.

With this value, commits take about a quarter of the process's time. ``Timing.latency_window_s`` and
``Timing.throughput_window_s`` limit the time between two starts.
"""


class Party(Protocol):
    """The methods that the committer calls on a party: a writer, or a submitted group."""

    @property
    def stream_id(self) -> StreamId:
        """The stream that the party changes."""

    def take(self) -> Sequence[Group]:
        """Return the groups to commit now, in order; no groups if the party needs no commit."""

    def settle(self, outcomes: Sequence[Outcome]) -> int:
        """Publish the outcomes of the groups from ``take``; return how many readers were woken."""

    def failed(self, exc: StoreUnavailable) -> bool:
        """Handle a failed commit; return whether the party takes part in the next commit."""


class Committer:
    """Commit the groups of all queued parties together, again and again.

    Attributes:
        room: The buffer space that all writers share.
        committed_at: The monotonic time of the last commit that succeeded.
        away_since: The monotonic time of the first failed commit of an outage. ``None`` if the last
            commit succeeded, or if nothing waits for a commit.
    """

    def __init__(self, core: Core, notifier: Notifier) -> None:
        self.room = SharedRoom(core.limits.buffers_bytes)
        self.away_since: float | None = None
        # The time of the first failed commit since the last commit that succeeded.
        self._outage_at: float | None = None
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
        """Queue a party for the next commit. A party that is queued already keeps its place."""
        self._queue[party] = None
        self._wanted.set()

    async def next_commit(self) -> None:
        """Wait until the next commit has succeeded, or until writers were stopped."""
        if self._committed is None:
            self._committed = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._committed)

    async def submit(
        self, stream_id: StreamId, group: Group, published: Callable[[Outcome], int]
    ) -> Outcome:
        """Commit a group with the next commit, call ``published``, and return the outcome.

        ``published`` gets the outcome, and returns the number of readers that it has woken. The
        calls of ``published`` are in the order of the commits. If the caller is cancelled, the
        group may still be committed. The committer then calls ``published`` all the same.

        Raises:
            StoreUnavailable: The group was not committed.
            OutcomeUnknown: The group may have been committed.
        """
        submission = _Submission(stream_id, group, published)
        self.join(submission)
        return await submission.outcome

    async def run(self) -> None:
        """Commit until cancelled. Then tell all queued parties that their commit has failed."""
        try:
            while True:
                await self._wanted.wait()
                # Even a sleep of 0 s lets other tasks queue their parties for this commit.
                wait = self._next_at - self._clock.monotonic()
                await asyncio.sleep(max(0.0, wait))
                self._wanted.clear()
                await self._commit()
        finally:
            queue, self._queue = self._queue, {}
            for party in queue:
                party.failed(StoreUnavailable("inkstream stopped before it committed this change"))

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
            self.away_since = None  # nothing waits for a commit, so nothing waits for the store
            self._end_waits()
            return
        started = self._clock.monotonic()
        try:
            outcomes = await self._store.commit(groups)
        except asyncio.CancelledError:
            stopped = OutcomeUnknown("inkstream stopped during this commit")
            for party, _ in parties:
                party.failed(stopped)
            raise
        except StoreUnavailable as exc:
            self._failed(exc, parties)
            return
        except Exception as exc:
            _log.exception("a commit failed with an unexpected error")
            self._failed(OutcomeUnknown(str(exc)), parties)
            return
        self.committed_at = ended = self._clock.monotonic()
        if self._outage_at is not None:
            self._observer.store_back(ended - self._outage_at)
            self.away_since = self._outage_at = None
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
        """Send hints to other processes until cancelled.

        Run this in its own task. In the task of ``run``, commits would wait for hints to be sent.
        """
        while True:
            await self._hinting.wait()
            self._hinting.clear()
            names, self._hints = self._hints, {}
            await self._notifier.notify(names)

    def hint(self, stream_id: StreamId) -> None:
        """Send a hint about a stream that this process changed without this committer."""
        self._hints[stream_id] = None
        self._hinting.set()

    def _failed(self, exc: StoreUnavailable, parties: Sequence[tuple[Party, int]]) -> None:
        """Queue the writers again with their text, and let the submitted groups fail (G12)."""
        now = self._clock.monotonic()
        if self.away_since is None:
            self.away_since = now
        if self._outage_at is None:
            self._outage_at = now
            self._observer.store_away(exc)
        self._observer.store_failed(exc)
        again = {party: None for party, _ in parties if party.failed(exc)}
        self._queue = {**again, **self._queue}
        self._next_at = now + min(0.05 * 2**self._away_tries, 1.0)
        self._away_tries = min(self._away_tries + 1, 10)
        if self._queue:
            self._wanted.set()
        else:
            # Nothing waits for a commit, so no commit will show that the store is back. Without
            # this line, the engine would stop healthy writers after ``Timing.patience_s``.
            self.away_since = None

    def _end_waits(self) -> None:
        committed, self._committed = self._committed, None
        if committed is not None and not committed.done():
            committed.set_result(None)

    def give_up_waiting(self) -> None:
        """Wake the writers that wait for room, so that stopped writers notice their stop."""
        self._end_waits()


class _Submission:
    """A submitted group. If its commit fails, the committer does not try the group again."""

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
