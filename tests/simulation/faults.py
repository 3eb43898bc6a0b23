"""A store and a notifier that fail on demand, separately for each worker."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import TypeVar

from inkstream._errors import OutcomeUnknown, StoreUnavailable
from inkstream._types import (
    Group,
    NewStream,
    Outcome,
    Page,
    Query,
    Read,
    Roster,
    StreamId,
    StreamState,
    WorkerState,
)
from inkstream.stores.memory import MemoryDatabase, MemoryStore

_T = TypeVar("_T")


class FaultyStore:
    """A ``MemoryStore`` that can be slow, or fail like a worker's connection to a database.

    Attributes:
        latency_s: The longest delay of a call before it has its effect, and again before it
            returns.
        away: If true, every call except ``open``, ``close`` and ``beat_from_thread`` raises
            ``StoreUnavailable``.
        read_only: If true, every such call that writes raises ``StoreUnavailable``.
        lose: The probability that a writing call has its effect and raises ``OutcomeUnknown``.
        commits: The groups of each commit that reached the database.
        departs: Called with the groups of each commit when the commit begins.
        arrives: Called with the groups of each commit immediately before it has its effect.
    """

    host_behind_s = 0.0

    def __init__(self, database: MemoryDatabase, rng: random.Random) -> None:
        self.inner = MemoryStore(database)
        self._database = database
        self.draw = 0.0
        self.latency_s = 0.0
        self.away = False
        self.read_only = False
        self.lose = 0.0
        self.commits: list[Sequence[Group]] = []
        self.departs: Callable[[Sequence[Group]], None] = _ignore
        self.arrives: Callable[[Sequence[Group]], None] = _ignore
        self._rng = rng
        self._running = asyncio.Event()
        self._running.set()

    def pause(self) -> None:
        """Hold all calls until ``resume``, as if the process were stopped.

        ``open`` and ``close`` are not held.
        """
        self._running.clear()

    @property
    def running(self) -> bool:
        return self._running.is_set()

    def resume(self) -> None:
        self._running.set()

    async def _call(
        self, method: Callable[[], Awaitable[_T]], *, writes: bool, arrives: Callable[[], None]
    ) -> _T:
        await self._travel()
        if self.away or (self.read_only and writes):
            raise StoreUnavailable("away")
        arrives()
        result = await method()
        if writes and self.lose and self._rng.random() < self.lose:
            raise OutcomeUnknown("lost on the way back")
        await self._travel()
        return result

    async def _travel(self) -> None:
        await self._running.wait()
        if self.latency_s:
            await asyncio.sleep(self._rng.random() * self.latency_s)
            await self._running.wait()

    async def open(self, worker: str) -> None:
        await self.inner.open(worker)

    async def close(self) -> None:
        await self.inner.close()

    async def create(self, new: NewStream, *, connection: object | None = None) -> StreamState:
        return await self._call(lambda: self.inner.create(new), writes=True, arrives=_nothing)

    async def commit(
        self, groups: Sequence[Group], *, connection: object | None = None
    ) -> list[Outcome]:
        def arrives() -> None:
            self.commits.append(groups)
            self.arrives(groups)

        self.departs(groups)
        return await self._call(lambda: self.inner.commit(groups), writes=True, arrives=arrives)

    async def read(
        self,
        stream_id: StreamId,
        after: int,
        max_bytes: int,
        *,
        marks: Sequence[str] = (),
        connection: object | None = None,
    ) -> Page:
        return await self._call(
            lambda: self.inner.read(stream_id, after, max_bytes, marks=marks),
            writes=False,
            arrives=_nothing,
        )

    async def read_many(self, reads: Sequence[Read], max_bytes: int) -> list[Page | None]:
        return await self._call(
            lambda: self.inner.read_many(reads, max_bytes), writes=False, arrives=_nothing
        )

    async def find(self, query: Query, *, connection: object | None = None) -> list[StreamState]:
        return await self._call(lambda: self.inner.find(query), writes=False, arrives=_nothing)

    async def delete(
        self,
        internal_ids: Sequence[int],
        *,
        due_before: float | None = None,
        connection: object | None = None,
    ) -> int:
        return await self._call(
            lambda: self.inner.delete(internal_ids, due_before=due_before),
            writes=True,
            arrives=_nothing,
        )

    async def heartbeat(
        self, *, beat: bool, forget: Sequence[str] = (), said: str | None = None
    ) -> list[WorkerState]:
        return await self._call(
            lambda: self.inner.heartbeat(beat=beat, forget=forget, said=said),
            writes=beat or bool(forget),
            arrives=_nothing,
        )

    def beat_from_thread(self, said: str | None) -> None:
        self.inner.beat_from_thread(said)

    async def roster(self) -> Roster:
        return await self._call(self.inner.roster, writes=False, arrives=_nothing)

    async def tidy(self, now: float, max_bytes: int) -> bool:
        return await self._call(
            lambda: self.inner.tidy(now, max_bytes), writes=True, arrives=_nothing
        )


def _nothing() -> None:
    """Record nothing for calls that are not commits."""


def _ignore(groups: Sequence[Group]) -> None:
    """Do nothing. The simulation may set other functions as ``departs`` and ``arrives``."""


class Hints:
    """The notifiers that receive hints, in the order in which they were opened.

    If the order were random, two simulations with the same seed would differ.
    """

    def __init__(self) -> None:
        self.listeners: dict[LossyNotifier, None] = {}


class LossyNotifier:
    """Sends hints to the other workers, and loses some hints.

    Attributes:
        lose: The probability that a hint is lost.
    """

    def __init__(self, hints: Hints, rng: random.Random) -> None:
        self.lose = 0.0
        self._hints = hints
        self._rng = rng
        self._on_hint: Callable[[Collection[StreamId] | None], None] | None = None

    async def open(self, on_hint: Callable[[Collection[StreamId] | None], None]) -> None:
        self._on_hint = on_hint
        self._hints.listeners[self] = None

    async def notify(self, stream_ids: Collection[StreamId]) -> None:
        kept = tuple(name for name in stream_ids if self._rng.random() >= self.lose)
        for other in list(self._hints.listeners):
            if kept and other is not self:
                asyncio.get_running_loop().call_soon(other.hear, kept)

    def hear(self, stream_ids: Collection[StreamId]) -> None:
        if self._on_hint is not None:
            self._on_hint(stream_ids)

    def watch(self, watching: bool) -> None:
        """Do nothing, because this notifier waits for hints without any cost."""

    async def close(self) -> None:
        self._on_hint = None
        self._hints.listeners.pop(self, None)
