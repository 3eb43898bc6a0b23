"""Each cell of the status table in docs/concepts.md is true (G3, G4, G5)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from inkstream import End, InkstreamError, Status, StreamId, Timing
from inkstream._types import Fork, Kind, NewStream, StreamState
from inkstream.engine.writer import Writer
from inkstream.testing import in_virtual_time
from tests.simulation.cluster import Cluster, Worker, cluster

CONCEPTS = Path(__file__).parents[2] / "docs" / "concepts.md"
NAME = StreamId("the stream")
RETAIN_S = 10.0
ERRORS = InkstreamError.__module__


def rows() -> dict[str, dict[str, str]]:
    section = CONCEPTS.read_text().split("## The status table")[1].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    heads = cells[0][1:]
    return {row[0]: dict(zip(heads, row[1:], strict=True)) for row in cells[2:]}


@dataclass
class Stage:
    """A stream in some state, the worker of its writer, and another worker."""

    cluster: Cluster
    here: Worker
    there: Worker
    writer: Writer | None = None

    @property
    def stored(self) -> StreamState | None:
        """Return the stream in the database. A stream that is gone is still in the database."""
        stream = self.cluster.database._streams._by_name.get(NAME)
        return None if stream is None else stream.snapshot()

    @property
    def found(self) -> bool:
        return self.stored is not None and not self.stored.gone

    async def create(self, kind: Kind = Kind.TEXT) -> None:
        now = self.cluster.clock.wall()
        await self.here.engine.changes.create(
            NewStream(
                stream_id=NAME,
                kind=kind,
                created_at=now,
                due_at=now + RETAIN_S,
                retain_s=RETAIN_S,
                takeover_within_s=RETAIN_S,
            )
        )

    async def claim(self) -> Writer:
        self.writer = await self.here.engine.claims.claim(NAME)
        return self.writer

    async def bury(self) -> None:
        """If the writer's store is paused, wait until the writer is taken for dead, then resume."""
        if not self.here.store.running:
            await asyncio.sleep(2)
            self.here.store.resume()


async def pending(stage: Stage) -> None:
    await stage.create()


async def streaming(stage: Stage) -> None:
    await stage.create()
    await (await stage.claim()).append("some text")


async def let_go(stage: Stage) -> None:
    await streaming(stage)
    assert stage.writer is not None
    await stage.here.engine.writers.release(stage.writer)


async def writer_dead(stage: Stage) -> None:
    """Release the lock of a living writer, so that other workers take the writer for dead."""
    await streaming(stage)
    assert stage.writer is not None
    await stage.writer.flush()
    stage.here.store.pause()  # otherwise the worker would take its lock again
    stage.cluster.database.release_lock(stage.here.name)


def ended(status: str) -> Callable[[Stage], Awaitable[None]]:
    async def enter(stage: Stage) -> None:
        await streaming(stage)
        assert stage.writer is not None
        await stage.here.engine.writers.finish(stage.writer, End(Status(status)))

    return enter


async def open_log(stage: Stage) -> None:
    await stage.create(Kind.LOG)


async def closed_log(stage: Stage) -> None:
    await stage.create(Kind.LOG)
    await stage.here.streams.close(NAME)


async def gone(stage: Stage) -> None:
    await ended("done")(stage)
    await fork(stage)
    assert await stage.here.streams.delete(NAME)


async def absent(stage: Stage) -> None:
    """Create no stream."""


STATES: dict[str, Callable[[Stage], Awaitable[None]]] = {
    "text, `pending`": pending,
    "text, `streaming`": streaming,
    "text, `streaming`, let go": let_go,
    "text, `streaming`, writer dead": writer_dead,
    "text, `done`": ended("done"),
    "text, `error`": ended("error"),
    "text, `cancelled`": ended("cancelled"),
    "text, `timeout`": ended("timeout"),
    "log, `open`": open_log,
    "log, `done`": closed_log,
    "gone": gone,
    "absent": absent,
}


# Each of these operations returns False if it had no effect.


async def claim(stage: Stage) -> bool:
    await stage.there.engine.claims.claim(NAME)
    return True


async def take_over(stage: Stage) -> bool:
    await stage.there.engine.claims.claim(NAME, takeover=True)
    return True


async def append(stage: Stage) -> bool:
    if stage.writer is None or not stage.found:
        await stage.there.streams.post(NAME, "more text")
        return True
    await stage.bury()
    await stage.writer.append("more text")
    await stage.writer.flush()
    return True


async def close(stage: Stage) -> bool:
    if stage.writer is None or not stage.found:
        return await stage.there.streams.close(NAME)
    await stage.bury()
    await stage.here.engine.writers.finish(stage.writer, End(Status.DONE))
    return True


async def cancel(stage: Stage) -> bool:
    return await stage.there.streams.cancel(NAME)


async def expire(stage: Stage) -> bool:
    existed = stage.stored is not None
    await asyncio.sleep(RETAIN_S + 5)
    return existed


async def delete(stage: Stage) -> bool:
    return await stage.there.streams.delete(NAME)


async def fork(stage: Stage) -> bool:
    source = stage.stored
    name = StreamId.generate()
    now = stage.cluster.clock.wall()
    await stage.there.engine.changes.create(
        NewStream(
            stream_id=name,
            kind=Kind.LOG,
            created_at=now,
            due_at=now + RETAIN_S / 2,
            fork=Fork(99, 0) if source is None else Fork(source.internal_id, source.tail),
        )
    )
    assert source is not None
    forked = await stage.there.streams.read(name)
    assert forked.text == stage.cluster.witness.histories[source.internal_id].text
    return True


OPERATIONS: dict[str, Callable[[Stage], Awaitable[bool]]] = {
    "claim": claim,
    "take over": take_over,
    "append": append,
    "close or finish": close,
    "cancel": cancel,
    "expire": expire,
    "delete": delete,
    "fork": fork,
}


async def outcome(state: str, operation: str) -> str:
    """Return the effect of an operation on a stream in a state, in the table's words."""
    timing = Timing(total_s=5.0)
    async with cluster() as made:
        here, there = await made.add(timing=timing), await made.add(timing=timing)
        stage = Stage(made, here, there)
        await STATES[state](stage)
        before = stage.stored
        try:
            said = await OPERATIONS[operation](stage)
        except InkstreamError as exc:
            after = stage.stored
            # The sweeper may change a dead writer's stream at any time.
            assert state.endswith("dead") or after == before, (
                "the call raised, but changed the stream"
            )
            return next(kind.__name__ for kind in type(exc).__mro__ if kind.__module__ == ERRORS)
        after = stage.stored
        if after is None and before is not None:
            assert said
            return "→ absent"
        if not said:
            assert after == before
            return "no effect"
        assert before is not None
        assert after is not None
        if after.status != before.status or after.epoch != before.epoch:
            return f"→ {after.status}"
        if operation == "fork":
            assert after == before
            return "copied"
        assert after.tail > before.tail
        return "accepted"


TABLE = rows()


def test_every_state_and_operation_is_in_the_table() -> None:
    assert list(TABLE) == list(STATES)
    assert all(list(row) == list(OPERATIONS) for row in TABLE.values())


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("state", STATES)
@in_virtual_time
async def test_cell(state: str, operation: str) -> None:
    """G3, G4, G5: an operation on a stream in a state does what the table's cell says."""
    assert await outcome(state, operation) == TABLE[state][operation]
