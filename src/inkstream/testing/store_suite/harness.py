"""The methods that a store's author defines, and the helper functions of all tests."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, settings

from inkstream import wire
from inkstream._types import (
    Change,
    Committed,
    End,
    Group,
    Head,
    Kind,
    NewStream,
    Page,
    Refused,
    Segment,
    Status,
    StreamId,
    StreamState,
)
from inkstream.abc import Store

NOW = 1_790_000_000.0
"""The wall time that the tests pass to a store."""

EVERYTHING = 1 << 40
"""A value of ``max_bytes`` that is never reached."""

DONE = End(Status.DONE)


on_one_store = settings(
    # A third of the profile's examples, because each example needs many round trips to a database.
    max_examples=max(10, settings().max_examples // 3),
    deadline=None,
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,  # examples share a store but no stream
        HealthCheck.differing_executors,  # each subclass of the suite runs the same test
        HealthCheck.too_slow,
    ],
)
"""Hypothesis settings of the property tests."""


@pytest.mark.asyncio
class StoreHarness(ABC):
    """Creates databases, and opens stores on them."""

    @abstractmethod
    async def make_database(self, tmp_path: Path) -> Any:
        """Return the address of a new, empty database, in any form that ``make_store`` accepts.

        Called once per test. If a database needs a schema, create the schema here.
        """

    @abstractmethod
    def make_store(self, database: Any) -> Store:
        """Return a new store, which is not open yet. Several stores may use one database."""

    async def drop_database(self, database: Any) -> None:
        """Remove what ``make_database`` created outside ``tmp_path``.

        When this method is called, all stores of the database are closed.
        """
        return

    @pytest_asyncio.fixture
    async def database(self, tmp_path: Path) -> AsyncIterator[Any]:
        """Create a new database."""
        database = await self.make_database(tmp_path)
        yield database
        await self.drop_database(database)

    @pytest_asyncio.fixture
    async def store(self, database: Any) -> AsyncIterator[Store]:
        """Open a store on the database, as worker ``one``."""
        store = self.make_store(database)
        await store.open("one")
        yield store
        await store.close()

    @pytest_asyncio.fixture
    async def other(self, database: Any) -> AsyncIterator[Store]:
        """Open a second store on the same database, as worker ``two``."""
        store = self.make_store(database)
        await store.open("two")
        yield store
        await store.close()


def new(stream_id: str = "s", **fields: Any) -> NewStream:
    """Return the argument of ``create`` for a stream created at ``NOW``."""
    return NewStream(**{"stream_id": StreamId(stream_id), "created_at": NOW, **fields})


def piece(*messages: str | wire.RawJSON) -> Segment:
    """Return a segment with these messages. Adjacent texts stay separate messages.

    The segment has a wrong position, because a store must ignore the position of appended segments.
    """
    segments = [wire.encode_messages([message], 0) for message in messages]
    (segment,) = wire.merge([one for single in segments for one in single])
    return Segment(777, len(messages), segment.payload, segment.index)


def raw_bytes(payload: bytes) -> Segment:
    """Return a byte stream's segment."""
    return Segment(777, len(payload), payload, b"")


async def committed(store: Store, *changes: Change) -> tuple[Head, ...]:
    """Commit one group that must not be refused; return its heads."""
    (outcome,) = await store.commit([Group(changes)])
    assert isinstance(outcome, Committed), outcome
    return outcome.heads


async def refused(store: Store, *changes: Change) -> Refused:
    """Commit one group that must be refused."""
    (outcome,) = await store.commit([Group(changes)])
    assert isinstance(outcome, Refused), outcome
    return outcome


async def append(store: Store, state: StreamState, *messages: str | wire.RawJSON) -> Head:
    """Append messages as one segment, without a condition."""
    (head,) = await committed(store, Change(internal_id=state.internal_id, append=piece(*messages)))
    return head


async def claim(store: Store, state: StreamState, worker: str = "one") -> Head:
    """Claim a pending stream for a worker."""
    change = Change(
        internal_id=state.internal_id,
        if_status=(Status.PENDING,),
        next_epoch=True,
        status=Status.STREAMING,
        worker=worker,
        at=NOW + 1,
        due_at=None,
    )
    (head,) = await committed(store, change)
    return head


async def finish(store: Store, state: StreamState, end: End = DONE) -> Head:
    """End a stream, without a condition."""
    change = Change(internal_id=state.internal_id, end=end, at=NOW + 2, worker=None)
    (head,) = await committed(store, change)
    return head


async def state_of(store: Store, stream_id: str = "s") -> StreamState:
    """Return a stream's state."""
    return (await store.read(StreamId(stream_id), 0, 0)).state


async def stream_in(
    store: Store, status: Status, stream_id: str = "s", **fields: Any
) -> StreamState:
    """Create a stream that has the given status. If it needs a claim, worker ``one`` claims it."""
    kind = Kind.LOG if status is Status.OPEN else Kind.TEXT
    state = await store.create(new(stream_id, kind=kind, **fields))
    if status is Status.STREAMING or status.ended:
        await claim(store, state)
    if status.ended:
        await finish(store, state, End(status))
    state = await state_of(store, stream_id)
    assert state.status is status
    return state


async def pages_of(
    store: Store, stream_id: str = "s", after: int = 0, max_bytes: int = EVERYTHING
) -> list[Page]:
    """Return all pages of a stream after a position, and check each page with ``check_page``."""
    pages: list[Page] = []
    while True:
        page = await store.read(StreamId(stream_id), after, max_bytes)
        check_page(page, after, max_bytes)
        pages.append(page)
        if not page.segments:
            return pages
        after = page.end


def check_page(page: Page, after: int, max_bytes: int) -> None:
    """Assert what ``abc.Store.read`` promises about each page."""
    segments = page.segments
    if not segments:
        assert page.end == after
        assert max_bytes == 0 or after >= page.state.tail, "the page is empty, but messages follow"
        return
    assert max_bytes > 0
    assert segments[0].position <= after < segments[0].end, "the page must begin at the position"
    for segment, following in pairwise(segments):
        assert segment.end == following.position, "a gap, or segments out of order"
    assert segments[-1].end == page.end <= page.state.tail
    assert sum(len(segment.payload) for segment in segments[:-1]) <= max_bytes, "too large"
    for segment in segments:
        if segment.index:
            assert segment.count == len(list(wire.index_entries(segment.index)))
        else:
            assert segment.count == len(segment.payload)


def messages_of(pages: Sequence[Page], after: int = 0) -> list[str | wire.RawJSON]:
    """Return the messages of a JSON stream's pages after a position."""
    parts = [wire.cut(segment, after) for page in pages for segment in page.segments]
    return list(wire.decode_messages(part for part in parts if part is not None))


async def messages_in(store: Store, stream_id: str = "s", after: int = 0) -> list[Any]:
    """Return a stream's messages after a position: strings and ``RawJSON``."""
    return messages_of(await pages_of(store, stream_id, after), after)


async def text_in(store: Store, stream_id: str = "s", after: int = 0) -> str:
    """Return a stream's text after a position."""
    messages = await messages_in(store, stream_id, after)
    return "".join(message for message in messages if isinstance(message, str))


async def tidied(store: Store, now: float = NOW, max_bytes: int = 1 << 20) -> int:
    """Tidy until nothing is left to do; return the number of steps."""
    for step in range(1, 1001):
        if not await store.tidy(now, max_bytes):
            return step
    raise AssertionError("tidy has more to do after a thousand steps")
