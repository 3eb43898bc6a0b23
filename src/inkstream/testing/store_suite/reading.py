"""Tests of ``read``: exact text, pages from any position, and empty pages."""
# ruff: noqa: D102  (each test's name says what it shows)

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inkstream import wire
from inkstream._errors import StreamNotFound
from inkstream._types import Change, End, Fork, Group, Kind, Read, Status, StreamId
from inkstream.abc import Store
from inkstream.testing.store_suite.harness import (
    EVERYTHING,
    StoreHarness,
    append,
    check_page,
    committed,
    finish,
    messages_in,
    messages_of,
    new,
    on_one_store,
    pages_of,
    piece,
    raw_bytes,
    stream_in,
    text_in,
)

EXACT = [
    "\x00",
    "a\r\nb\rc\n",
    "\ufeff",
    "👩\u200d👩\u200d👧",
    "e\u0301",
    "\u2028",
    " ",
    "'\"\\",
    "\ud7ff\ue000\U0010ffff",
    "NULL",
]


class ReadingTests(StoreHarness):
    """Committed messages can be read from any position, in pages of any size."""

    async def test_exact_text(self, store: Store) -> None:
        """G11: NUL, line ends, combining characters and emoji come back identical."""
        state = await store.create(new())
        for message in EXACT:
            await append(store, state, message)
        await append(store, state, *EXACT)
        assert await messages_in(store) == EXACT * 2
        await finish(store, state)
        while await store.tidy(0, 1 << 20):
            pass
        assert await messages_in(store) == EXACT * 2

    @on_one_store
    @given(
        appends=st.lists(
            st.lists(
                st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
                | st.just(wire.RawJSON(b'{"n":1.0}')),
                min_size=1,
                max_size=5,
            ),
            max_size=5,
        ),
        max_bytes=st.integers(1, 40),
    )
    async def test_any_text_in_any_pieces(
        self, store: Store, appends: list[list[str | wire.RawJSON]], max_bytes: int
    ) -> None:
        """G2, G11: messages in segments of any size, read in pages of any size, stay the same."""
        name = StreamId.generate()
        state = await store.create(new(name))
        for messages in appends:
            await append(store, state, *messages)
        expected = [message for messages in appends for message in messages]
        assert messages_of(await pages_of(store, name, 0, max_bytes)) == expected

    async def test_byte_stream_splits_a_character(self, store: Store) -> None:
        """G11: bytes come back unchanged, even if they are not whole characters."""
        state = await store.create(new(kind=Kind.LOG, content_type="text/plain"))
        for byte in "👩".encode():
            change = Change(internal_id=state.internal_id, append=raw_bytes(bytes([byte])))
            await committed(store, change)
        for after in range(4):
            pages = await pages_of(store, after=after, max_bytes=1)
            payload = b"".join(segment.payload for page in pages for segment in page.segments)
            assert payload == "👩".encode()[after:]

    @pytest.mark.parametrize("status", [Status.STREAMING, Status.DONE])
    async def test_pages_from_every_position(self, store: Store, status: Status) -> None:
        """G2: a reader that reconnects at any offset misses nothing and sees nothing twice."""
        state = await stream_in(store, Status.STREAMING)
        expected: list[str] = []
        for number in range(12):
            messages = [f"{number}.{part}" for part in range(number % 4 + 1)]
            await append(store, state, *messages)
            expected += messages
        if status.ended:
            await finish(store, state)
        for max_bytes in (1, 7, 100, 1 << 20):
            for after in range(len(expected) + 1):
                pages = await pages_of(store, "s", after, max_bytes)
                assert messages_of(pages, after) == expected[after:]
                assert pages[-1].end == len(expected)
                assert pages[-1].state.status is status

    async def test_a_page_has_a_limit_and_makes_progress(self, store: Store) -> None:
        state = await store.create(new())
        for _ in range(10):
            await append(store, state, "x" * 1000)
        page = await store.read(StreamId("s"), 0, 1)
        assert 1 <= page.end < 10
        page = await store.read(StreamId("s"), 0, 3500)
        assert 2 <= page.end <= 4
        assert (await store.read(StreamId("s"), 0, 1 << 20)).end == 10
        large = wire.RawJSON(b'"%b"' % (b"y" * 300_000))  # larger than other segments
        await append(store, state, large)
        page = await store.read(StreamId("s"), 10, 1)
        assert messages_of([page], 10) == [large]

    async def test_a_great_many_segments(self, store: Store) -> None:
        """G2: a store may end a page early, but must not skip a message."""
        state = await store.create(new())
        changes = [
            Change(internal_id=state.internal_id, append=piece(f"{n} ")) for n in range(2500)
        ]
        await store.commit([Group((change,)) for change in changes])
        assert messages_of(await pages_of(store)) == [f"{n} " for n in range(2500)]
        assert messages_of(await pages_of(store, after=1234), 1234)[0] == "1234 "

    async def test_no_bytes_means_state_alone(self, store: Store) -> None:
        state = await store.create(new(append=piece("a", "b"), marks={"m": b"1"}))
        for after in (0, 1, 2, 99):
            page = await store.read(StreamId("s"), after, 0, marks=["m"])
            assert page.segments == ()
            assert (page.state, page.end, page.marks) == (state, after, {"m": b"1"})

    async def test_past_the_tail_is_an_empty_page(self, store: Store) -> None:
        """G10: a read past the tail returns an empty page, whose state has the stream's tail."""
        await store.create(new(append=piece("a", "b")))
        for after in (2, 3, 10**15):
            page = await store.read(StreamId("s"), after, 1000)
            assert page.segments == ()
            assert page.state.tail == 2

    async def test_where_a_page_ends(self, store: Store) -> None:
        """G5: a page says where it ends, so that a reader can compare this place with the tail."""
        await store.create(new(append=piece("a", "b"), end=End(Status.DONE)))
        for after, max_bytes, end in (0, 0, 0), (1, 0, 1), (2, 0, 2), (1, 1000, 2):
            page = await store.read(StreamId("s"), after, max_bytes)
            assert (page.end, page.state.tail) == (end, 2)

    async def test_streams_do_not_mix(self, store: Store) -> None:
        names = "abc"
        states = [await store.create(new(name)) for name in names]
        for number in range(6):
            changes = [
                Change(internal_id=state.internal_id, append=piece(f"{state.stream_id}{number}"))
                for state in states
            ]
            await store.commit([Group((change,)) for change in changes])
        for name in names:
            assert await text_in(store, name) == "".join(f"{name}{n}" for n in range(6))
            assert await text_in(store, name, 4) == f"{name}4{name}5"

    async def test_a_long_stream(self, store: Store) -> None:
        state = await stream_in(store, Status.STREAMING)
        change = Change(internal_id=state.internal_id, append=piece("ab", "c"))
        for _ in range(20):
            await store.commit([Group((change,))] * 50)
        expected = ["ab", "c"] * 1000
        assert await messages_in(store) == expected
        assert messages_of(await pages_of(store, "s", 0, 500)) == expected
        for after in (1, 999, 1001, 1999):
            assert await messages_in(store, "s", after) == expected[after:]

    async def test_many_streams_at_once(self, store: Store) -> None:
        """``read_many`` returns a page for each read in order, or ``None`` for an absent stream."""
        long = await stream_in(store, Status.STREAMING, "long")
        for number in range(5):
            await append(store, long, f"{number}." * 10)
        await store.create(new("short", append=piece("a", "b"), end=End(Status.DONE)))
        await store.create(new("empty"))
        deleted = await store.create(new("deleted", append=piece("x")))
        gone = await store.create(new("gone", append=piece("read by its fork")))
        await store.create(new("fork", fork=Fork(gone.internal_id, 1), append=piece("own")))
        await store.delete([deleted.internal_id, gone.internal_id])
        names = ("short", "absent", "long", "deleted", "fork", "gone", "empty", "short")
        reads = [Read(StreamId(name), int(name == "long")) for name in names]
        pages = await store.read_many(reads, EVERYTHING)
        assert [name for name, page in zip(names, pages, strict=True) if page is None] == [
            "absent",
            "deleted",
            "gone",
        ]
        for read, page in zip(reads, pages, strict=True):
            if page is not None:
                check_page(page, read.after, EVERYTHING)
                assert page == await store.read(read.stream_id, read.after, EVERYTHING)
        assert await store.read_many([], EVERYTHING) == []
        for read, page in zip(reads, await store.read_many(reads, 0), strict=True):
            if page is not None:
                assert (page.segments, page.end) == ((), read.after)

    @pytest.mark.parametrize("max_bytes", [1, 400, 4000])
    async def test_many_streams_share_a_limit_and_all_advance(
        self, store: Store, max_bytes: int
    ) -> None:
        """G2: repeated reads return everything, and each read returns messages of each stream."""
        names = [f"s{number}" for number in range(8)]
        for number, name in enumerate(names):
            state = await store.create(new(name))
            for part in range(1 + 4 * number):
                await append(store, state, f"{name} {part} ".ljust(50))
        behind = dict.fromkeys(map(StreamId, names), 0)
        messages: dict[StreamId, list[Any]] = {name: [] for name in behind}
        while behind:
            reads = [Read(name, after) for name, after in behind.items()]
            pages = await store.read_many(reads, max_bytes)
            size = 0
            for read, page in zip(reads, pages, strict=True):
                assert page is not None
                check_page(page, read.after, max(max_bytes // len(reads), 1))
                messages[read.stream_id] += messages_of([page], read.after)
                behind[read.stream_id] = page.end
                size += sum(len(segment.payload) for segment in page.segments)
                assert page.end > read.after
                if page.end == page.state.tail:
                    del behind[read.stream_id]
            assert size <= max_bytes + 60 * len(reads)
        for name, found in messages.items():
            assert found == await messages_in(store, name)

    async def test_many_streams_are_of_one_snapshot(self, store: Store, other: Store) -> None:
        """No read shows one of the two changes of a group without the other change."""
        states = [await store.create(new(name)) for name in ("a", "b")]
        changes = tuple(Change(internal_id=s.internal_id, append=piece("x")) for s in states)
        seen: set[int] = set()

        async def write() -> None:
            async with asyncio.timeout(20):
                while len(seen) < 4:
                    await store.commit([Group(changes)])
                    await asyncio.sleep(0)

        writing = asyncio.create_task(write())
        reads = [Read(StreamId("a")), Read(StreamId("b"))]
        while not writing.done():
            first, second = await other.read_many(reads, EVERYTHING)
            assert first is not None
            assert second is not None
            assert first.state.tail == second.state.tail == first.end == second.end
            seen.add(first.end)
        await writing

    async def test_absent_and_deleted(self, store: Store) -> None:
        with pytest.raises(StreamNotFound) as caught:
            await store.read(StreamId("s"), 0, 1000)
        assert caught.value.stream_id == "s"
        state = await store.create(new(append=piece("a")))
        await store.delete([state.internal_id])
        with pytest.raises(StreamNotFound):
            await store.read(StreamId("s"), 0, 1000)

    async def test_a_foreign_connection_is_refused(self, store: Store) -> None:
        state = await store.create(new())
        change = Change(internal_id=state.internal_id, append=piece("no"))
        for call in (
            store.create(new("t"), connection=object()),
            store.commit([Group((change,))], connection=object()),
            store.read(StreamId("s"), 0, 0, connection=object()),
            store.delete([state.internal_id], connection=object()),
        ):
            with pytest.raises(TypeError):
                await call
        with pytest.raises(StreamNotFound):
            await store.read(StreamId("t"), 0, 0)
        assert await text_in(store) == ""
