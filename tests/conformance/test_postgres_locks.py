"""Transactions wait for each other's locks on PostgreSQL, and never end in a deadlock."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from inkstream import PersistentTextStreaming
from inkstream._types import (
    Change,
    Committed,
    Fork,
    Group,
    Kind,
    Query,
    StreamState,
)
from inkstream.stores.postgres import PostgresStore
from inkstream.testing.store_suite.harness import new, piece, text_in

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
async def stores(url: str) -> AsyncIterator[tuple[PostgresStore, PostgresStore]]:
    pair = PostgresStore(url), PostgresStore(url)
    for store, worker in zip(pair, ("one", "two"), strict=True):
        await store.open(worker)
        await store.heartbeat(beat=True)
    yield pair
    for store in pair:
        await store.close()


def appending(state: StreamState, text: str) -> Group:
    return Group((Change(internal_id=state.internal_id, append=piece(text)),))


_HELD_UP = """
SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'relation'
"""


async def test_readers_do_not_block_writers(
    stores: tuple[PostgresStore, PostgresStore], url: str
) -> None:
    """G9: even if many readers wait, one connection stays free for commits."""
    one, _ = stores
    state = await one.create(new())
    await one.commit([appending(state, "a")])
    stranger = await asyncpg.connect(url)
    lock = stranger.transaction()
    await lock.start()
    await stranger.execute("LOCK TABLE inkstream.segments IN ACCESS EXCLUSIVE MODE")
    reading = [asyncio.ensure_future(text_in(one, "s")) for _ in range(20)]
    async with asyncio.timeout(5):
        while await stranger.fetchval(_HELD_UP) < 4:
            pass
    async with asyncio.timeout(3):
        await one.commit([appending(state, "b")])
    assert not any(task.done() for task in reading), "the readers did not wait"
    await lock.rollback()
    await stranger.close()
    assert {text[:1] for text in await asyncio.gather(*reading)} == {"a"}


async def test_overlapping_batches_do_not_deadlock(
    stores: tuple[PostgresStore, PostgresStore],
) -> None:
    """G3: two stores change the same streams without a deadlock, and each change is made once."""
    states = [await stores[0].create(new(f"s{n}")) for n in range(6)]
    expected = dict.fromkeys(range(6), 0)

    async def hammer(store: PostgresStore, seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(12):
            groups = []
            for _ in range(chance.randint(1, 5)):
                picked = chance.sample(range(6), chance.randint(1, 4))
                for n in picked:
                    expected[n] += 1
                parts = [appending(states[n], "x").changes[0] for n in picked]
                groups.append(Group(tuple(parts)))
            assert all(isinstance(done, Committed) for done in await store.commit(groups))

    await asyncio.gather(*[hammer(stores[seed % 2], seed) for seed in range(8)])
    tails = {n: (await stores[0].read(states[n].stream_id, 0, 0)).state.tail for n in range(6)}
    assert tails == expected


async def wait_for_locks(url: str, *calls: asyncio.Future[Any]) -> None:
    """Wait until each call waits for a lock of the database, or has ended."""
    watch = await asyncpg.connect(url)
    waiting = (
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    while await watch.fetchval(waiting) < sum(not call.done() for call in calls):
        pass
    await watch.close()


@pytest.mark.parametrize("expires", ["tidy", "delete_due"])
async def test_expiry_of_a_fork_does_not_deadlock(
    stores: tuple[PostgresStore, PostgresStore], url: str, expires: str
) -> None:
    """The application's transaction changes a stream, and then deletes a fork that is due."""
    store = stores[0]
    source = await store.create(new("source"))
    fork, _ = [
        await store.create(new(name, kind=Kind.LOG, due_at=1.0, fork=Fork(source.internal_id, 0)))
        for name in ("fork", "another")
    ]
    application = await asyncpg.connect(url)
    # With a deadlock, PostgreSQL would cancel the statement of ``application``.
    await application.execute("SET deadlock_timeout = '10ms'")
    async with application.transaction():
        await store.commit([appending(source, "text")], connection=application)
        expiry = asyncio.ensure_future(
            store.tidy(2.0, 1)
            if expires == "tidy"
            else store.delete([fork.internal_id], due_before=2.0)
        )
        await wait_for_locks(url, expiry)
        assert await store.delete([fork.internal_id], connection=application) == 1
    await expiry
    await application.close()
    await store.tidy(2.0, 1)
    assert [state.stream_id for state in await store.find(Query())] == ["source"]


async def test_delete_all_does_not_deadlock(
    stores: tuple[PostgresStore, PostgresStore], url: str
) -> None:
    """A call locks also many streams in the order in which other transactions lock them."""
    store = stores[0]
    source = await store.create(new("source"))
    states = [await store.create(new(f"{n}", owner="me")) for n in range(200)]
    fork = new("fork", kind=Kind.LOG, owner="me", fork=Fork(source.internal_id, 0))
    await store.create(fork)
    ends = [source, states[0]]
    async with PersistentTextStreaming(url) as streams:
        stranger, application = [await asyncpg.connect(url) for _ in range(2)]
        await application.execute("SET deadlock_timeout = '500ms'")
        async with application.transaction():
            async with stranger.transaction():
                lock = "SELECT FROM inkstream.heads WHERE internal_id = $1 FOR UPDATE"
                await stranger.fetch(lock, ends[0].internal_id)
                commit = asyncio.ensure_future(store.commit([appending(s, "1") for s in ends]))
                await wait_for_locks(url, commit)
                deletion = asyncio.ensure_future(
                    streams.delete_all(owner="me", connection=application)
                )
                await wait_for_locks(url, commit, deletion)
            assert await deletion == 201
        assert all(isinstance(done, Committed) for done in await commit)
        for connection in (stranger, application):
            await connection.close()


async def test_deadlock_with_another_program_is_retried(
    stores: tuple[PostgresStore, PostgresStore], url: str
) -> None:
    first, second = [await stores[0].create(new(name)) for name in "ab"]
    stranger = await asyncpg.connect(url)
    await stranger.execute(
        "SET deadlock_timeout = '10s'"
    )  # so that PostgreSQL cancels the store's statement, and not the statement of ``stranger``
    lock = "SELECT FROM inkstream.heads WHERE internal_id = $1 FOR UPDATE"
    async with stranger.transaction():
        await stranger.fetch(lock, second.internal_id)
        commit = asyncio.ensure_future(
            stores[0].commit([appending(first, "1"), appending(second, "2")])
        )
        await wait_for_locks(url, commit)
        await stranger.fetch(lock, first.internal_id)
    assert all(isinstance(done, Committed) for done in await commit)
    await stranger.close()
    assert await text_in(stores[0], "a") + await text_in(stores[0], "b") == "12"
