"""Tests of forks: streams that begin with another stream's messages."""
# ruff: noqa: D102  (each test's name says what it shows)

from __future__ import annotations

import pytest

from inkstream._errors import OffsetGone, StreamExists, StreamGone, StreamNotFound
from inkstream._types import Change, End, Fork, Kind, Query, Status, StreamId, StreamState
from inkstream.abc import Store
from inkstream.testing.store_suite.harness import (
    NOW,
    StoreHarness,
    append,
    committed,
    finish,
    messages_in,
    messages_of,
    new,
    pages_of,
    piece,
    raw_bytes,
    refused,
    state_of,
    tidied,
)


async def fork(store: Store, name: str, source: StreamState, position: int) -> StreamState:
    """Create a fork of a stream."""
    return await store.create(new(name, kind=Kind.LOG, fork=Fork(source.internal_id, position)))


async def log(store: Store, name: str, *messages: str) -> StreamState:
    """Create a log with these messages, two in each segment."""
    state = await store.create(new(name, kind=Kind.LOG))
    for start in range(0, len(messages), 2):
        await append(store, state, *messages[start : start + 2])
    return await state_of(store, name)


async def absent(store: Store, name: str) -> bool:
    """Return whether a name is free: no stream has the name, not even a stream that is gone."""
    try:
        await state_of(store, name)
    except StreamGone:
        return False
    except StreamNotFound:
        return True
    return False


class InheritanceTests(StoreHarness):
    """A fork has the old stream's messages up to a position, and then its own messages."""

    @pytest.mark.parametrize("position", range(6))
    async def test_from_any_position(self, store: Store, position: int) -> None:
        source = await log(store, "source", *"abcde")
        state = await fork(store, "fork", source, position)
        assert (state.tail, state.size, state.epoch) == (position, 0, 0)
        await append(store, state, "X", "Y")
        await append(store, state, "Z")
        expected = [*"abcde"[:position], *"XYZ"]
        for after in range(len(expected) + 1):
            for max_bytes in (1, 2, 1000):
                pages = await pages_of(store, "fork", after, max_bytes)
                assert messages_of(pages, after) == expected[after:]
        assert (await state_of(store, "fork")).tail == position + 3
        assert await messages_in(store, "source") == [*"abcde"]

    async def test_with_first_messages_and_end(self, store: Store) -> None:
        source = await log(store, "source", *"abc")
        wanted = new(
            "fork",
            kind=Kind.LOG,
            fork=Fork(source.internal_id, 2),
            append=piece("X"),
            end=End(Status.DONE),
        )
        state = await store.create(wanted)
        assert (state.tail, state.status) == (3, Status.DONE)
        assert await messages_in(store, "fork") == ["a", "b", "X"]

    async def test_later_messages_are_not_inherited(self, store: Store) -> None:
        source = await log(store, "source", *"abc")
        await fork(store, "fork", source, 3)
        await append(store, source, "d")
        await finish(store, source)
        assert await messages_in(store, "fork") == [*"abc"]
        assert (await state_of(store, "fork")).status is Status.OPEN

    async def test_forks_of_forks(self, store: Store) -> None:
        first = await log(store, "first", *"abcde")
        second = await fork(store, "second", first, 3)
        await append(store, second, "1", "2")
        await append(store, second, "3")
        third = await fork(store, "third", second, 5)
        await append(store, third, "x", "y")
        early = await fork(store, "early", third, 2)
        await append(store, early, "!")
        expected = {
            "first": [*"abcde"],
            "second": [*"abc123"],
            "third": [*"abc12xy"],
            "early": [*"ab!"],
        }
        for name, messages in expected.items():
            for after in range(len(messages) + 1):
                for max_bytes in (1, 1000):
                    pages = await pages_of(store, name, after, max_bytes)
                    assert messages_of(pages, after) == messages[after:]

    async def test_a_long_chain(self, store: Store) -> None:
        state = await log(store, "0", "0")
        for number in range(1, 30):
            state = await fork(store, str(number), state, number)
            await append(store, state, str(number))
        assert await messages_in(store, "29") == [str(number) for number in range(30)]
        assert await messages_in(store, "29", 27) == ["27", "28", "29"]

    async def test_a_byte_stream(self, store: Store) -> None:
        content: dict[str, object] = {"kind": Kind.LOG, "content_type": "application/octet-stream"}
        source = await store.create(new("source", append=raw_bytes(b"01234567"), **content))
        state = await store.create(new("fork", fork=Fork(source.internal_id, 3), **content))
        change = Change(internal_id=state.internal_id, append=raw_bytes(b"xyz"))
        await committed(store, change)
        pages = await pages_of(store, "fork", 0, 1)
        assert b"".join(s.payload for page in pages for s in page.segments) == b"012xyz"

    async def test_marks_are_not_inherited(self, store: Store) -> None:
        source = await store.create(new("source", append=piece("a"), marks={"m": b"1"}))
        await fork(store, "fork", source, 1)
        assert (await store.read(StreamId("fork"), 0, 0, marks=["m"])).marks == {}

    async def test_merged_or_not(self, store: Store) -> None:
        source = await log(store, "source", *"abcde")
        state = await fork(store, "fork", source, 3)
        for letter in "xyz":
            await append(store, state, letter)
        for ended in (source, state):
            await finish(store, ended)
            await tidied(store)
            for after in range(7):
                assert await messages_in(store, "fork", after) == [*"abcxyz"[after:]]

    async def test_past_the_tail(self, store: Store) -> None:
        """G10: a fork past the old stream's tail is refused, because no messages exist there."""
        source = await log(store, "source", *"abc")
        with pytest.raises(OffsetGone):
            await fork(store, "fork", source, 4)
        assert await absent(store, "fork")

    async def test_no_such_source(self, store: Store) -> None:
        source = await log(store, "source", *"abc")
        await store.delete([source.internal_id])
        with pytest.raises(StreamNotFound) as caught:
            await fork(store, "fork", source, 1)
        assert not isinstance(caught.value, StreamGone)
        assert await absent(store, "fork")


class GoneTests(StoreHarness):
    """A deleted stream is kept only for its forks, until the last fork is deleted."""

    async def test_messages_of_a_gone_stream_stay(self, store: Store) -> None:
        source = await log(store, "source", *"abcde")
        state = await fork(store, "fork", source, 3)
        assert await store.delete([source.internal_id]) == 1
        await append(store, state, "x")
        assert await messages_in(store, "fork") == [*"abcx"]
        await tidied(store, NOW + 10**6)
        assert await messages_in(store, "fork") == [*"abcx"]

    async def test_gone_stream_is_not_found(self, store: Store) -> None:
        source = await store.create(
            new("source", owner="o", group="g", due_at=NOW, report=True, append=piece("a"))
        )
        await committed(store, Change(internal_id=source.internal_id, worker="w", marks={"m": b""}))
        state = await fork(store, "fork", source, 1)
        await store.delete([source.internal_id])
        with pytest.raises(StreamGone):
            await store.read(StreamId("source"), 0, 1000)
        for query in (
            Query(owner="o"),
            Query(group="g"),
            Query(worker="w"),
            Query(due_before=NOW + 1),
            Query(statuses=(Status.PENDING,)),
            Query(stream_ids=(StreamId("source"),)),
        ):
            assert await store.find(query) == []
        assert [found.internal_id for found in await store.find(Query())] == [state.internal_id]

    async def test_id_of_a_gone_stream_is_taken(self, store: Store) -> None:
        source = await log(store, "source", "a")
        state = await fork(store, "fork", source, 1)
        await store.delete([source.internal_id])
        with pytest.raises(StreamExists, match="was deleted"):
            await store.create(new("source"))
        await store.delete([state.internal_id])
        again = await store.create(new("source"))
        assert again.internal_id > state.internal_id
        assert await messages_in(store, "source") == []

    async def test_gone_stream_refuses_every_change(self, store: Store) -> None:
        """G3: the writer of a deleted stream is refused."""
        source = await log(store, "source", "a")
        await fork(store, "fork", source, 1)
        await store.delete([source.internal_id])
        for change in (
            Change(internal_id=source.internal_id, append=piece("no")),
            Change(internal_id=source.internal_id, if_status=(Status.OPEN,), if_epoch=0),
        ):
            outcome = await refused(store, change)
            assert outcome.index == 0
            assert outcome.state is not None
            assert outcome.state.gone
        assert await messages_in(store, "fork") == ["a"]

    async def test_gone_stream_cannot_be_forked(self, store: Store) -> None:
        source = await log(store, "source", "a")
        await fork(store, "fork", source, 1)
        await store.delete([source.internal_id])
        with pytest.raises(StreamGone):
            await fork(store, "second", source, 1)

    async def test_gone_stream_does_not_count(self, store: Store) -> None:
        source = await store.create(new("source", owner="o", append=piece("a"), max_live=1))
        await fork(store, "fork", source, 1)
        assert await store.delete([source.internal_id]) == 1
        assert await store.delete([source.internal_id]) == 0
        await store.create(new("next", owner="o", max_live=1))

    async def test_gone_stream_does_not_keep_its_worker(self, store: Store) -> None:
        source = await store.create(new("source", append=piece("a")))
        await committed(store, Change(internal_id=source.internal_id, worker="one"))
        await store.heartbeat(beat=True)
        await fork(store, "fork", source, 1)
        await store.delete([source.internal_id])
        assert await store.heartbeat(beat=False, forget=["one"]) == []

    async def test_last_fork_removes_its_source(self, store: Store) -> None:
        source = await log(store, "source", "a", "b")
        forks = [await fork(store, name, source, 2) for name in ("x", "y")]
        await store.delete([source.internal_id])
        await store.delete([forks[0].internal_id])
        assert not await absent(store, "source")
        assert await messages_in(store, "y") == ["a", "b"]
        assert await store.delete([forks[1].internal_id]) == 1
        assert await absent(store, "source")

    async def test_source_stays_when_its_forks_are_deleted(self, store: Store) -> None:
        source = await log(store, "source", "a", "b")
        state = await fork(store, "fork", source, 2)
        await store.delete([state.internal_id])
        assert await messages_in(store, "source") == ["a", "b"]
        await store.delete([source.internal_id])
        assert await absent(store, "source"), "no fork reads the source any more"

    async def test_fork_chain_is_removed_after_its_last_fork(self, store: Store) -> None:
        first = await log(store, "first", "a")
        second = await fork(store, "second", first, 1)
        await append(store, second, "b")
        third = await fork(store, "third", second, 2)
        await append(store, third, "c")
        assert await store.delete([first.internal_id, second.internal_id]) == 2
        assert await messages_in(store, "third") == [*"abc"]
        assert not await absent(store, "first")
        assert not await absent(store, "second")
        assert await store.delete([third.internal_id]) == 1
        for name in ("first", "second", "third"):
            assert await absent(store, name)

    async def test_fork_chain_keeps_living_sources(self, store: Store) -> None:
        first = await log(store, "first", "a")
        second = await fork(store, "second", first, 1)
        await append(store, second, "b")
        third = await fork(store, "third", second, 2)
        await store.delete([second.internal_id])
        await store.delete([third.internal_id])
        assert await absent(store, "second")
        assert await messages_in(store, "first") == ["a"]

    @pytest.mark.parametrize("backwards", [False, True])
    async def test_a_whole_chain_at_once(self, store: Store, backwards: bool) -> None:
        first = await log(store, "first", "a")
        second = await fork(store, "second", first, 1)
        third = await fork(store, "third", second, 1)
        chain = [state.internal_id for state in (first, second, third)]
        assert await store.delete(chain[::-1] if backwards else chain) == 3
        for name in ("first", "second", "third"):
            assert await absent(store, name)

    async def test_an_expired_source_stays_for_its_forks(self, store: Store) -> None:
        source = await store.create(
            new("source", kind=Kind.LOG, append=piece("a", "b"), due_at=NOW)
        )
        state = await fork(store, "fork", source, 2)
        await tidied(store, NOW + 1)
        with pytest.raises(StreamGone):
            await state_of(store, "source")
        assert await messages_in(store, "fork") == ["a", "b"]
        due = Change(internal_id=state.internal_id, due_at=NOW + 2)
        await committed(store, due)
        await tidied(store, NOW + 3)
        assert await absent(store, "fork")
        assert await absent(store, "source")


class ForkTests(InheritanceTests, GoneTests):
    """The tests of forks."""
