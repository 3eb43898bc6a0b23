"""Group commit: everything that all writers of an engine have pending, in one transaction.

The order is the guarantee (G1): commit, then publish to the tails and wake readers, then tell the
writers, then hint to other processes. Nothing is shown before the store has returned.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeAlias

from inkstream._errors import OutcomeUnknown, StoreUnavailable
from inkstream._types import Group, Outcome, StreamId
from inkstream.abc import Clock, Notifier, Store
from inkstream.engine.settings import Limits, Timing
from inkstream.engine.tail import Tail
from inkstream.engine.writer import Settled, Writer

_log = logging.getLogger("inkstream")

# What a commit costs this process, to choose the distance to the next: measured, see
# docs/decisions. It is counted, not timed, so that a simulation sees the same distances.
_COMMIT_S = 300e-6
_STREAM_S = 20e-6
_READER_S = 20e-6
_SHARE = 4.0
"""Commits are kept so far apart that they take about a quarter of the time."""


_Submitted: TypeAlias = tuple[Group, Callable[[Outcome], int], asyncio.Future[Outcome]]


class Publisher(Protocol):
    """What the committer tells of a commit, before it tells the writers."""

    def settled(self, tail: Tail, settled: Settled) -> int:
        """Publish one writer's part to its tail; return how many readers it woke."""


class Committer:
    """Collect what is pending, commit it at the right moment, and publish it."""

    def __init__(
        self,
        store: Store,
        notifier: Notifier,
        publisher: Publisher,
        clock: Clock,
        limits: Limits,
        timing: Timing,
    ) -> None:
        self._store = store
        self._notifier = notifier
        self._publisher = publisher
        self._clock = clock
        self._limits = limits
        self._timing = timing
        self._dirty: dict[Writer, None] = {}
        self._submitted: list[_Submitted] = []
        self._names: dict[StreamId, None] = {}
        self._hints: dict[StreamId, None] = {}
        self._hinting = asyncio.Event()
        self._pending_bytes = 0
        self._wanted = asyncio.Event()
        self._committed: asyncio.Future[None] | None = None
        self._next_at = 0.0
        self._away_since: float | None = None
        self._away_tries = 0

    @property
    def full(self) -> bool:
        """True while all writers together may accept no more."""
        return self._pending_bytes >= self._limits.buffers_bytes

    @property
    def away_since(self) -> float | None:
        """Monotonic time since which the store has been away, or ``None``."""
        return self._away_since

    def accept(self, writer: Writer, size: int) -> None:
        """Note that a writer has something to commit."""
        self._pending_bytes += size
        if writer not in self._dirty:
            self._dirty[writer] = None
            self._wanted.set()

    def release(self, size: int) -> None:
        """Note that so many accepted bytes are committed or dropped."""
        self._pending_bytes -= size

    async def next_commit(self) -> None:
        """Wait until the next commit has been settled."""
        if self._committed is None:
            self._committed = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._committed)

    async def submit(
        self, group: Group, names: Sequence[StreamId], published: Callable[[Outcome], int]
    ) -> Outcome:
        """Commit a group with the next batch; ``published`` runs first, in commit order.

        Cancelled while it waits, the group is committed or not, never half.

        Raises:
            StoreUnavailable: It did not happen; ``OutcomeUnknown``: it may have.
        """
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._submitted.append((group, published, future))
        for name in names:
            self._names[name] = None
        self._wanted.set()
        return await future

    async def run(self) -> None:
        """Commit until cancelled; whose group was submitted and not settled by then is told."""
        try:
            while True:
                await self._wanted.wait()
                # A quiet system commits at once; what the loop has ready to run may join first.
                wait = self._next_at - self._clock.monotonic()
                await asyncio.sleep(max(0.0, wait))
                self._wanted.clear()
                await self._commit()
        finally:
            _fail(self._submitted, StoreUnavailable("these streams stopped: not committed"))

    async def _commit(self) -> None:
        writers, self._dirty = self._dirty, {}
        groups: list[Group] = []
        counts: list[int] = []
        for writer in writers:
            taken = writer.take()
            groups += taken
            counts.append(len(taken))
        submitted, self._submitted = self._submitted, []
        names, self._names = self._names, {}
        groups += [group for group, _, _ in submitted]
        if not groups:
            self._away_since = None  # whose text waited for the store has been stopped
            self._tell_waiting()
            return
        started = self._clock.monotonic()
        try:
            outcomes = await self._store.commit(groups)
        except asyncio.CancelledError:
            _fail(submitted, OutcomeUnknown("these streams stopped while it was committed"))
            raise
        except StoreUnavailable as exc:
            self._failed(exc, writers, counts, submitted)
            return
        except Exception as exc:
            _log.exception("the store failed in an unforeseen way")
            self._failed(OutcomeUnknown(str(exc)), writers, counts, submitted)
            return
        if self._away_since is not None:
            _log.info("the store is back")
            self._away_since = None
        self._away_tries = 0
        woken = 0
        at = 0
        for writer, count in zip(writers, counts, strict=True):
            settled = writer.settle(outcomes[at : at + count])
            at += count
            names[writer.stream_id] = None
            woken += self._publisher.settled(writer.tail, settled)
        for (_, published, future), outcome in zip(submitted, outcomes[at:], strict=True):
            woken += published(outcome)
            if not future.done():
                future.set_result(outcome)
        self._tell_waiting()
        work = _COMMIT_S + _STREAM_S * len(groups) + _READER_S * woken
        timing = self._timing
        distance = min(max(_SHARE * work, timing.latency_window_s), timing.throughput_window_s)
        self._next_at = started + distance
        self._hints.update(names)
        self._hinting.set()

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

    def _failed(
        self,
        exc: StoreUnavailable,
        writers: Iterable[Writer],
        counts: Iterable[int],
        submitted: list[_Submitted],
    ) -> None:
        """Keep the writers' text for the next attempt, and tell the others now (G12)."""
        now = self._clock.monotonic()
        if self._away_since is None:
            self._away_since = now
            _log.warning("the store is away, nothing is shown until it is back: %s", exc)
        for writer, count in zip(writers, counts, strict=True):
            if not count:
                continue
            if isinstance(exc, OutcomeUnknown):
                writer.uncertain()
            self._dirty[writer] = None
        _fail(submitted, exc)
        self._next_at = now + min(0.05 * 2**self._away_tries, 1.0)
        self._away_tries = min(self._away_tries + 1, 10)
        if self._dirty:
            self._wanted.set()
        else:
            # Nobody's text waits: a store that nobody asks must not look away for ever, or
            # writers that are merely quiet would be given up.
            self._away_since = None

    def _tell_waiting(self) -> None:
        committed, self._committed = self._committed, None
        if committed is not None and not committed.done():
            committed.set_result(None)

    def give_up_waiting(self) -> None:
        """Let writers that wait for room look again (they may have been stopped)."""
        self._tell_waiting()


def _fail(submitted: Sequence[_Submitted], exc: StoreUnavailable) -> None:
    for _, _, future in submitted:
        if not future.done():
            future.set_exception(exc)
