"""Tests of ``heartbeat``, ``open`` and ``close``: which workers live."""
# ruff: noqa: D102  (each test's name says what it shows)

from __future__ import annotations

import asyncio
from typing import Any

from inkstream._types import Change, End, Status
from inkstream.abc import Store
from inkstream.testing.store_suite.harness import (
    NOW,
    StoreHarness,
    append,
    claim,
    committed,
    new,
    state_of,
)


async def beats(store: Store, *, beat: bool = False, forget: list[str] | None = None) -> Any:
    """Return each known worker's counter."""
    states = await store.heartbeat(beat=beat, forget=forget or [])
    assert len({state.worker for state in states}) == len(states)
    return {state.worker: state.beats for state in states}


async def locked(store: Store, worker: str) -> bool | None:
    """Return whether a worker's lock is held, as another worker sees it."""
    (state,) = [state for state in await store.heartbeat(beat=False) if state.worker == worker]
    return state.locked


class WorkerTests(StoreHarness):
    """G7: a living worker's counter grows and its lock is held.

    A dead worker's counter stays the same, and its lock is free.
    """

    async def test_no_workers_before_the_first_beat(self, store: Store, other: Store) -> None:
        assert await beats(store) == {}
        assert await beats(other) == {}

    async def test_beat_raises_own_counter_only(self, store: Store, other: Store) -> None:
        first = (await beats(store, beat=True))["one"]
        second = (await beats(store, beat=True))["one"]
        assert second != first
        assert await beats(other) == {"one": second}, "a read without a beat changes no counter"
        both = await beats(other, beat=True)
        assert both["one"] == second
        assert set(both) == {"one", "two"}
        assert await beats(store) == both

    async def test_counters_never_return(self, store: Store) -> None:
        """A counter never returns to an old value, because that would look like a missing beat."""
        seen = [(await beats(store, beat=True))["one"] for _ in range(20)]
        assert len(set(seen)) == 20

    async def test_the_lock_is_held_while_open(self, database: Any, store: Store) -> None:
        another = self.make_store(database)
        await another.open("another")
        try:
            await beats(another, beat=True)
            assert await locked(store, "another") is not False
            assert await locked(another, "another") is not False
        finally:
            await another.close()
        assert await locked(store, "another") is not True

    async def test_closed_workers_are_listed(self, database: Any, store: Store) -> None:
        """A closed worker stays listed, so that other workers can end its streams."""
        another = self.make_store(database)
        await another.open("another")
        await beats(another, beat=True)
        await another.close()
        before = await beats(store, beat=True)
        assert set(before) == {"one", "another"}
        assert (await beats(store, beat=True))["another"] == before["another"]

    async def test_forget(self, store: Store, other: Store) -> None:
        await beats(store, beat=True)
        await beats(other, beat=True)
        assert set(await beats(store, forget=["two", "nobody"])) == {"one"}
        assert set(await beats(other)) == {"one"}

    async def test_forgotten_worker_returns_with_a_beat(self, store: Store, other: Store) -> None:
        await beats(other, beat=True)
        await beats(store, forget=["two"])
        assert "two" in await beats(other, beat=True)
        assert await locked(store, "two") is not False

    async def test_an_owner_is_not_forgotten(self, store: Store, other: Store) -> None:
        """A worker stays listed while it has a stream, so that other workers can end the stream."""
        await beats(other, beat=True)
        states = [await store.create(new(name)) for name in "ab"]
        for state in states:
            await claim(other, state, "two")
        assert "two" in await beats(store, forget=["two"])
        let_go = Change(internal_id=states[0].internal_id, worker=None)
        await committed(store, let_go)
        assert "two" in await beats(store, forget=["two"])
        await store.delete([states[1].internal_id])
        assert "two" not in await beats(store, forget=["two"])

    async def test_worker_with_a_report_is_not_forgotten(self, store: Store, other: Store) -> None:
        await beats(other, beat=True)
        state = await store.create(new(report=True))
        await claim(other, state, "two")
        end = Change(internal_id=state.internal_id, end=End(Status.DONE), at=NOW)
        await committed(store, end)
        assert (await state_of(store)).worker == "two"
        assert "two" in await beats(store, forget=["two"])

    async def test_forgetting_and_beating_at_once(self, store: Store, other: Store) -> None:
        await beats(other, beat=True)
        after = await beats(store, beat=True, forget=["two", "three"])
        assert set(after) == {"one"}

    async def test_roster_has_each_description(self, store: Store, other: Store) -> None:
        assert (await store.roster()).workers == ()
        await store.heartbeat(beat=True, said='{"pid": 1}')
        await other.heartbeat(beat=True, said='{"pid": 2}')
        await other.heartbeat(beat=True)
        roster = await store.roster()
        said = {worker.worker: worker.said for worker in roster.workers}
        assert said == {"one": '{"pid": 1}', "two": '{"pid": 2}'}, "the description stays"
        for worker in roster.workers:
            assert worker.locked is not False
            assert 0 <= roster.now - worker.beat_at < 60
        await store.heartbeat(beat=True, said='{"pid": 3}')
        assert {worker.said for worker in (await other.roster()).workers} == {
            '{"pid": 3}',
            '{"pid": 2}',
        }

    async def test_the_last_writer_and_message_are_known(self, store: Store) -> None:
        state = await store.create(new())
        assert (state.writer, state.appended_at) == (None, None)
        await claim(store, state, "one")
        claimed = await state_of(store)
        assert (claimed.writer, claimed.appended_at) == ("one", None)
        before = (await store.roster()).now
        await append(store, state, "text")
        appended = await state_of(store)
        assert appended.appended_at is not None
        assert before - 1 <= appended.appended_at <= (await store.roster()).now + 1
        end = Change(internal_id=state.internal_id, end=End(Status.DONE), at=NOW, worker=None)
        await committed(store, end)
        ended = await state_of(store)
        assert (ended.worker, ended.writer) == (None, "one")
        assert ended.appended_at == appended.appended_at

    async def test_data_survives_closing(self, database: Any) -> None:
        """G1: created streams are still there when the database is opened again."""
        for number, worker in enumerate(("first", "second", "third")):
            store = self.make_store(database)
            await store.open(worker)
            try:
                for earlier in range(number):
                    assert (await state_of(store, str(earlier))).owner == str(earlier)
                await store.create(new(str(number), owner=str(number)))
            finally:
                await store.close()

    async def test_close_lets_calls_under_way_finish(self, database: Any, store: Store) -> None:
        another = self.make_store(database)
        await another.open("another")
        tasks = [asyncio.ensure_future(another.create(new(str(n)))) for n in range(5)]
        await asyncio.sleep(0)
        await another.close()
        created = await asyncio.gather(*tasks)
        assert [await state_of(store, str(n)) for n in range(5)] == created
