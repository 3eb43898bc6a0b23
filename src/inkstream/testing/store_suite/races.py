"""Tests of concurrent commits, on one store and on two stores of the same database."""
# ruff: noqa: D102  (each test's name says what it shows)

from __future__ import annotations

import asyncio

from inkstream._types import Change, Committed, End, Group, Refused, Status, StreamId
from inkstream.abc import Store
from inkstream.testing.store_suite.harness import (
    NOW,
    StoreHarness,
    check_page,
    claim,
    committed,
    finish,
    messages_in,
    messages_of,
    new,
    piece,
    refused,
    state_of,
    stream_in,
    text_in,
)


class RaceTests(StoreHarness):
    """Concurrent commits have the same effect as the same commits one by one, in some order."""

    async def test_one_of_many_claims_wins(self, store: Store, other: Store) -> None:
        """G4: of eight concurrent claims exactly one succeeds."""
        for attempt in range(5):
            state = await store.create(new(str(attempt)))
            change = Change(
                internal_id=state.internal_id,
                if_status=(Status.PENDING,),
                next_epoch=True,
                status=Status.STREAMING,
                at=NOW,
            )
            results = await asyncio.gather(
                *[(store, other)[n % 2].commit([Group((change,))]) for n in range(8)]
            )
            outcomes = [outcome for (outcome,) in results]
            assert sum(isinstance(outcome, Committed) for outcome in outcomes) == 1
            for outcome in outcomes:
                if isinstance(outcome, Refused):
                    assert outcome.state is not None
                    assert outcome.state.status is Status.STREAMING
            assert (await state_of(store, str(attempt))).epoch == 1

    async def test_a_superseded_writer_is_refused(self, store: Store, other: Store) -> None:
        """G3: no text of a writer is stored after another writer took over."""
        state = await store.create(new())
        await claim(store, state)
        mine = Change(internal_id=state.internal_id, if_epoch=1, append=piece("mine"))
        await committed(store, mine)
        takeover = Change(internal_id=state.internal_id, if_epoch=1, next_epoch=True, worker="two")
        await committed(other, takeover)
        outcome = await refused(store, mine)
        assert outcome.state is not None
        assert (outcome.state.epoch, outcome.state.worker) == (2, "two")
        theirs = Change(internal_id=state.internal_id, if_epoch=2, append=piece("theirs"))
        await committed(other, theirs)
        assert await messages_in(store) == ["mine", "theirs"]

    async def test_takeover_during_appends(self, store: Store, other: Store) -> None:
        """G3: all text of the old writer comes before all text of the new writer."""
        state = await store.create(new())
        await claim(store, state)

        async def write(opened: Store, epoch: int, letter: str) -> int:
            change = Change(internal_id=state.internal_id, if_epoch=epoch, append=piece(letter))
            written = 0
            while written < 20:
                (outcome,) = await opened.commit([Group((change,))])
                if isinstance(outcome, Refused):
                    break
                written += 1
            return written

        async def take_over() -> int:
            while (await state_of(other)).tail < 3:
                pass
            takeover = Change(internal_id=state.internal_id, if_epoch=1, next_epoch=True)
            await committed(other, takeover)
            return await write(other, 2, "b")

        old, newer = await asyncio.gather(write(store, 1, "a"), take_over())
        assert newer == 20
        assert await text_in(store) == "a" * old + "b" * newer

    async def test_appends_at_a_known_tail(self, store: Store, other: Store) -> None:
        """G3: of two appends at the same tail, only one succeeds."""
        state = await store.create(new())
        for tail in range(10):
            first, second = (
                Change(internal_id=state.internal_id, if_tail=tail, append=piece(letter))
                for letter in "ab"
            )
            results = await asyncio.gather(
                store.commit([Group((first,))]), other.commit([Group((second,))])
            )
            won = [isinstance(outcome, Committed) for (outcome,) in results]
            assert sorted(won) == [False, True]
            assert (await messages_in(store))[tail] == ("a" if won[0] else "b")

    async def test_many_writers_of_a_log(self, store: Store, other: Store) -> None:
        state = await stream_in(store, Status.OPEN)

        async def write(opened: Store, name: str) -> list[int]:
            positions = []
            for number in range(10):
                change = Change(internal_id=state.internal_id, append=piece(f"{name}{number}"))
                (head,) = await committed(opened, change)
                positions.append(head.tail - 1)
            return positions

        names = "abcdef"
        positions = await asyncio.gather(
            *[write((store, other)[n % 2], name) for n, name in enumerate(names)]
        )
        messages = await messages_in(store)
        assert len(messages) == 60
        for name, places in zip(names, positions, strict=True):
            assert places == sorted(places)
            assert [messages[place] for place in places] == [f"{name}{n}" for n in range(10)]

    async def test_groups_over_the_same_streams_in_any_order(
        self, store: Store, other: Store
    ) -> None:
        """Groups with the same streams in opposite orders do not deadlock."""
        states = [await store.create(new(name)) for name in "abcd"]

        async def move(opened: Store, name: str, backwards: bool) -> None:
            changes = [
                Change(internal_id=state.internal_id, append=piece(name)) for state in states
            ]
            for _ in range(10):
                await committed(opened, *(reversed(changes) if backwards else changes))

        await asyncio.gather(
            move(store, "1", False),
            move(other, "2", True),
            move(store, "3", True),
            move(other, "4", False),
        )
        texts = [await text_in(store, name) for name in "abcd"]
        assert len(texts[0]) == 40
        assert texts == [texts[0]] * 4, "a group is applied at one point in all its streams"

    async def test_one_end_of_many(self, store: Store, other: Store) -> None:
        """G5: if several commits end a stream at the same time, only one of them is applied."""
        state = await stream_in(store, Status.STREAMING)
        ends = [status for status in Status if status.ended]
        results = await asyncio.gather(
            *[
                (store, other)[n % 2].commit(
                    [
                        Group(
                            (
                                Change(
                                    internal_id=state.internal_id,
                                    if_status=(Status.STREAMING,),
                                    append=piece(status.value),
                                    end=End(status),
                                    at=NOW + n,
                                ),
                            )
                        )
                    ]
                )
                for n, status in enumerate(ends)
            ]
        )
        won = [n for n, (outcome,) in enumerate(results) if isinstance(outcome, Committed)]
        assert len(won) == 1
        after = await state_of(other)
        assert (after.status, after.ended_at) == (ends[won[0]], NOW + won[0])
        assert await text_in(other) == ends[won[0]].value

    async def test_commit_is_visible_everywhere(self, store: Store, other: Store) -> None:
        """G1: a read on any store sees each commit that returned before the read began."""
        state = await store.create(new())
        for number in range(10):
            writer, reader = (store, other) if number % 2 else (other, store)
            change = Change(internal_id=state.internal_id, append=piece(str(number)))
            await committed(writer, change)
            assert await messages_in(reader) == [str(n) for n in range(number + 1)]

    async def test_readers_beside_a_writer_see_prefixes(self, store: Store, other: Store) -> None:
        """G2: a read returns the state and the messages of one moment, and never half a commit."""
        state = await stream_in(store, Status.STREAMING)
        expected = [str(number) for number in range(30)]

        async def write() -> None:
            for message in expected:
                change = Change(internal_id=state.internal_id, append=piece(message, message))
                await committed(store, change)
            await finish(store, state)

        async def follow(reader: Store) -> list[object]:
            seen: list[object] = []
            while True:
                after = len(seen)
                page = await reader.read(StreamId("s"), after, 1 << 20)
                check_page(page, after, 1 << 20)
                assert page.state.tail % 2 == 0, "half of a commit is visible"
                assert page.end == page.state.tail, "state and messages are of two snapshots"
                seen += messages_of([page], after)
                if page.state.ended:
                    return seen

        _, first, second = await asyncio.gather(write(), follow(store), follow(other))
        assert first == second == [message for message in expected for _ in range(2)]

    async def test_end_and_last_text_are_visible_together(self, store: Store, other: Store) -> None:
        """G5: the text and the end of one change become visible together."""
        states = [await store.create(new(str(number))) for number in range(10)]

        async def write() -> None:
            for state in states:
                end = End(Status.CANCELLED)
                change = Change(
                    internal_id=state.internal_id, append=piece("last"), end=end, at=NOW
                )
                await committed(store, change)

        async def look(reader: Store) -> None:
            for state in states:
                page = await reader.read(state.stream_id, 0, 1 << 20)
                while not page.state.ended:
                    assert page.state.tail == 0, "the last text is visible without the end"
                    page = await reader.read(state.stream_id, 0, 1 << 20)
                assert messages_of([page]) == ["last"], "the end is visible without the last text"

        await asyncio.gather(write(), look(store), look(other))

    async def test_cancelled_commit_is_all_or_nothing(self, store: Store) -> None:
        states = [await store.create(new(name)) for name in "ab"]
        for turns in range(12):
            group = Group(
                tuple(
                    Change(internal_id=state.internal_id, append=piece("x", "y"))
                    for state in states
                )
            )
            before = [await text_in(store, name) for name in "ab"]
            task = asyncio.ensure_future(store.commit([group]))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            # Commits are ordered. So after the next commit, the cancelled commit is either done or
            # will never be done.
            await committed(store, *[Change(internal_id=s.internal_id) for s in states])
            after = [await text_in(store, name) for name in "ab"]
            assert after[0] == after[1]
            assert after[0] in (before[0], before[0] + "xy")
            if not task.cancelled():
                assert after[0] == before[0] + "xy"

    async def test_cancelled_create_is_all_or_nothing(self, store: Store) -> None:
        for turns in range(8):
            name = str(turns)
            wanted = new(name, append=piece("a", "b"), marks={"m": b"1"}, end=End(Status.DONE))
            task = asyncio.ensure_future(store.create(wanted))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await store.create(new(f"after {turns}"))  # after this call, the cancelled call is over
            try:
                page = await store.read(StreamId(name), 0, 1000, marks=["m"])
            except LookupError:
                assert task.cancelled()
            else:
                assert page.state.end == End(Status.DONE)
                assert (messages_of([page]), page.marks) == (["a", "b"], {"m": b"1"})
