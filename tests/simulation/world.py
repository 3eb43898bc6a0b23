"""Makes random calls and faults. The seed decides which calls and faults occur, and when."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any

import pytest

from inkstream import (
    Message,
    NotClaimed,
    OffsetGone,
    OutcomeUnknown,
    Result,
    ShuttingDown,
    Status,
    StoreUnavailable,
    StreamError,
    StreamId,
    StreamNotFound,
    StreamState,
    Timing,
    WriterFenced,
)
from inkstream._runs import MAX_RUNS
from inkstream._types import Change, Group
from inkstream.engine.reports import REPORT_TRIES
from inkstream.engine.writer import Writer
from inkstream.wire import Offset
from tests.simulation.cluster import Cluster, Worker
from tests.simulation.follower import Follower
from tests.simulation.witness import History

TIMING = Timing(start_within_s=20, patience_s=8, idle_s=15, total_s=40, shutdown_grace_s=1)
SETTLES_WITHIN_S = 300.0
"""A time that is longer than a lease, a start, an answer and a take-over together."""

_AWAY = (StoreUnavailable, OutcomeUnknown)
_TOKEN = re.compile(r"<(\d+):(\d+)>|\0(.*?)\0", re.DOTALL)


class World:
    """Streams, workers and readers, and the random calls and faults that concern them.

    Attributes:
        calls: For each stream name, how often a source was called.
        totals: The label of each writer that ended its stream ``done``, with the number of its
            messages.
        wronged: The writers that were stopped although they had the last claim of a live stream.
        suspects: The workers that had a fault for which others may take them for dead.
    """

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.calls: Counter[str] = Counter()
        self.totals: dict[int, int] = {}
        self.suspects: set[str] = set()
        self.wronged: list[str] = []
        self.followers: list[Follower] = []
        self._rng = cluster.rng
        self._labels = 0
        self._names: list[str] = []
        self._work: list[asyncio.Task[None]] = []
        # If a stream has more than MAX_RUNS runs, its oldest offsets become invalid, and a check
        # would fail. So draw fewer generations.
        self._draws = MAX_RUNS - 2

    async def run(self, steps: int) -> None:
        """Do ``steps`` random steps, and then wait until no stream is live and no task runs."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Writer, "fence", self._watch(Writer.fence))
            await self._run(steps)

    def _watch(self, fence: Callable[[Writer, StreamState | None], None]) -> Any:
        """Return a ``fence`` that first records a writer that should not be fenced.

        Such a writer has the last claim of a stream that is still live.
        """

        def watched(writer: Writer, state: StreamState | None) -> None:
            now = self.cluster.witness.histories[writer.internal_id]
            if not now.deleted and now.state.epoch == writer.epoch and not now.state.ended:
                self.wronged.append(f"{now.state} by {state}")
            fence(writer, state)

        return watched

    async def _run(self, steps: int) -> None:
        for _ in range(3):
            await self.add_worker()
        await self.create()
        for _ in range(steps):
            await self._rng.choice(_THINGS)(self)
            await self._nap(0.5)
        await self._rest()

    async def _rest(self) -> None:
        for worker in self.cluster.workers:
            worker.store.resume()
            worker.store.away, worker.store.lose = False, 0.0
            worker.notifier.lose = 0.0
        self.cluster.on_end_fails = 0.0
        # Without this jump, streams would become due hours late if the clock was set back before.
        self.cluster.clock.jump_wall(100 * 3600.0)
        await self.add_worker()
        _, left = await asyncio.wait(self._work, timeout=SETTLES_WITHIN_S)
        assert not left, f"these tasks never ended: {left}"
        for task in self._work:
            if not task.cancelled():
                task.result()
        for _ in range(int(SETTLES_WITHIN_S / 2)):
            if self._at_rest():
                return
            await asyncio.sleep(2)

    def _at_rest(self) -> bool:
        return not any(
            worker.engine.writers._writers
            or worker.engine.starts.tasks
            or worker.engine._committer._queue
            or worker.engine._committer.away_since is not None
            for worker in self.alive()
        ) and all(
            history.deleted or (history.state.ended and not history.state.report)
            for history in self.cluster.witness.histories.values()
        )

    def _task(self, coro: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(coro)
        self._work.append(task)
        return task

    async def _nap(self, longest_s: float) -> None:
        await asyncio.sleep(self._rng.random() * longest_s)

    def alive(self) -> list[Worker]:
        return [worker for worker in self.cluster.workers if worker.alive]

    def _some_worker(self) -> Worker:
        return self._rng.choice(self.alive())

    def _some_stream(self) -> str:
        return self._rng.choice(self._names[-5:])

    def _history(self, name: str) -> History | None:
        for history in reversed(self.cluster.witness.histories.values()):
            if history.state.stream_id == name and not history.deleted:
                return history
        return None

    # Workers and their faults --------------------------------------------------------------

    async def add_worker(self) -> None:
        worker = await self.cluster.add(reports=True, timing=TIMING)
        worker.store.latency_s = self._rng.choice([0.0, 0.001, 0.05, 0.3])
        worker.store.departs = lambda groups: self._read_during(worker, groups)
        worker.store.arrives = self._draw_generation

    def _read_during(self, worker: Worker, groups: Sequence[Group]) -> None:
        """Let a worker read a stream while the worker commits the stream's end."""
        for change in _ends(groups):
            history = self.cluster.witness.histories.get(change.internal_id)
            if history is not None:
                worker.engine._tails.hint([history.state.stream_id])

    def _draw_generation(self, groups: Sequence[Group]) -> None:
        """Sometimes begin a new generation of the database, above all at the end of a stream.

        A read that is running then returns runs that lack the newest generation (G10).
        """
        if self._draws and self._rng.random() < (0.5 if _ends(groups) else 0.02):
            self._draws -= 1
            self.cluster.database.draw()

    async def kill(self) -> None:
        victim = self._some_worker()
        self.suspects.add(victim.name)
        await self.add_worker()
        self._rng.choice([victim.kill, victim.lose_host])()

    async def pause(self) -> None:
        worker = self._some_worker()
        self.suspects.add(worker.name)
        worker.store.pause()
        longest_s = self._rng.choice([1.0, 40.0])

        async def resume() -> None:
            await self._nap(longest_s)
            worker.store.resume()

        self._task(resume())

    async def outage(self) -> None:
        """Cut one or all workers off the database, sometimes for longer than ``patience_s``."""
        workers = self._rng.choice([self.alive(), [self._some_worker()]])
        for worker in workers:
            worker.store.away = True
            if len(workers) == 1:  # the other workers see that this worker's counter does not grow
                self.suspects.add(worker.name)
        longest_s = self._rng.choice([0.3, 3.0, 20.0])

        async def heal() -> None:
            await self._nap(longest_s)
            for worker in workers:
                worker.store.away = False

        self._task(heal())

    async def lose_outcomes(self) -> None:
        worker = self._some_worker()
        worker.store.lose = self._rng.choice([0.0, 0.2, 0.5])
        # If the outcome of a claim stays unknown, this worker ends the stream ``writer_lost``. So
        # such an end does not show that a healthy writer was taken for dead.
        self.suspects.add(worker.name)

    async def lose_hints(self) -> None:
        self._some_worker().notifier.lose = self._rng.choice([0.0, 0.5, 1.0])

    async def fail_on_end(self) -> None:
        self.cluster.on_end_fails = self._rng.choice([0.0, 0.4])

    async def release_lock(self) -> None:
        worker = self._some_worker()
        self.suspects.add(worker.name)
        self.cluster.database.release_lock(worker.name)

    async def set_the_clock(self) -> None:
        self.cluster.clock.jump_wall(self._rng.choice([-3600.0, -5.0, 5.0]))

    # Streams -------------------------------------------------------------------------------

    async def create(self) -> None:
        name = f"stream-{len(self._names)}"
        takeover_within_s = self._rng.choice([0.0, 0.0, 10.0])
        try:
            await self._some_worker().streams.create(name, takeover_within_s=takeover_within_s)
        except OutcomeUnknown:
            pass
        except StoreUnavailable:
            return
        self._names.append(name)
        if self._rng.random() < 0.9:
            await self.start()
        for _ in range(self._rng.choice([0, 1, 3])):
            await self.follow()

    async def start(self) -> None:
        name = self._names[-1] if self._rng.random() < 0.8 else self._some_stream()
        for _ in range(self._rng.choice([1, 1, 2, 3])):
            with contextlib.suppress(ShuttingDown):
                task = self._some_worker().streams.start(
                    name,
                    self._source(name),
                    on_disconnect="cancel" if self._rng.random() < 0.2 else "continue",
                )
                if self._rng.random() < 0.05:
                    self._task(self._cancel_soon(task))

    async def _cancel_soon(self, task: asyncio.Task[None]) -> None:
        await self._nap(0.1)
        task.cancel()

    async def write(self) -> None:
        takeover = self._rng.random() < 0.7
        worker = self._some_worker()
        job = self._task(self._write(self._some_stream(), worker, takeover))
        worker.jobs[job] = None

    async def cancel(self) -> None:
        with contextlib.suppress(StreamNotFound, *_AWAY):
            await self._some_worker().streams.cancel(self._some_stream())

    async def delete(self) -> None:
        name = self._some_stream()
        with contextlib.suppress(*_AWAY):
            await self._some_worker().streams.delete(name)
        if self._rng.random() < 0.5 and self._history(name) is None:
            with contextlib.suppress(*_AWAY):
                await self._some_worker().streams.create(name)
                await self.start()

    async def follow(self) -> None:
        follower = Follower(self._some_stream(), self.cluster.witness, self._rng, self._some_worker)
        self.followers.append(follower)
        self._task(follower.run())

    async def ask_for_nonsense(self) -> None:
        """G10: an offset past the tail, or with another internal id, is refused within a second."""
        name = self._some_stream()
        history = self._history(name)
        worker = self._some_worker()
        if history is None or worker.store.away or not worker.store.running:
            return
        wrong = self._rng.choice(
            [
                Offset(history.state.internal_id, 10**9),
                Offset(history.state.internal_id + 1000, 0),
            ]
        )
        async with asyncio.timeout(1.0):
            with pytest.raises((OffsetGone, StreamNotFound)):
                await worker.engine.readers.open(StreamId(name), wrong)

    # Writers -------------------------------------------------------------------------------

    def _source(self, name: str) -> Callable[[], AsyncIterator[Message | Result]]:
        """Return a source whose pieces contain its label and a number, so that gaps are found."""
        self._labels += 1
        label = self._labels
        total = self._rng.choice([0, 1, 5, 40, 200])
        pace_s = self._rng.choice([0.0, 0.01, 0.2])
        fails = self._rng.random() < 0.1

        async def source() -> AsyncIterator[Message | Result]:
            self.calls[name] += 1
            for number in range(total):
                yield self._token(label, number)
                if pace_s:
                    await self._nap(pace_s)
            if fails:
                raise StreamError("no more", code="provider")
            self.totals[label] = total
            yield Result({"label": label})

        return source

    async def _write(self, name: str, worker: Worker, takeover: bool) -> None:
        """Write as a job does. With ``takeover``, take the stream over if possible."""
        self._labels += 1
        label = self._labels
        total = self._rng.choice([3, 30])
        with contextlib.suppress(NotClaimed, StreamNotFound, WriterFenced, ShuttingDown, *_AWAY):
            async with worker.streams.write(name, takeover=takeover) as writer:
                history = self._history(name)
                for number in range(total):
                    token = self._token(label, number)
                    await writer.append(token)
                    if self._rng.random() < 0.2:
                        await writer.flush()
                        assert history is not None
                        assert self._tokens(history)[-1] == (label, number), (
                            "flushed text is not stored (G1)"
                        )
                    await self._nap(0.1)
                if self._rng.random() < 0.3:
                    await writer.release()
                else:
                    self.totals[label] = total
                    writer.result = {"label": label}

    def _token(self, label: int, number: int) -> Message:
        if self._rng.random() < 0.1:
            return {"label": label, "number": number}
        return f"<{label}:{number}>"

    def _tokens(self, history: History) -> list[tuple[int, int]]:
        found = []
        rest = _TOKEN.sub("", history.text)
        assert not rest, f"torn text: {rest!r}"
        for match in _TOKEN.finditer(history.text):
            if match[3] is not None:
                value = json.loads(match[3])
                found.append((value["label"], value["number"]))
            else:
                found.append((int(match[1]), int(match[2])))
        return found

    # Final checks --------------------------------------------------------------------------

    def check(self) -> None:
        """Check the stored text of every stream, and that every stream kept the guarantees."""
        assert not self.wronged, "a healthy writer lost its stream (G7)"
        self.cluster.witness.recheck()
        generations = Counter(
            history.state.stream_id for history in self.cluster.witness.histories.values()
        )
        for name, calls in self.calls.items():
            assert calls <= generations[StreamId(name)], "two sources for one stream (G4)"
        for internal_id, history in self.cluster.witness.histories.items():
            self._check_tokens(history)
            if not history.deleted:
                self._check_rest(internal_id, history)
        for worker in self.alive():
            worker.assert_nothing_kept()

    def _check_tokens(self, history: History) -> None:
        tokens = self._tokens(history)
        labels = list(dict.fromkeys(label for label, _ in tokens))
        expected = [
            (label, number)
            for label in labels
            for number in range(sum(other == label for other, _ in tokens))
        ]
        assert tokens == expected, "a gap, a duplicate or two writers at once (G2, G3)"
        assert len(labels) <= history.state.epoch, "more writers than claims (G3)"
        if history.state.status is Status.DONE:
            result = history.state.result
            assert isinstance(result, dict)
            label = int(str(result["label"]))
            written = sum(other == label for other, _ in tokens)
            assert written == self.totals[label], "a done stream lacks text (G5)"

    def _check_rest(self, internal_id: int, history: History) -> None:
        state = history.state
        assert state.ended, f"nobody ended {state} (G5, G7)"
        if state.code == "writer_lost":
            assert history.owners[-1] in self.suspects, "a healthy writer was killed (G7)"
        assert not state.report, f"no worker reported the end of {state}"
        of_this = str(Offset(internal_id, 0)).partition("_")[0] + "_"
        heard, unheard = (
            [body.status for body in bodies if body.offset.startswith(of_this)]
            for bodies in (self.cluster.ended, self.cluster.unheard)
        )
        # After ``REPORT_TRIES`` failures, ``on_end`` is not called again.
        assert state.status in heard or len(unheard) >= REPORT_TRIES, "on_end never ran"


def _ends(groups: Sequence[Group]) -> list[Change]:
    return [change for group in groups for change in group.changes if change.end is not None]


_THINGS = [
    World.create,
    World.create,
    World.create,
    World.start,
    World.write,
    World.write,
    World.cancel,
    World.delete,
    World.follow,
    World.follow,
    World.kill,
    World.pause,
    World.outage,
    World.lose_outcomes,
    World.lose_outcomes,
    World.lose_hints,
    World.fail_on_end,
    World.release_lock,
    World.set_the_clock,
    World.ask_for_nonsense,
]
