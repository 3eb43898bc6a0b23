"""Tests of ``create``: the fields of a new stream, and refusals."""
# ruff: noqa: D102  (each test's name says what it shows)

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from inkstream._errors import StreamExists, StreamNotFound, TooManyStreams
from inkstream._types import JSON_CONTENT, Change, End, Kind, Page, Status, StreamId, StreamState
from inkstream.abc import Store
from inkstream.testing.store_suite.harness import (
    NOW,
    StoreHarness,
    append,
    claim,
    committed,
    finish,
    messages_in,
    new,
    piece,
    state_of,
    stream_in,
    text_in,
)

AWKWARD: dict[str, Any] = {
    "nul": "a\x00b",
    "quote": "\"'\\;--",
    "emoji": "👩\u200d👧",
    "nested": {"list": [1, 2.5, None, True, {"": ""}]},
    "large": 2**53 + 1,
}


class BirthTests(StoreHarness):
    """A new stream has the state that ``abc.Store`` demands, or is not created."""

    async def test_text_begins_pending(self, store: Store) -> None:
        created = await store.create(new())
        assert created == StreamState(
            internal_id=created.internal_id,
            stream_id=StreamId("s"),
            kind=Kind.TEXT,
            content_type=JSON_CONTENT,
            status=Status.PENDING,
            epoch=0,
            worker=None,
            tail=0,
            size=0,
            owner=None,
            group=None,
            metadata={},
            created_at=NOW,
            runs=created.runs,
        )
        assert created.internal_id > 0
        assert await store.read(StreamId("s"), 0, 1000) == Page(created, (), 0, {})

    async def test_log_begins_open(self, store: Store) -> None:
        created = await store.create(new(kind=Kind.LOG))
        assert (created.status, created.epoch, created.worker) == (Status.OPEN, 0, None)
        assert await state_of(store) == created

    async def test_every_field_is_kept(self, store: Store) -> None:
        fields: dict[str, Any] = {
            "kind": Kind.LOG,
            "content_type": 'text/plain; charset="utf-8"',
            "owner": "o'wner\n☃",
            "group": "group/1",
            "metadata": AWKWARD,
            "due_at": NOW + 60.5,
            "ttl_s": 60.5,
            "retain_s": 3600.25,
            "takeover_within_s": 12.5,
            "report": True,
        }
        created = await store.create(new("a/b?c=d#e %00 ☃", **fields))
        assert {name: getattr(created, name) for name in fields} == fields
        assert created.created_at == NOW
        assert await state_of(store, "a/b?c=d#e %00 ☃") == created

    async def test_metadata_is_kept_as_it_was(self, store: Store) -> None:
        metadata = {"list": [1]}
        await store.create(new(metadata=metadata))
        metadata["list"].append(2)
        assert (await state_of(store)).metadata == {"list": [1]}

    async def test_with_messages_marks_and_end_in_one_step(self, store: Store) -> None:
        end = End(Status.ERROR, "code", "message\x00", AWKWARD)
        created = await store.create(
            new(append=piece("one", "two"), marks={"a": b"\x00", "b": b""}, end=end, report=True)
        )
        assert (created.status, created.tail, created.size) == (Status.ERROR, 2, 6)
        assert created.end == end
        assert (created.ended_at, created.started_at, created.report) == (NOW, None, True)
        page = await store.read(StreamId("s"), 0, 1000, marks=["a", "b", "c"])
        assert page.state == created
        assert page.marks == {"a": b"\x00", "b": b""}
        assert await messages_in(store) == ["one", "two"]
        assert page.end == 2

    async def test_first_messages_begin_at_zero(self, store: Store) -> None:
        await store.create(new(append=piece("one")))  # this piece has the wrong position 777
        page = await store.read(StreamId("s"), 0, 1000)
        assert page.segments[0].position == 0

    async def test_the_longest_id(self, store: Store) -> None:
        longest = "☃" * 512
        await store.create(new(longest))
        assert (await state_of(store, longest)).stream_id == longest

    async def test_ids_differ_by_case_and_by_form(self, store: Store) -> None:
        names = ["a", "A", "\u00e9", "e\u0301", "a ", " a"]
        created = [await store.create(new(name, owner=name)) for name in names]
        assert [(await state_of(store, name)) for name in names] == created

    async def test_a_taken_id(self, store: Store, other: Store) -> None:
        created = await store.create(new(owner="first"))
        with pytest.raises(StreamExists) as caught:
            await other.create(new(owner="second"))
        assert caught.value.stream_id == "s"
        await finish(store, created)
        with pytest.raises(StreamExists):
            await store.create(new())
        assert (await state_of(store)).owner == "first"

    async def test_one_of_many_creates_wins(self, store: Store, other: Store) -> None:
        results = await asyncio.gather(
            *[(store, other)[n % 2].create(new(owner=str(n))) for n in range(8)],
            return_exceptions=True,
        )
        created = [result for result in results if isinstance(result, StreamState)]
        assert len(created) == 1
        assert sum(isinstance(result, StreamExists) for result in results) == 7
        assert await state_of(store) == created[0]

    async def test_internal_ids_grow_and_are_never_reused(self, store: Store, other: Store) -> None:
        """G10: a stream that is deleted and created again gets a larger internal id."""
        largest = 0
        for opened in (store, other, store, other):
            created = await opened.create(new())
            assert created.internal_id > largest
            largest = created.internal_id
            assert await opened.delete([largest]) == 1
        with pytest.raises(StreamNotFound):
            await state_of(store)

    async def test_internal_ids_are_not_reused_after_a_restart(self, database: Any) -> None:
        largest = 0
        for worker in ("first", "second", "third"):
            store = self.make_store(database)
            await store.open(worker)
            try:
                created = await store.create(new())
                assert created.internal_id > largest
                largest = created.internal_id
                await store.delete([largest])
            finally:
                await store.close()

    async def test_change_of_the_deleted_stream_is_refused(self, store: Store) -> None:
        """G10: a change of a deleted stream has no effect on a new stream with the same id."""
        former = await store.create(new())
        await store.delete([former.internal_id])
        await store.create(new())
        with pytest.raises(AssertionError, match="Refused"):
            await append(store, former, "late")
        assert await text_in(store) == ""


class LimitTests(StoreHarness):
    """``max_live`` limits an owner's pending and streaming streams."""

    async def test_pending_and_streaming_count(self, store: Store) -> None:
        await stream_in(store, Status.PENDING, "a", owner="o", max_live=2)
        await stream_in(store, Status.STREAMING, "b", owner="o", max_live=2)
        with pytest.raises(TooManyStreams) as caught:
            await store.create(new("c", owner="o", max_live=2))
        assert caught.value.limit == 2
        with pytest.raises(StreamNotFound):
            await state_of(store, "c")
        await store.create(new("c", owner="o", max_live=3))

    async def test_logs_ended_and_others_do_not_count(self, store: Store) -> None:
        await stream_in(store, Status.OPEN, "log", owner="o")
        await stream_in(store, Status.DONE, "done", owner="o")
        await stream_in(store, Status.TIMEOUT, "timeout", owner="o")
        await stream_in(store, Status.STREAMING, "other", owner="somebody else")
        await stream_in(store, Status.STREAMING, "nobody's")
        await store.create(new("live", owner="o", max_live=1))

    async def test_an_end_and_a_deletion_make_room(self, store: Store) -> None:
        for number in range(4):
            state = await store.create(new(str(number), owner="o", max_live=1))
            with pytest.raises(TooManyStreams):
                await store.create(new("more", owner="o", max_live=1))
            if number > 1:
                await claim(store, state)
            if number % 2:
                await finish(store, state)
            else:
                await store.delete([state.internal_id])
        await store.create(new("more", owner="o", max_live=1))

    async def test_concurrent_creates_respect_the_limit(self, store: Store, other: Store) -> None:
        results = await asyncio.gather(
            *[(store, other)[n % 2].create(new(str(n), owner="o", max_live=3)) for n in range(10)],
            return_exceptions=True,
        )
        assert sum(isinstance(result, StreamState) for result in results) == 3
        assert sum(isinstance(result, TooManyStreams) for result in results) == 7

    async def test_stream_created_ended_does_not_count(self, store: Store) -> None:
        ended = await store.create(new("a", owner="o", max_live=1, end=End(Status.DONE)))
        live = await store.create(new("b", owner="o", max_live=1))
        await committed(store, Change(internal_id=ended.internal_id, report=False))
        await finish(store, live)
        await store.create(new("c", owner="o", max_live=1))


class CreationTests(BirthTests, LimitTests):
    """The tests of ``create``, except the tests of forks."""
