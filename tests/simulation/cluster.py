"""Several workers on one in-memory database, in one event loop with virtual time."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Any

from inkstream import PersistentTextStreaming, StreamBody
from inkstream.engine.engine import Engine
from inkstream.engine.reader import Reader
from inkstream.stores.memory import MemoryDatabase
from inkstream.testing import VirtualClock
from tests.simulation.faults import FaultyStore, Hints, LossyNotifier
from tests.simulation.witness import Witness


@dataclass(eq=False)
class Worker:
    """One simulated process: its instance, its store and notifier, its readers and its jobs."""

    streams: PersistentTextStreaming
    store: FaultyStore
    notifier: LossyNotifier
    engine: Engine
    alive: bool = True
    readers: dict[Reader, None] = field(default_factory=dict)
    jobs: dict[asyncio.Task[None], None] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.engine.worker

    def kill(self) -> None:
        """End the process like ``kill -9``: its lock becomes free, and its code stops."""
        self._die()
        self.store.inner.crash()

    def lose_host(self) -> None:
        """Stop the code, as if the host of the process were lost.

        Other workers cannot see whether the lock of this worker is held.
        """
        self._die()
        self.store.inner.lose_host()

    def _die(self) -> None:
        self.alive = False
        engine = self.engine
        for task in [*engine.life._tasks, *engine._reports.tasks]:
            task.cancel()
        for reader in list(self.readers):
            reader.close()
        for job in self.jobs:
            job.cancel()
            # Code that handles the first cancellation must not go on, so cancel the job again.
            asyncio.get_running_loop().call_later(0.001, job.cancel)

    def assert_nothing_kept(self) -> None:
        """Fail if this worker keeps memory for streams that have ended (G9)."""
        engine = self.engine
        assert not engine.writers._writers
        assert not engine.readers._readers
        assert not list(engine._tails), [tail.state for tail in engine._tails]
        assert engine._committer.room.used == 0
        assert not engine._committer._queue
        assert not engine.starts.tasks


class Cluster:
    """Several workers that share a database, a clock and a witness.

    Attributes:
        ended: The bodies for which ``on_end`` returned in living workers.
        unheard: The bodies for which ``on_end`` raised.
        on_end_fails: The probability that ``on_end`` raises.
    """

    def __init__(self, seed: int = 0) -> None:
        self.rng = random.Random(seed)
        self.database = MemoryDatabase()
        self.witness = Witness(self.database)
        self.clock = VirtualClock()
        self.database.now = self.clock.wall
        self.workers: list[Worker] = []
        self.ended: list[StreamBody] = []
        self.unheard: list[StreamBody] = []
        self.on_end_fails = 0.0
        self._hints = Hints()

    async def add(self, *, reports: bool = False, **settings: Any) -> Worker:
        """Start a worker. With ``reports``, the worker has an ``on_end`` that adds to ``ended``."""
        store = FaultyStore(self.database, self.rng)
        notifier = LossyNotifier(self._hints, self.rng)
        if reports:

            async def note(body: StreamBody) -> None:
                await self._note_end(worker, body)

            settings["on_end"] = note
        streams = PersistentTextStreaming((store, notifier), clock=self.clock, **settings)
        await streams.__aenter__()
        worker: Worker = Worker(streams, store, notifier, streams.engine)
        self.workers.append(worker)
        return worker

    async def _note_end(self, worker: Worker, body: StreamBody) -> None:
        if self.rng.random() < self.on_end_fails:
            self.unheard.append(body)
            raise RuntimeError("on_end of the application failed")
        if worker.alive:
            self.ended.append(body)

    async def stop(self) -> None:
        """Stop all workers, including dead workers, whose tasks would otherwise be left."""
        for worker in self.workers:
            worker.store.resume()
            worker.engine.timing = replace(worker.engine.timing, shutdown_grace_s=0)
            with contextlib.suppress(asyncio.CancelledError):
                await worker.streams.__aexit__(None, None, None)


@contextlib.asynccontextmanager
async def cluster(seed: int = 0) -> AsyncIterator[Cluster]:
    made = Cluster(seed)
    try:
        yield made
    finally:
        await made.stop()


@contextlib.asynccontextmanager
async def one_worker(**settings: Any) -> AsyncIterator[Worker]:
    async with cluster() as made:
        yield await made.add(**settings)
