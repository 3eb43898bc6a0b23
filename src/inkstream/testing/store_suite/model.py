"""A test that makes random calls, and compares the store with a simple model after each call."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inkstream._errors import StreamGone, StreamNotFound
from inkstream._types import (
    Change,
    Committed,
    Fork,
    Group,
    Kind,
    NewStream,
    Query,
    Refused,
    Status,
    StreamId,
)
from inkstream.abc import Store
from inkstream.testing.store_suite.harness import (
    DONE,
    NOW,
    StoreHarness,
    messages_of,
    on_one_store,
    pages_of,
    piece,
)

STATUSES = (Status.PENDING, Status.STREAMING, Status.DONE)
WORKERS = (None, "one", "two")


@dataclass
class Modelled:
    """A stream in the model: its messages are a list, its marks a dictionary."""

    name: StreamId
    internal_id: int
    status: Status = Status.PENDING
    epoch: int = 0
    worker: str | None = None
    due: bool = False
    messages: list[str] = field(default_factory=list)
    marks: dict[str, bytes] = field(default_factory=dict)
    source: Modelled | None = None
    deleted: bool = False


@dataclass(frozen=True)
class Step:
    """One call. The numbers in ``streams`` select streams of the model, even deleted streams."""

    call: str
    streams: tuple[int, ...]
    text: str
    number: int
    condition: str
    second_store: bool


steps = st.lists(
    st.builds(
        Step,
        call=st.sampled_from(
            ["create", "fork", "append", "append", "claim", "end", "mark", "due", "delete", "tidy"]
        ),
        streams=st.lists(st.integers(0, 5), min_size=1, max_size=3, unique=True).map(tuple),
        text=st.sampled_from(["a", "bb", "\x00", "☃\r\n", "long " * 5]),
        number=st.integers(0, 4),
        condition=st.sampled_from(["none", "none", "status", "epoch", "tail", "worker"]),
        second_store=st.booleans(),
    ),
    max_size=25,
)


class ModelTests(StoreHarness):
    """A test of the methods that change and read streams, in any order."""

    @on_one_store
    @given(steps=steps)
    async def test_any_sequence_of_calls(
        self, store: Store, other: Store, steps: list[Step]
    ) -> None:
        """G2, G3, G10, G11: after each call, the store agrees with the model."""
        model: list[Modelled] = []
        for step in steps:
            opened = other if step.second_store else store
            chosen = [model[n % len(model)] for n in step.streams] if model else []
            await self._take(opened, step, list({id(s): s for s in chosen}.values()), model)
            await self._compare(
                store if step.second_store else other, model, 9 + 1000 * step.number
            )
        living = [stream.internal_id for stream in model if not stream.deleted]
        assert await store.delete(living) == len(living)

    async def _take(
        self, store: Store, step: Step, chosen: list[Modelled], model: list[Modelled]
    ) -> None:
        if step.call == "create" or not chosen:
            await self._create(store, step, None, model)
        elif step.call == "fork":
            if chosen[0].deleted:
                return
            await self._create(store, step, chosen[0], model)
        elif step.call == "delete":
            existing = [stream for stream in chosen if not stream.deleted]
            for stream in existing:
                stream.deleted = True
            ids = [stream.internal_id for stream in chosen]
            assert await store.delete(ids) == len(existing)
        elif step.call == "tidy":
            await self._tidy(store, step, model)
        else:
            await self._commit(store, step, chosen)

    async def _tidy(self, store: Store, step: Step, model: list[Modelled]) -> None:
        more = await store.tidy(NOW, 1 + 10 * step.number)
        while more and step.number == 4:
            more = await store.tidy(NOW, 1000)
        due = [s for s in model if s.due and s.status is Status.DONE and not s.deleted]
        names = tuple(stream.name for stream in due)
        left = {state.stream_id for state in await store.find(Query(stream_ids=names))}
        assert more or not left, "streams that are due are deleted when tidy has nothing left to do"
        for stream in due:
            stream.deleted = stream.name not in left

    async def _create(
        self, store: Store, step: Step, source: Modelled | None, model: list[Modelled]
    ) -> None:
        name = StreamId.generate()
        inherited = [] if source is None else source.messages[: 1 + step.number]
        if not inherited:
            source = None
        first = [step.text] if step.number % 2 else []
        state = await store.create(
            NewStream(
                stream_id=name,
                kind=Kind.TEXT,
                created_at=NOW,
                append=piece(*first) if first else None,
                fork=Fork(source.internal_id, len(inherited)) if source else None,
            )
        )
        assert all(state.internal_id > stream.internal_id for stream in model)
        model.append(Modelled(name, state.internal_id, messages=inherited + first, source=source))

    async def _commit(self, store: Store, step: Step, chosen: list[Modelled]) -> None:
        expected_refusal: int | None = None
        changes = []
        for index, stream in enumerate(chosen):
            change, holds = _change(step, stream)
            changes.append(change)
            if expected_refusal is None and (stream.deleted or not holds):
                expected_refusal = index
        (outcome,) = await store.commit([Group(tuple(changes))])
        if expected_refusal is None:
            assert isinstance(outcome, Committed)
            for stream, head in zip(chosen, outcome.heads, strict=True):
                _apply(step, stream)
                assert (head.epoch, head.tail) == (stream.epoch, len(stream.messages))
        else:
            assert isinstance(outcome, Refused)
            assert outcome.index == expected_refusal

    async def _compare(self, store: Store, model: list[Modelled], max_bytes: int) -> None:
        for stream in model:
            if stream.deleted:
                expected = StreamGone if _is_read(stream, model) else StreamNotFound
                with pytest.raises(StreamNotFound) as caught:
                    await store.read(stream.name, 0, 1000)
                assert caught.type is expected
                continue
            pages = await pages_of(store, stream.name, 0, max_bytes)
            assert messages_of(pages) == stream.messages
            page = await store.read(stream.name, 0, 0, marks=["m0", "m1", "m2", "m3", "m4"])
            state = page.state
            assert (state.status, state.epoch, state.worker, state.tail) == (
                stream.status,
                stream.epoch,
                stream.worker,
                len(stream.messages),
            )
            assert page.marks == stream.marks


def _is_read(stream: Modelled, model: list[Modelled]) -> bool:
    """Return whether a deleted stream is kept: one of its forks lives, or is itself kept."""
    return any(
        fork.source is stream and (not fork.deleted or _is_read(fork, model)) for fork in model
    )


def _change(step: Step, stream: Modelled) -> tuple[Change, bool]:
    """Return a step's change of one stream, and whether the change's conditions hold."""
    allowed = set(STATUSES)
    if step.call in ("append", "claim", "end"):
        allowed.remove(Status.DONE)
    conditions: dict[str, Any] = {}
    holds = True
    match step.condition:
        case "status":
            allowed &= {STATUSES[step.number % 3], STATUSES[(step.number + 1) % 3]}
        case "epoch":
            conditions["if_epoch"] = step.number
            holds = stream.epoch == step.number
        case "tail":
            conditions["if_tail"] = step.number
            holds = len(stream.messages) == step.number
        case "worker":
            conditions["if_worker"] = WORKERS[step.number % 3]
            holds = stream.worker == WORKERS[step.number % 3]
    if len(allowed) < len(STATUSES):
        conditions["if_status"] = tuple(allowed)
        holds = holds and stream.status in allowed
    effects: dict[str, Any] = {}
    match step.call:
        case "append":
            effects["append"] = piece(step.text, step.text)
        case "claim":
            worker = WORKERS[step.number % 3]
            effects.update(next_epoch=True, status=Status.STREAMING, worker=worker, at=NOW)
        case "end":
            effects.update(append=piece(step.text), end=DONE, at=NOW)
        case "mark":
            effects["marks"] = {f"m{step.number}": step.text.encode()}
        case "due":
            effects["due_at"] = NOW - 1
    return Change(internal_id=stream.internal_id, **conditions, **effects), holds


def _apply(step: Step, stream: Modelled) -> None:
    match step.call:
        case "append":
            stream.messages += [step.text, step.text]
        case "claim":
            stream.epoch += 1
            stream.status = Status.STREAMING
            stream.worker = WORKERS[step.number % 3]
        case "end":
            stream.messages.append(step.text)
            stream.status = Status.DONE
        case "mark":
            stream.marks[f"m{step.number}"] = step.text.encode()
        case "due":
            stream.due = True
