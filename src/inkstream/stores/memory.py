"""Keeps streams in memory, for tests, simulation and trials.

The streams are lost when the process ends. Several stores may share one ``MemoryDatabase``, each as
its own worker, so that a test of two processes can run in one process. All these stores belong to
one thread.
"""
# ruff: noqa: D102  (abc.Store documents the methods)

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from inkstream._errors import NotRunning, StoreUnavailable, StreamNotFound
from inkstream.abc import (
    Group,
    NewStream,
    Outcome,
    Page,
    Query,
    Read,
    Roster,
    StreamId,
    StreamState,
    WorkerReport,
    WorkerState,
    draw_generation,
)
from inkstream.stores._memory_streams import Streams
from inkstream.stores._share import share_of


class MemoryDatabase:
    """The data that several stores share.

    Attributes:
        before: Called with the name of a store's method before the method has an effect. If
            ``before`` raises an error (``StoreUnavailable``, for example), the method raises the
            same error and has no effect.
        after: Called with the name of a method that writes, or of ``roster``, after the method's
            effect. An ``after`` that raises ``OutcomeUnknown`` simulates a connection that is lost
            during a commit.
        now: Returns the time of the database's clock, for display.
    """

    def __init__(self) -> None:
        self.before: Callable[[str], None] | None = None
        self.after: Callable[[str], None] | None = None
        self.now: Callable[[], float] = time.time
        self._streams = Streams(lambda: self.now())
        self._workers = _Workers(lambda: self.now())

    def draw(self) -> None:
        """Begin a new generation, as after a restore."""
        self._streams.generation = draw_generation(self._streams.generation)

    def release_lock(self, worker: str) -> None:
        """Release a living worker's lock, as a restart of the database does."""
        self._workers.locked.pop(worker, None)


class _Workers:
    """The beats of workers, the workers with a lock, and the workers whose lock nobody can see."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self.beats: dict[str, int] = {}
        self.said: dict[str, tuple[float, str]] = {}
        self.locked: dict[str, MemoryStore] = {}
        self.out_of_sight: set[str] = set()

    def unlock(self, worker: str, holder: MemoryStore) -> None:
        if self.locked.get(worker) is holder:
            del self.locked[worker]

    def beat(self, worker: str, said: str | None) -> None:
        self.beats[worker] = self.beats.get(worker, 0) + 1
        before = self.said.get(worker, (0.0, "{}"))[1]
        self.said[worker] = self._now(), before if said is None else said

    def forget(self, worker: str) -> None:
        self.beats.pop(worker, None)
        self.said.pop(worker, None)
        self.out_of_sight.discard(worker)

    def states(self) -> list[WorkerState]:
        return [
            WorkerState(
                worker, beats, None if worker in self.out_of_sight else worker in self.locked
            )
            for worker, beats in self.beats.items()
        ]


class MemoryStore:
    """Keep streams in ``database``, or in a new ``MemoryDatabase`` if ``database`` is ``None``.

    Every asynchronous method has its effect immediately, and then yields to the event loop.
    """

    host_behind_s = 0.0

    def __init__(self, database: MemoryDatabase | None = None) -> None:
        self.database = MemoryDatabase() if database is None else database
        self._streams = self.database._streams
        self._workers = self.database._workers
        self._worker: str | None = None
        self._dead = False

    async def open(self, worker: str) -> None:
        if self.database.before is not None:
            self.database.before("open")
        if not self._workers.locked:
            self.database.draw()
        self._worker = worker
        self._workers.locked[worker] = self
        await asyncio.sleep(0)

    async def close(self) -> None:
        if self._worker is not None and not self._dead:
            self._workers.unlock(self._worker, self)
        self._worker = None
        await asyncio.sleep(0)

    def crash(self) -> None:
        """Act like a killed process: release the lock, and let later reads and writes fail."""
        self._dead = True
        if self._worker is not None:
            self._workers.unlock(self._worker, self)

    def lose_host(self) -> None:
        """Act like a host without a network: no other worker can see whether the lock is held."""
        self._dead = True
        if self._worker is not None:
            self._workers.out_of_sight.add(self._worker)

    async def create(self, new: NewStream, *, connection: object | None = None) -> StreamState:
        self._begin("create", connection)
        state = self._streams.create(new)
        await self._written("create")
        return state

    async def commit(
        self, groups: Sequence[Group], *, connection: object | None = None
    ) -> list[Outcome]:
        self._begin("commit", connection)
        outcomes = [self._streams.apply(group) for group in groups]
        await self._written("commit")
        return outcomes

    async def read(
        self,
        stream_id: StreamId,
        after: int,
        max_bytes: int,
        *,
        marks: Sequence[str] = (),
        connection: object | None = None,
    ) -> Page:
        self._begin("read", connection)
        page = self._streams.read(stream_id, after, max_bytes, marks)
        await asyncio.sleep(0)
        return page

    async def read_many(self, reads: Sequence[Read], max_bytes: int) -> list[Page | None]:
        self._begin("read_many", None)
        share = share_of(max_bytes, len(reads))
        pages: list[Page | None] = []
        for read in reads:
            try:
                pages.append(self._streams.read(read.stream_id, read.after, share, ()))
            except StreamNotFound:
                pages.append(None)
        await asyncio.sleep(0)
        return pages

    async def find(self, query: Query, *, connection: object | None = None) -> list[StreamState]:
        self._begin("find", connection)
        states = self._streams.find(query)
        await asyncio.sleep(0)
        return states

    async def delete(
        self,
        internal_ids: Sequence[int],
        *,
        due_before: float | None = None,
        connection: object | None = None,
    ) -> int:
        self._begin("delete", connection)
        deleted = self._streams.delete(internal_ids, due_before)
        await self._written("delete")
        return deleted

    async def heartbeat(
        self, *, beat: bool, forget: Sequence[str] = (), said: str | None = None
    ) -> list[WorkerState]:
        worker = self._begin("heartbeat", None)
        self._workers.locked.setdefault(worker, self)
        if beat:
            self._workers.beat(worker, said)
        for forgotten in forget:
            if not self._streams.owned_by(forgotten):
                self._workers.forget(forgotten)
        states = self._workers.states()
        await self._written("heartbeat")
        return states

    def beat_from_thread(self, said: str | None) -> None:
        """Do nothing. Other stores need this method for a worker whose event loop is blocked.

        All workers of a ``MemoryDatabase`` are in one thread, so the others are blocked too, and
        cannot take this worker for dead.
        """

    async def roster(self) -> Roster:
        self._begin("roster", None)
        workers = self._workers
        reports = tuple(
            WorkerReport(state.worker, state.locked, *workers.said[state.worker])
            for state in workers.states()
        )
        await self._written("roster")
        return Roster(self.database.now(), reports)

    async def tidy(self, now: float, max_bytes: int) -> bool:
        self._begin("tidy", None)
        more = self._streams.tidy(now, max_bytes)
        await self._written("tidy")
        return more

    def _begin(self, method: str, connection: object | None) -> str:
        if connection is not None:
            raise TypeError(
                "the memory store cannot take part in a database transaction; pass the URL of a "
                "database on disk (in Django's tests on SQLite: DATABASES['default']['TEST'] = "
                "{'NAME': 'test.sqlite3'})"
            )
        if self._dead:
            raise StoreUnavailable("this store's process is gone")
        if self._worker is None:
            raise NotRunning("the store is not open")
        if self.database.before is not None:
            self.database.before(method)
        return self._worker

    async def _written(self, method: str) -> None:
        if self.database.after is not None:
            self.database.after(method)
        await asyncio.sleep(0)
