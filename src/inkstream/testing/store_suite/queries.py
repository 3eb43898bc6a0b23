"""Tests of ``find``: each field of a query, all fields together, and pages."""
# ruff: noqa: D102  (each test's name says what it shows)

from __future__ import annotations

from typing import Any

import pytest

from inkstream._types import KEEP, Change, End, Query, Status, StreamId, StreamState
from inkstream.abc import Store
from inkstream.testing.store_suite.harness import (
    NOW,
    StoreHarness,
    append,
    claim,
    committed,
    new,
    piece,
    state_of,
    stream_in,
)


async def found(store: Store, **conditions: Any) -> str:
    """Return the one-letter names of the matching streams, in order."""
    return "".join([state.stream_id for state in await store.find(Query(**conditions))])


class QueryTests(StoreHarness):
    """``find`` returns the streams that match every field of a query, newest first."""

    async def test_nothing_in_an_empty_database(self, store: Store) -> None:
        assert await store.find(Query()) == []

    async def test_newest_first_with_whole_states(self, store: Store) -> None:
        states = [
            await stream_in(store, status, status.value, metadata={"n": 1}, append=piece("text"))
            for status in Status
        ]
        assert await store.find(Query()) == states[::-1]

    async def test_owner_and_group(self, store: Store) -> None:
        for name, owner, group in (
            ("a", "o", "g"),
            ("b", "o", "h"),
            ("c", "p", "g"),
            ("d", None, None),
            ("e", "o", None),
        ):
            await store.create(new(name, owner=owner, group=group))
        assert await found(store, owner="o") == "eba"
        assert await found(store, group="g") == "ca"
        assert await found(store, owner="o", group="g") == "a"
        assert await found(store, owner="O") == await found(store, owner="") == ""

    async def test_statuses(self, store: Store) -> None:
        names = "abcdefg"
        for name, status in zip(names, Status, strict=True):
            await stream_in(store, status, name)
        for name, status in zip(names, Status, strict=True):
            assert await found(store, statuses=(status,)) == name
        assert await found(store, statuses=(Status.PENDING, Status.DONE, Status.OPEN)) == "dca"
        assert await found(store, statuses=()) == ""

    async def test_stream_ids(self, store: Store) -> None:
        for name in "abcd":
            await store.create(new(name, owner="o" if name < "c" else None))
        wanted = tuple(StreamId(name) for name in ("b", "x", "d", "a", "b"))
        assert await found(store, stream_ids=wanted) == "dba"
        assert await found(store, stream_ids=wanted, owner="o") == "ba"
        assert await found(store, stream_ids=()) == ""
        many = tuple(StreamId(f"absent {number}") for number in range(2000))
        assert await found(store, stream_ids=(*many, StreamId("c")), limit=2001) == "c"

    async def test_worker(self, store: Store) -> None:
        await store.create(new("a"))
        for name, worker in (("b", "one"), ("c", "two"), ("d", "one")):
            await claim(store, await store.create(new(name)), worker)
        assert await found(store, worker="one") == "db"
        assert await found(store, worker="two", statuses=(Status.STREAMING,)) == "c"
        assert await found(store, worker=None) == "a"
        assert await found(store, worker=KEEP) == "dcba"
        assert await found(store, worker="three") == ""

    async def test_due_before(self, store: Store) -> None:
        for name, due_at in (("a", NOW - 1), ("b", NOW + 1), ("c", None), ("d", NOW - 0.001)):
            await store.create(new(name, due_at=due_at))
        assert await found(store, due_before=NOW) == "da"
        assert await found(store, due_before=NOW + 2) == "dba"
        assert await found(store, due_before=0.0) == ""
        state = await state_of(store, "a")
        await committed(store, Change(internal_id=state.internal_id, due_at=NOW + 60))
        assert await found(store, due_before=NOW) == "d"

    async def test_unreported(self, store: Store) -> None:
        await stream_in(store, Status.STREAMING, "a", report=True)
        await stream_in(store, Status.DONE, "b", report=True)
        await stream_in(store, Status.DONE, "c", report=False)
        await stream_in(store, Status.ERROR, "d", report=True)
        await store.create(new("e", report=True, end=End(Status.DONE)))
        assert await found(store, unreported=True) == "edb"
        reported = Change(internal_id=(await state_of(store, "d")).internal_id, report=False)
        await committed(store, reported)
        assert await found(store, unreported=True) == "eb"
        assert await found(store, unreported=False) == "edcba"

    async def test_all_conditions_at_once(self, store: Store) -> None:
        wanted: dict[str, Any] = {"owner": "o", "group": "g", "due_at": NOW - 1, "report": True}
        others: dict[str, Any] = {"owner": "p", "group": "h", "due_at": NOW + 1, "report": False}
        for n, name in enumerate(["x", *wanted]):
            fields = {**wanted, name: others[name]} if n else wanted
            state = await store.create(new(name[0], **fields))
            end = Change(internal_id=state.internal_id, worker="w", end=End(Status.DONE), at=NOW)
            await committed(store, end)
        query = Query(
            stream_ids=tuple(StreamId(letter) for letter in "xogdr"),
            owner="o",
            group="g",
            statuses=(Status.DONE,),
            worker="w",
            due_before=NOW,
            unreported=True,
        )
        assert [state.stream_id for state in await store.find(query)] == ["x"]

    @pytest.mark.parametrize("limit", [1, 2, 3, 7, 100])
    async def test_pages(self, store: Store, limit: int) -> None:
        for name in "abcdefg":
            await store.create(new(name, owner="o" if name != "d" else None))
        states: list[StreamState] = []
        before = None
        while True:
            page = await store.find(Query(owner="o", before=before, limit=limit))
            assert len(page) <= limit
            states += page
            if len(page) < limit:
                break
            before = page[-1].internal_id
        assert "".join(state.stream_id for state in states) == "gfecba"

    async def test_pages_while_streams_come_and_go(self, store: Store) -> None:
        for name in "abcd":
            await store.create(new(name))
        first = await store.find(Query(limit=2))
        await store.create(new("e"))
        await store.delete([first[-1].internal_id])
        assert await found(store, before=first[-1].internal_id) == "ba"

    async def test_state_is_current(self, store: Store, other: Store) -> None:
        state = await stream_in(store, Status.STREAMING, "a")
        await append(store, state, "text")
        assert await other.find(Query(worker="one")) == [await state_of(other, "a")]
        assert (await other.find(Query()))[0].tail == 1

    async def test_deleted_are_not_found(self, store: Store) -> None:
        state = await store.create(new("a", owner="o"))
        await store.delete([state.internal_id])
        assert await store.find(Query(owner="o")) == []
        assert await store.find(Query(stream_ids=(StreamId("a"),))) == []
