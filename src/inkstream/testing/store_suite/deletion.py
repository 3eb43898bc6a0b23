"""Tests of ``delete``, for streams without forks."""
# ruff: noqa: D102  (each test's name says what it shows)

from __future__ import annotations

import asyncio

import pytest

from inkstream._errors import StreamNotFound
from inkstream._types import Change, Group, Query, Refused, Status
from inkstream.abc import Store
from inkstream.testing.store_suite.harness import (
    StoreHarness,
    append,
    new,
    piece,
    state_of,
    stream_in,
    text_in,
    tidied,
)


class DeletionTests(StoreHarness):
    """A deleted stream disappears immediately, with all its data."""

    @pytest.mark.parametrize("status", list(Status))
    async def test_delete_in_any_status(self, store: Store, status: Status) -> None:
        state = await stream_in(store, status, append=piece("text"))
        assert await store.delete([state.internal_id]) == 1
        with pytest.raises(StreamNotFound):
            await state_of(store)
        assert await store.find(Query()) == []

    async def test_how_many_existed(self, store: Store) -> None:
        states = [await store.create(new(name)) for name in "abc"]
        first, second, third = (state.internal_id for state in states)
        assert await store.delete([]) == 0
        assert await store.delete([first, 10**12, third]) == 2
        assert await store.delete([first, second]) == 1
        assert await store.delete([first, second, third]) == 0

    async def test_an_id_given_twice_counts_once(self, store: Store) -> None:
        state = await store.create(new())
        assert await store.delete([state.internal_id] * 3) == 1

    async def test_the_text_does_not_come_back(self, store: Store) -> None:
        state = await stream_in(store, Status.STREAMING)
        await append(store, state, "old")
        await store.delete([state.internal_id])
        again = await stream_in(store, Status.STREAMING)
        assert (again.tail, again.size) == (0, 0)
        await append(store, again, "new")
        assert await text_in(store) == "new"
        await tidied(store)
        assert await text_in(store) == "new"

    async def test_neighbours_stay(self, store: Store) -> None:
        states = [await store.create(new(name, append=piece(name))) for name in "abc"]
        await store.delete([states[1].internal_id])
        assert [await state_of(store, name) for name in "ac"] == [states[0], states[2]]
        assert [await text_in(store, name) for name in "ac"] == ["a", "c"]

    async def test_writer_of_a_deleted_stream_is_refused(self, store: Store, other: Store) -> None:
        """G3: a deleted stream's writer is refused at its next append, in any process."""
        state = await stream_in(store, Status.STREAMING)
        await other.delete([state.internal_id])
        change = Change(internal_id=state.internal_id, if_epoch=1, append=piece("late"))
        assert await store.commit([Group((change,))]) == [Refused(0, None)]

    async def test_a_race_deletes_once(self, store: Store, other: Store) -> None:
        state = await store.create(new())
        deleted = await asyncio.gather(
            *[opened.delete([state.internal_id]) for opened in (store, other) * 3]
        )
        assert sum(deleted) == 1
