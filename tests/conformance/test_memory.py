"""The memory store passes the store suite, and simulates crashes, lost hosts and failures."""

from __future__ import annotations

from pathlib import Path

import pytest

from inkstream._errors import OutcomeUnknown, StoreUnavailable
from inkstream._types import NewStream, StreamId
from inkstream.abc import Store
from inkstream.stores.memory import MemoryDatabase, MemoryStore
from inkstream.testing import StoreSuite


class TestMemoryStore(StoreSuite):
    async def make_database(self, tmp_path: Path) -> MemoryDatabase:
        return MemoryDatabase()

    def make_store(self, database: MemoryDatabase) -> Store:
        return MemoryStore(database)


async def locks(store: MemoryStore) -> dict[str, bool | None]:
    return {state.worker: state.locked for state in await store.heartbeat(beat=False)}


@pytest.fixture
async def pair() -> tuple[MemoryStore, MemoryStore]:
    database = MemoryDatabase()
    stores = MemoryStore(database), MemoryStore(database)
    for store, worker in zip(stores, ("one", "two"), strict=True):
        await store.open(worker)
        await store.heartbeat(beat=True)
    return stores


async def test_crashed_memory_store_has_no_effect(
    pair: tuple[MemoryStore, MemoryStore],
) -> None:
    """G7: a call to a crashed store changes nothing, and the lock of the store's worker is free."""
    one, two = pair
    two.crash()
    assert await locks(one) == {"one": True, "two": False}
    with pytest.raises(StoreUnavailable):
        await two.create(NewStream(stream_id=StreamId("s"), created_at=0.0))
    await two.close()
    assert await locks(one) == {"one": True, "two": False}


async def test_lost_host_has_unknown_lock(
    pair: tuple[MemoryStore, MemoryStore],
) -> None:
    """G7: if the host of a worker is lost, the state of the worker's lock is unknown."""
    one, two = pair
    two.lose_host()
    assert await locks(one) == {"one": True, "two": None}
    with pytest.raises(StoreUnavailable):
        await two.heartbeat(beat=True)


async def test_a_lost_lock_is_taken_again(pair: tuple[MemoryStore, MemoryStore]) -> None:
    """G7: a living worker takes its lost lock again."""
    one, two = pair
    one.database.release_lock("two")
    assert await locks(one) == {"one": True, "two": False}
    assert await locks(two) == {"one": True, "two": True}


async def test_a_worker_that_restarts_has_its_own_lock(
    pair: tuple[MemoryStore, MemoryStore],
) -> None:
    one, two = pair
    again = MemoryStore(one.database)
    await again.open("two")
    await two.close()
    assert (await locks(one))["two"] is True, "the old store's close must not free the new lock"


async def test_injected_faults(pair: tuple[MemoryStore, MemoryStore]) -> None:
    """G12: if the database's ``before`` raises an error, the call has no effect.

    If the database's ``after`` raises an error, the effect of the call stays.
    """
    one, _ = pair

    def away(method: str) -> None:
        raise StoreUnavailable(method)

    def lost(method: str) -> None:
        raise OutcomeUnknown(method)

    one.database.before = away
    with pytest.raises(StoreUnavailable, match="create"):
        await one.create(NewStream(stream_id=StreamId("before"), created_at=0.0))
    one.database.before, one.database.after = None, lost
    with pytest.raises(OutcomeUnknown, match="create"):
        await one.create(NewStream(stream_id=StreamId("after"), created_at=0.0))
    assert (await one.read(StreamId("after"), 0, 0)).state.stream_id == "after"
    with pytest.raises(LookupError):
        await one.read(StreamId("before"), 0, 0)
