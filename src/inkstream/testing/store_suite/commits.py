"""Tests of ``commit``: each field of a change, each refusal, and groups."""
# ruff: noqa: D102  (each test's name says what it shows)

from __future__ import annotations

from dataclasses import replace
from typing import Any
from unittest.mock import ANY

import pytest

from inkstream import wire
from inkstream._types import (
    KEEP,
    Change,
    Committed,
    End,
    Group,
    Head,
    Kind,
    Refused,
    Status,
    StreamId,
)
from inkstream.abc import Store
from inkstream.testing.store_suite.harness import (
    NOW,
    StoreHarness,
    append,
    committed,
    finish,
    messages_in,
    new,
    pages_of,
    piece,
    raw_bytes,
    refused,
    state_of,
    stream_in,
    text_in,
)

STATUSES = list(Status)


class EffectTests(StoreHarness):
    """Each field of a change has its own effect, and no other effect."""

    async def test_append_moves_tail_and_size(self, store: Store) -> None:
        state = await store.create(new())
        assert await append(store, state, "one", "two") == Head(0, 2, 6, ANY)
        assert await append(store, state, "ünï") == Head(0, 3, 11, ANY)
        after = await state_of(store)
        assert (after.tail, after.size, after.epoch) == (3, 11, 0)
        assert after.status is Status.PENDING
        assert await messages_in(store) == ["one", "two", "ünï"]

    async def test_a_json_message_is_kept_exactly(self, store: Store) -> None:
        state = await store.create(new())
        raw = wire.RawJSON(b'{"a": 1.0, "b":\r\n [10000000000000000000001]}')
        await append(store, state, "text", raw, raw)
        assert await messages_in(store) == ["text", raw, raw]

    async def test_a_byte_stream_counts_bytes(self, store: Store) -> None:
        state = await store.create(new(kind=Kind.LOG, content_type="application/octet-stream"))
        assert state.counts_bytes
        for payload in (b"\x00\xff\r\n", b"more"):
            change = Change(internal_id=state.internal_id, append=raw_bytes(payload))
            await committed(store, change)
        (page, _) = await pages_of(store)
        assert (page.state.tail, page.state.size) == (8, 8)
        assert b"".join(segment.payload for segment in page.segments) == b"\x00\xff\r\nmore"

    async def test_next_epoch(self, store: Store) -> None:
        state = await store.create(new())
        change = Change(internal_id=state.internal_id, next_epoch=True)
        assert await committed(store, change) == (Head(1, 0, 0, ANY),)
        assert await committed(store, change) == (Head(2, 0, 0, ANY),)
        assert (await state_of(store)).epoch == 2

    async def test_status_and_started_at(self, store: Store) -> None:
        state = await store.create(new())
        change = Change(internal_id=state.internal_id, status=Status.STREAMING, at=NOW + 1)
        await committed(store, change)
        after = await state_of(store)
        assert (after.status, after.started_at) == (Status.STREAMING, NOW + 1)
        taken_over = Change(
            internal_id=state.internal_id, status=Status.STREAMING, next_epoch=True, at=NOW + 9
        )
        await committed(store, taken_over)
        assert (await state_of(store)).started_at == NOW + 1, "only the first claim sets started_at"

    @pytest.mark.parametrize("status", [status for status in Status if status.ended])
    async def test_end(self, store: Store, status: Status) -> None:
        state = await stream_in(store, Status.STREAMING)
        result: dict[str, Any] = {"tokens": 12, "nul": "\x00", "deep": [[]], "float": 1.5}
        end = End(status, "code", "A sentence\r\n☃.", result)
        (head,) = await committed(
            store,
            Change(internal_id=state.internal_id, append=piece("last"), end=end, at=NOW + 5),
        )
        assert head == Head(1, 1, 4, ANY)
        after = await state_of(store)
        assert (after.status, after.end, after.ended_at) == (status, end.terminal, NOW + 5)
        assert after.result == result
        assert after.ended
        assert (after.worker, after.started_at) == ("one", NOW + 1), "an end changes other fields"
        assert await text_in(store) == "last"

    async def test_a_result_is_added_to_an_end(self, store: Store) -> None:
        """A writer adds a result to a cancelled stream later. Only result and epoch change."""
        state = await stream_in(store, Status.STREAMING)
        await append(store, state, "text")
        await finish(store, state, End(Status.CANCELLED, "code", "Stopped."))
        before = await state_of(store)
        while await store.tidy(NOW, 1024 * 1024):  # merge the segments before the late result
            pass
        late = Change(
            internal_id=state.internal_id,
            if_status=(Status.CANCELLED,),
            if_epoch=before.epoch,
            next_epoch=True,
            end=End(Status.CANCELLED, "code", "Stopped.", {"tokens": 3}),
            at=before.ended_at,
        )
        await committed(store, late)
        after = await state_of(store)
        assert after == replace(before, epoch=before.epoch + 1, result={"tokens": 3})
        await refused(store, late)
        while await store.tidy(NOW, 1024 * 1024):
            pass
        assert await text_in(store) == "text"

    @pytest.mark.parametrize("result", [None, 0, False, "", "text", [], {}, [None], 1.5])
    async def test_any_json_is_a_result(self, store: Store, result: Any) -> None:
        state = await stream_in(store, Status.STREAMING)
        await finish(store, state, End(Status.DONE, result=result))
        stored = (await state_of(store)).result
        assert stored == result
        assert type(stored) is type(result)

    async def test_worker_due_at_and_report(self, store: Store) -> None:
        state = await store.create(new(due_at=NOW + 1))
        internal_id = state.internal_id
        await committed(
            store, Change(internal_id=internal_id, worker="w☃", due_at=NOW + 2.25, report=True)
        )
        after = await state_of(store)
        assert (after.worker, after.due_at, after.report) == ("w☃", NOW + 2.25, True)
        await committed(store, Change(internal_id=internal_id, append=piece("kept")))
        after = await state_of(store)
        assert (after.worker, after.due_at, after.report) == ("w☃", NOW + 2.25, True)
        await committed(
            store, Change(internal_id=internal_id, worker=None, due_at=None, report=False)
        )
        after = await state_of(store)
        assert (after.worker, after.due_at, after.report) == (None, None, False)

    async def test_empty_change_changes_nothing(self, store: Store) -> None:
        await stream_in(store, Status.STREAMING, due_at=NOW, report=True, metadata={"a": 1})
        before = await state_of(store)
        assert await committed(store, Change(internal_id=before.internal_id, at=NOW + 99)) == (
            Head(1, 0, 0, ANY),
        )
        assert await state_of(store) == before

    async def test_marks_are_set_and_replaced(self, store: Store) -> None:
        first = await store.create(new("first", marks={"a": b"1"}))
        await store.create(new("second", marks={"a": b"other"}))
        await committed(
            store, Change(internal_id=first.internal_id, marks={"b☃'": b"\x00\xff", "c": b""})
        )
        await committed(store, Change(internal_id=first.internal_id, marks={"a": b"2"}))
        names = ["a", "b☃'", "c", "absent"]
        page = await store.read(StreamId("first"), 0, 0, marks=names)
        assert page.marks == {"a": b"2", "b☃'": b"\x00\xff", "c": b""}
        page = await store.read(StreamId("second"), 0, 0, marks=names)
        assert page.marks == {"a": b"other"}, "marks belong to one stream"
        assert (await store.read(StreamId("first"), 0, 0)).marks == {}, "no mark was requested"

    async def test_marks_die_with_their_stream(self, store: Store) -> None:
        state = await store.create(new(marks={"a": b"1"}))
        await store.delete([state.internal_id])
        await store.create(new())
        assert (await store.read(StreamId("s"), 0, 0, marks=["a"])).marks == {}

    async def test_max_marks_refuses_new_ones_only(self, store: Store) -> None:
        state = await store.create(new(marks={"a": b"1"}))
        internal_id = state.internal_id
        await committed(store, Change(internal_id=internal_id, marks={"b": b"1"}, max_marks=2))
        outcome = await refused(
            store,
            Change(
                internal_id=internal_id,
                append=piece("x"),
                marks={"a": b"9", "c": b"9"},
                max_marks=2,
            ),
        )
        assert outcome == Refused(0, await state_of(store))
        await committed(store, Change(internal_id=internal_id, marks={"a": b"2"}, max_marks=2))
        await committed(store, Change(internal_id=internal_id, marks={"b": b"2"}, max_marks=1))
        page = await store.read(StreamId("s"), 0, 1000, marks=["a", "b", "c"])
        assert page.marks == {"a": b"2", "b": b"2"}
        assert page.state.tail == 0, "a refused change must have no effect"


class PreconditionTests(StoreHarness):
    """G3: the store checks every condition in every status. A refusal contains the state."""

    @pytest.mark.parametrize("status", STATUSES)
    async def test_if_status(self, store: Store, status: Status) -> None:
        state = await stream_in(store, status)
        others = tuple(other for other in Status if other is not status)
        change = Change(internal_id=state.internal_id, if_status=others, append=piece("no"))
        assert await refused(store, change) == Refused(0, state)
        change = Change(internal_id=state.internal_id, if_status=(), append=piece("no"))
        assert await refused(store, change) == Refused(0, state)
        assert await state_of(store) == state
        for accepted in ((status,), tuple(Status)):
            await committed(
                store, Change(internal_id=state.internal_id, if_status=accepted, report=True)
            )
        assert (await state_of(store)).report

    @pytest.mark.parametrize("status", STATUSES)
    async def test_if_epoch(self, store: Store, status: Status) -> None:
        state = await stream_in(store, status)
        for epoch in (state.epoch - 1, state.epoch + 1):
            change = Change(internal_id=state.internal_id, if_epoch=epoch, report=True)
            assert await refused(store, change) == Refused(0, state)
        assert await state_of(store) == state
        change = Change(internal_id=state.internal_id, if_epoch=state.epoch, report=True)
        await committed(store, change)

    @pytest.mark.parametrize("status", STATUSES)
    async def test_if_tail(self, store: Store, status: Status) -> None:
        state = await stream_in(store, status, append=piece("a", "b"))
        for tail in (0, 1, 3):
            change = Change(internal_id=state.internal_id, if_tail=tail, report=True)
            assert await refused(store, change) == Refused(0, state)
        assert await state_of(store) == state
        await committed(store, Change(internal_id=state.internal_id, if_tail=2, report=True))

    @pytest.mark.parametrize("status", STATUSES)
    async def test_if_worker(self, store: Store, status: Status) -> None:
        state = await stream_in(store, status)
        await committed(store, Change(internal_id=state.internal_id, worker="one"))
        state = await state_of(store)
        for worker in (None, "two", ""):
            change = Change(internal_id=state.internal_id, if_worker=worker, report=True)
            assert await refused(store, change) == Refused(0, state)
        assert await state_of(store) == state
        await committed(store, Change(internal_id=state.internal_id, if_worker="one", worker=None))
        state = await state_of(store)
        change = Change(internal_id=state.internal_id, if_worker="one", report=True)
        assert await refused(store, change) == Refused(0, state)
        change = Change(internal_id=state.internal_id, if_worker=None, report=True)
        await committed(store, change)
        await committed(store, Change(internal_id=state.internal_id, if_worker=KEEP, report=False))

    async def test_every_condition_must_hold(self, store: Store) -> None:
        state = await stream_in(store, Status.STREAMING, append=piece("a"))
        holding: dict[str, Any] = {
            "if_status": (Status.STREAMING,),
            "if_epoch": 1,
            "if_tail": 1,
            "if_worker": "one",
        }
        failing: dict[str, Any] = {
            "if_status": (Status.PENDING, Status.DONE),
            "if_epoch": 0,
            "if_tail": 0,
            "if_worker": None,
        }
        for name in holding:
            conditions = {**holding, name: failing[name]}
            change = Change(internal_id=state.internal_id, report=True, **conditions)
            assert await refused(store, change) == Refused(0, state), name
        await committed(store, Change(internal_id=state.internal_id, report=True, **holding))

    async def test_no_such_stream(self, store: Store) -> None:
        state = await store.create(new())
        for internal_id in (0, state.internal_id + 1, 10**15):
            outcome = await refused(store, Change(internal_id=internal_id, append=piece("no")))
            assert outcome == Refused(0, None)
        await store.delete([state.internal_id])
        outcome = await refused(store, Change(internal_id=state.internal_id, append=piece("no")))
        assert outcome == Refused(0, None)


class GroupTests(StoreHarness):
    """A group is applied completely or not at all. A refused group does not affect the others."""

    async def test_refusal_undoes_its_whole_group(self, store: Store) -> None:
        states = [await store.create(new(name)) for name in "abc"]
        await append(store, states[1], "moved")
        outcome = await refused(
            store,
            *[
                Change(
                    internal_id=state.internal_id,
                    if_tail=0,
                    append=piece("no"),
                    next_epoch=True,
                    status=Status.STREAMING,
                    worker="one",
                    marks={"m": b"no"},
                )
                for state in states
            ],
        )
        assert outcome == Refused(1, await state_of(store, "b"))
        assert await state_of(store, "a") == states[0]
        assert await state_of(store, "c") == states[2]
        page = await store.read(StreamId("a"), 0, 1000, marks=["m"])
        assert (page.segments, page.marks) == ((), {})

    async def test_an_absent_stream_refuses_its_group(self, store: Store) -> None:
        state = await store.create(new())
        outcome = await refused(
            store,
            Change(internal_id=state.internal_id, append=piece("no")),
            Change(internal_id=10**12),
        )
        assert outcome == Refused(1, None)
        assert await state_of(store) == state

    async def test_groups_do_not_touch_each_other(self, store: Store) -> None:
        states = [await store.create(new(name)) for name in "abc"]
        outcomes = await store.commit(
            [
                Group((Change(internal_id=states[0].internal_id, append=piece("a")),)),
                Group((Change(internal_id=states[1].internal_id, if_epoch=7),)),
                Group(()),
                Group((Change(internal_id=states[2].internal_id, append=piece("c")),)),
            ]
        )
        assert outcomes == [
            Committed((Head(0, 1, 1, ANY),)),
            Refused(0, states[1]),
            Committed(()),
            Committed((Head(0, 1, 1, ANY),)),
        ]
        assert [await text_in(store, name) for name in "abc"] == ["a", "", "c"]

    async def test_heads_are_in_the_order_of_the_changes(self, store: Store) -> None:
        states = [await store.create(new(name)) for name in "abcd"]
        order = [2, 0, 3, 1]
        heads = await committed(
            store,
            *[
                Change(internal_id=states[n].internal_id, append=piece("x" * (n + 1)))
                for n in order
            ],
        )
        assert heads == tuple(Head(0, 1, n + 1, ANY) for n in order)

    async def test_later_group_sees_earlier_changes(self, store: Store) -> None:
        state = await stream_in(store, Status.STREAMING)
        internal_id = state.internal_id
        outcomes = await store.commit(
            [
                Group((Change(internal_id=internal_id, if_tail=0, append=piece("one")),)),
                Group((Change(internal_id=internal_id, if_tail=0, append=piece("lost")),)),
                Group((Change(internal_id=internal_id, if_tail=1, append=piece("two")),)),
                Group((Change(internal_id=internal_id, if_epoch=1, next_epoch=True),)),
                Group((Change(internal_id=internal_id, if_epoch=1, append=piece("fenced")),)),
                Group((Change(internal_id=internal_id, if_epoch=2, append=piece("three")),)),
                Group((Change(internal_id=internal_id, end=End(Status.DONE), at=NOW + 3),)),
                Group(
                    (
                        Change(
                            internal_id=internal_id,
                            if_status=(Status.STREAMING,),
                            append=piece("too late"),
                        ),
                    )
                ),
            ]
        )
        kinds = [type(outcome) for outcome in outcomes]
        assert kinds == [
            Committed, Refused, Committed, Committed, Refused, Committed, Committed, Refused,
        ]  # fmt: skip
        assert isinstance(outcomes[1], Refused)
        assert outcomes[1].state is not None
        assert (outcomes[1].state.tail, outcomes[1].state.size) == (1, 3)
        assert isinstance(outcomes[4], Refused)
        assert outcomes[4].state is not None
        assert outcomes[4].state.epoch == 2
        assert outcomes[5] == Committed((Head(2, 3, 11, ANY),))
        assert outcomes[7] == Refused(0, await state_of(store))
        assert await messages_in(store) == ["one", "two", "three"]

    async def test_marks_in_groups_of_one_commit(self, store: Store) -> None:
        """``max_marks`` counts the marks that earlier groups of the same commit set."""
        state = await store.create(new())
        outcomes = await store.commit(
            [
                Group((Change(internal_id=state.internal_id, marks={name: b""}, max_marks=2),))
                for name in ("a", "b", "a", "c", "b")
            ]
        )
        assert [type(outcome) for outcome in outcomes] == [
            Committed, Committed, Committed, Refused, Committed,
        ]  # fmt: skip

    async def test_no_groups(self, store: Store) -> None:
        assert await store.commit([]) == []

    async def test_many_streams_in_one_commit(self, store: Store) -> None:
        states = [await store.create(new(str(number))) for number in range(120)]
        outcomes = await store.commit(
            [
                Group((Change(internal_id=state.internal_id, append=piece(state.stream_id * 3)),))
                for state in states
                for _ in range(2)
            ]
        )
        assert all(isinstance(outcome, Committed) for outcome in outcomes)
        for state in states[::17]:
            assert await messages_in(store, state.stream_id) == [state.stream_id * 3] * 2


class CommitTests(EffectTests, PreconditionTests, GroupTests):
    """The tests of ``commit`` with one caller at a time."""
