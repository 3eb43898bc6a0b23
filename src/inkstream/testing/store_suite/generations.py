"""Tests of generations, which distinguish new messages from lost messages at the same positions."""
# ruff: noqa: D102  (each test's name says what it shows)

from __future__ import annotations

import asyncio
from typing import Any

from inkstream._runs import MAX_RUNS, Run, generation_of
from inkstream._types import Change, End, Fork, Kind, Status, StreamState
from inkstream.abc import Store
from inkstream.testing.store_suite.harness import (
    DONE,
    NOW,
    StoreHarness,
    append,
    committed,
    finish,
    new,
    piece,
    refused,
    state_of,
    text_in,
    tidied,
)
from inkstream.wire import Offset


def offsets_of(state: StreamState) -> list[Offset]:
    """Return every offset that the library could now give to a client of this stream."""
    ends = [Offset.at(state, state.tail, ended=True)] if state.ended else []
    return [Offset.at(state, position) for position in range(state.tail + 1)] + ends


class GenerationTests(StoreHarness):
    """G2, G10: until a stream has ``MAX_RUNS`` runs, a new generation makes no offset invalid."""

    async def reopened(self, database: Any, store: Store) -> Store:
        """Close a store, and open another store while no worker runs, as after a restore."""
        await store.close()
        again = self.make_store(database)
        await again.open("again")
        return again

    async def test_generation_is_kept_while_a_worker_lives(
        self, store: Store, database: Any
    ) -> None:
        state = await store.create(new(kind=Kind.LOG))
        head = await append(store, state, "a")
        assert 0 < head.generation < 2**24
        await store.heartbeat(beat=True)
        third = self.make_store(database)
        await third.open("three")
        try:
            for opened in (third, store):
                assert (await append(opened, state, "b")).generation == head.generation
        finally:
            await third.close()
        assert (await state_of(store)).runs == (Run(0, head.generation),)

    async def test_generation_is_new_after_all_workers_stopped(self, database: Any) -> None:
        store = self.make_store(database)
        await store.open("one")
        state = await store.create(new(kind=Kind.LOG))
        first = await append(store, state, "a", "b")
        store = await self.reopened(database, store)
        try:
            second = await append(store, state, "c")
            assert second.generation != first.generation
            found = await state_of(store)
            assert found.runs == (Run(0, first.generation), Run(2, second.generation))
            (head,) = await committed(store, Change(internal_id=state.internal_id, report=False))
            assert head.generation == second.generation
        finally:
            await store.close()

    async def test_generation_is_new_when_several_open_at_once(self, database: Any) -> None:
        store = self.make_store(database)
        await store.open("one")
        state = await store.create(new(kind=Kind.LOG))
        before = (await append(store, state, "a")).generation
        await store.close()
        stores = [self.make_store(database) for _ in range(4)]
        await asyncio.gather(*[opened.open(f"w{n}") for n, opened in enumerate(stores)])
        try:
            for opened in stores:
                assert (await append(opened, state, "b")).generation != before
        finally:
            for opened in stores:
                await opened.close()

    async def test_generation_is_kept_while_workers_only_beat(self, database: Any) -> None:
        store = self.make_store(database)
        await store.open("one")
        state = await store.create(new(kind=Kind.LOG))
        await store.close()
        stores = [self.make_store(database) for _ in range(3)]
        await asyncio.gather(*[opened.open(f"w{n}") for n, opened in enumerate(stores)])
        try:
            found: list[int] = []
            for _ in range(3):
                for opened in stores[1:]:
                    await opened.heartbeat(beat=True)
                found.append((await append(stores[0], state, "a")).generation)
            assert found == [found[0]] * 3
        finally:
            for opened in stores:
                await opened.close()

    async def test_generation_of_a_stream_without_messages(self, database: Any) -> None:
        store = self.make_store(database)
        await store.open("one")
        state = await store.create(new())
        assert Offset.at(state, 0).generation == 0
        store = await self.reopened(database, store)
        try:
            change = Change(internal_id=state.internal_id, end=DONE, at=NOW)
            (head,) = await committed(store, change)
            ended = await state_of(store)
            assert ended.runs == (Run(0, head.generation),), "the first run had no messages"
            assert generation_of(ended.runs, 1) == head.generation
        finally:
            await store.close()

    async def test_generation_of_an_end(self, database: Any) -> None:
        store = self.make_store(database)
        await store.open("one")
        state = await store.create(new())
        first = await append(store, state, "a")
        store = await self.reopened(database, store)
        try:
            change = Change(internal_id=state.internal_id, end=End(Status.DONE), at=NOW)
            (head,) = await committed(store, change)
            ended = await state_of(store)
            assert ended.runs == (Run(0, first.generation), Run(1, head.generation))
            assert Offset.at(ended, 1).generation == first.generation
            assert Offset.at(ended, 1, ended=True).generation == head.generation
        finally:
            await store.close()

    async def test_generation_of_an_end_with_a_late_result(self, database: Any) -> None:
        """G10: a result that is added after the end does not change the offset of the end."""
        store = self.make_store(database)
        await store.open("one")
        state = await store.create(new())
        await append(store, state, "a")
        await finish(store, state, End(Status.CANCELLED))
        before = await state_of(store)
        store = await self.reopened(database, store)
        try:
            await append(store, await store.create(new("other", kind=Kind.LOG)), "b")
            late = End(Status.CANCELLED, result={"tokens": 1})
            (head,) = await committed(
                store, Change(internal_id=state.internal_id, next_epoch=True, end=late, at=NOW)
            )
            after = await state_of(store)
            assert (after.result, after.runs) == ({"tokens": 1}, before.runs)
            assert head.generation == before.runs[-1].generation
            assert Offset.at(before, 1, ended=True).lies_in(after)
        finally:
            await store.close()

    async def test_generation_of_what_a_fork_inherits(self, database: Any) -> None:
        store = self.make_store(database)
        await store.open("one")
        source = await store.create(new("source", kind=Kind.LOG))
        await append(store, source, "a", "b")
        store = await self.reopened(database, store)
        try:
            await append(store, source, "c", "d")
            now = (await state_of(store, "source")).runs[-1].generation
            before = (await state_of(store, "source")).runs[0].generation
            for position, inherited in (
                (0, ()),
                (1, (before,)),
                (2, (before,)),
                (4, (before, now)),
            ):
                name = f"fork {position}"
                fork = Fork(source.internal_id, position)
                made = await store.create(new(name, kind=Kind.LOG, fork=fork))
                await append(store, made, "own")
                runs = (await state_of(store, name)).runs
                assert [generation_of(runs, n + 1) for n in range(position + 1)] == [
                    *([before] * min(position, 2)),
                    *([now] * max(position - 2, 0)),
                    now,
                ]
                assert len(runs) == len({*inherited, now})
        finally:
            await store.close()

    async def test_new_generation_keeps_offsets_valid(self, database: Any) -> None:
        store = self.make_store(database)
        await store.open("one")
        given: list[Offset] = []
        state = await store.create(new(kind=Kind.LOG))
        for n in range(8):
            if n % 3:
                store = await self.reopened(database, store)
            await append(store, state, *["x"] * n, "y")
            if n % 2:
                await tidied(store)
            given += offsets_of(await state_of(store))
        store = await self.reopened(database, store)
        try:
            await committed(store, Change(internal_id=state.internal_id, end=DONE, at=NOW))
            ended = await state_of(store)
            given += offsets_of(ended)
            assert all(offset.lies_in(ended) for offset in given)
        finally:
            await store.close()

    async def test_generation_runs_are_bounded(self, database: Any) -> None:
        """If a stream has too many runs, only its oldest offsets become invalid."""
        store = self.make_store(database)
        await store.open("one")
        state = await store.create(new(kind=Kind.LOG))
        old: list[Offset] = []
        for _ in range(MAX_RUNS + 3):
            await append(store, state, "x", "y")
            found = await state_of(store)
            old.append(Offset.at(found, found.tail))
            store = await self.reopened(database, store)
        try:
            found = await state_of(store)
            assert len(found.runs) == MAX_RUNS
            assert [offset.lies_in(found) for offset in old] == [False] * 3 + [True] * MAX_RUNS
            assert all(offset.lies_in(found) for offset in offsets_of(found))
            assert await text_in(store) == "xy" * (MAX_RUNS + 3)
        finally:
            await store.close()

    async def test_generation_of_refused_and_empty_changes(self, database: Any) -> None:
        store = self.make_store(database)
        await store.open("one")
        state = await store.create(new(kind=Kind.LOG))
        await append(store, state, "a")
        runs = (await state_of(store)).runs
        store = await self.reopened(database, store)
        try:
            change = Change(internal_id=state.internal_id, if_tail=7, append=piece("no"))
            assert (await refused(store, change)).state == await state_of(store)
            await committed(store, Change(internal_id=state.internal_id, marks={"m": b""}))
            assert (await state_of(store)).runs == runs, "a change without messages adds no run"
        finally:
            await store.close()
