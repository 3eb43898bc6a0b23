"""Tests of ``tidy``: it changes nothing that a reader sees, except that due streams are deleted."""
# ruff: noqa: D102  (each test's name says what it shows)

from __future__ import annotations

import asyncio

import pytest

from inkstream import wire
from inkstream._errors import StreamNotFound
from inkstream._types import Change, Group, Kind, Query, Status, StreamId, StreamState
from inkstream.abc import Store
from inkstream.testing.store_suite.harness import (
    EVERYTHING,
    NOW,
    StoreHarness,
    append,
    check_page,
    committed,
    finish,
    messages_in,
    messages_of,
    new,
    pages_of,
    piece,
    raw_bytes,
    state_of,
    stream_in,
    tidied,
)


async def many_pieces(
    store: Store, name: str, count: int, size: int = 4
) -> tuple[StreamState, list[str]]:
    """Create a live stream with ``count`` messages, each appended by its own change."""
    state = await stream_in(store, Status.STREAMING, name)
    messages = [f"{number:0{size}d}" for number in range(count)]
    for start in range(0, count, 25):
        await store.commit(
            [
                Group((Change(internal_id=state.internal_id, append=piece(message)),))
                for message in messages[start : start + 25]
            ]
        )
    return state, messages


class MergeTests(StoreHarness):
    """``tidy`` merges the segments of a stream, and readers notice nothing."""

    async def test_no_work_in_an_empty_database(self, store: Store) -> None:
        assert await store.tidy(NOW, 1 << 20) is False

    async def test_one_machine_has_one_time(self, store: Store) -> None:
        """G7: a store on this machine does not say that this machine's clock is a minute behind."""
        assert 0 <= store.host_behind_s < 60

    async def test_text_offsets_and_state_stay(self, store: Store) -> None:
        """G2: no step of ``tidy`` changes the state, the messages or the offsets of a stream."""
        state, messages = await many_pieces(store, "s", 60)
        await append(store, state, wire.RawJSON(b'{"a":1.0}'), "\x00", "\r\n")
        await finish(store, state)
        before = await state_of(store)
        expected = await messages_in(store)
        assert expected[:60] == messages
        for _ in range(1000):
            more = await store.tidy(NOW, 16)
            assert await state_of(store) == before
            assert await messages_in(store) == expected
            if not more:
                break
        for max_bytes in (1, 50, EVERYTHING):
            for after in range(0, len(expected) + 1, 7):
                pages = await pages_of(store, "s", after, max_bytes)
                assert messages_of(pages, after) == expected[after:]
                assert pages[-1].end == len(expected)

    @pytest.mark.parametrize("max_bytes", [1 << 20, wire.SEGMENT_BYTES])
    async def test_segments_become_few(self, store: Store, max_bytes: int) -> None:
        state, messages = await many_pieces(store, "s", 200, size=1000)
        await finish(store, state)
        await tidied(store, NOW, max_bytes)
        (page, _) = await pages_of(store)
        assert len(page.segments) <= 6, "200,000 bytes fit into four segments"
        assert messages_of([page]) == messages
        assert max(len(segment.payload) for segment in page.segments) <= wire.SEGMENT_BYTES

    async def test_a_byte_stream(self, store: Store) -> None:
        state = await store.create(new(kind=Kind.LOG, content_type="text/plain"))
        change = Change(internal_id=state.internal_id, append=raw_bytes(b"\x00\xffab"))
        await store.commit([Group((change,))] * 30)
        await finish(store, state)
        await tidied(store)
        for after in (0, 1, 50, 119):
            pages = await pages_of(store, "s", after, 10)
            parts = [wire.cut(s, after) for page in pages for s in page.segments]
            payload = b"".join(part.payload for part in parts if part is not None)
            assert payload == (b"\x00\xffab" * 30)[after:]

    async def test_live_streams_stay_writable(self, store: Store) -> None:
        state, messages = await many_pieces(store, "s", 30)
        await tidied(store)
        assert (await append(store, state, "more")).tail == 31
        assert await messages_in(store) == [*messages, "more"]

    async def test_merge_of_live_streams_is_unnoticed(self, store: Store, other: Store) -> None:
        """G2: a live stream may be merged at any moment, and no reader or writer notices."""
        state = await stream_in(store, Status.STREAMING)
        expected = [f"{number:03d}".ljust(1200, ".") for number in range(700)]
        written = asyncio.Event()

        async def write() -> None:
            for start in range(0, len(expected), 35):
                changes = [
                    Change(internal_id=state.internal_id, append=piece(message))
                    for message in expected[start : start + 35]
                ]
                await store.commit([Group((change,)) for change in changes])
            written.set()

        async def tidy(opened: Store) -> None:
            while not written.is_set():
                await opened.tidy(NOW, 1 << 16)

        async def follow(opened: Store) -> None:
            after = 0
            while after < len(expected):
                page = await opened.read(StreamId("s"), after, 15_000)
                check_page(page, after, 15_000)
                assert messages_of([page], after) == expected[after : page.end]
                after = page.end

        await asyncio.gather(write(), tidy(store), tidy(other), follow(store), follow(other))
        await append(store, state, "the last")
        await tidied(store)
        expected.append("the last")
        for opened in (store, other):
            for after in range(0, len(expected) + 1, 20):
                assert await messages_in(opened, "s", after) == expected[after:]

    async def test_a_step_is_bounded(self, store: Store) -> None:
        """A megabyte takes at least four steps, so that no writer waits for the whole megabyte."""
        for name in "abcd":
            state, _ = await many_pieces(store, name, 250, size=1000)
            await finish(store, state)
        steps = await tidied(store, NOW, wire.SEGMENT_BYTES)
        assert steps >= 4

    async def test_a_step_of_one_byte_makes_progress(self, store: Store) -> None:
        state, messages = await many_pieces(store, "s", 20)
        await finish(store, state)
        await tidied(store, NOW, 1)
        assert await messages_in(store) == messages

    async def test_several_may_tidy_beside_readers(self, store: Store, other: Store) -> None:
        """G2: while two stores tidy, every page of every reader has the right messages."""
        expected = {}
        for name in "abc":
            state, expected[name] = await many_pieces(store, name, 50)
            await finish(store, state)

        async def tidy(opened: Store) -> None:
            while await opened.tidy(NOW, 64):
                pass

        async def follow(opened: Store, name: str) -> None:
            after = 0
            while after < 50:
                page = await opened.read(StreamId(name), after, 12)
                check_page(page, after, 12)
                assert messages_of([page], after) == expected[name][after : page.end]
                after = page.end

        await asyncio.gather(
            tidy(store),
            tidy(other),
            *[follow(opened, name) for name in "abc" for opened in (store, other)],
        )
        for name in "abc":
            assert await messages_in(store, name) == expected[name]


class ExpiryTests(StoreHarness):
    """``tidy`` deletes due streams, except pending and streaming streams."""

    @pytest.mark.parametrize("status", list(Status))
    async def test_only_the_open_and_the_ended(self, store: Store, status: Status) -> None:
        """A pending or streaming stream must end first, so that its readers get the end (G5)."""
        state = await stream_in(store, status, append=piece("text"))
        await committed(store, Change(internal_id=state.internal_id, due_at=NOW))
        await tidied(store, NOW + 1)
        if status in (Status.PENDING, Status.STREAMING):
            assert await messages_in(store) == ["text"]
            assert (await state_of(store)).status is status
        else:
            with pytest.raises(StreamNotFound):
                await state_of(store)
            assert await store.find(Query()) == []

    async def test_no_deletion_before_due_at(self, store: Store) -> None:
        await store.create(new("never", kind=Kind.LOG))
        await store.create(new("later", kind=Kind.LOG, due_at=NOW + 10, append=piece("a")))
        await tidied(store, NOW + 9)
        assert await messages_in(store, "later") == ["a"]
        await tidied(store, NOW + 11)
        assert [state.stream_id for state in await store.find(Query())] == ["never"]

    async def test_a_later_due_time_counts(self, store: Store) -> None:
        state = await store.create(new(kind=Kind.LOG, due_at=NOW + 10, ttl_s=10.0))
        await committed(store, Change(internal_id=state.internal_id, due_at=NOW + 20))
        await tidied(store, NOW + 15)
        assert (await state_of(store)).due_at == NOW + 20
        await committed(store, Change(internal_id=state.internal_id, due_at=None))
        await tidied(store, NOW + 10**9)
        assert (await state_of(store)).ttl_s == 10.0

    @pytest.mark.parametrize("status", list(Status))
    async def test_delete_only_what_is_due(self, store: Store, status: Status) -> None:
        """``delete`` with ``due_before`` deletes only streams that ``tidy`` would delete."""
        state = await stream_in(store, status, append=piece("text"))
        mortal = status not in (Status.PENDING, Status.STREAMING)
        assert await store.delete([state.internal_id], due_before=NOW) == 0
        await committed(store, Change(internal_id=state.internal_id, due_at=NOW + 10))
        assert await store.delete([state.internal_id], due_before=NOW + 9) == 0
        assert await messages_in(store) == ["text"]
        assert await store.delete([state.internal_id, 10**12], due_before=NOW + 11) == mortal
        assert len(await store.find(Query())) == (not mortal)

    async def test_many_are_deleted_in_the_end(self, store: Store) -> None:
        for number in range(130):
            due_at = NOW + 100 if number % 10 == 0 else NOW
            await store.create(new(str(number), kind=Kind.LOG, due_at=due_at, append=piece("a")))
        await tidied(store, NOW + 1)
        left = await store.find(Query(limit=1000))
        assert [int(state.stream_id) for state in left] == list(range(120, -1, -10))

    async def test_a_recreated_stream_is_not_touched(self, store: Store) -> None:
        state = await store.create(new(kind=Kind.LOG, due_at=NOW, append=piece("old")))
        await store.delete([state.internal_id])
        await store.create(new(kind=Kind.LOG, append=piece("new")))
        await tidied(store, NOW + 1)
        assert await messages_in(store) == ["new"]


class TidyTests(MergeTests, ExpiryTests):
    """The tests of ``tidy``."""
