"""Hints over PostgreSQL arrive, and a process notices if it may have lost some hints."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection

import asyncpg
import pytest

from inkstream._types import StreamId
from inkstream.notifiers.postgres import PostgresNotifier, decode_hint, encode_hint
from inkstream.stores.postgres import PostgresStore

ANY = frozenset({"any"})


class Heard:
    def __init__(self) -> None:
        self.hints: asyncio.Queue[frozenset[str]] = asyncio.Queue()

    def __call__(self, stream_ids: Collection[StreamId] | None) -> None:
        self.hints.put_nowait(ANY if stream_ids is None else frozenset(stream_ids))

    async def next(self) -> frozenset[str]:
        return await asyncio.wait_for(self.hints.get(), 10)


def ids(*names: str) -> list[StreamId]:
    return [StreamId(name) for name in names]


@pytest.fixture
async def stores(url: str) -> AsyncIterator[list[PostgresStore]]:
    stores = [PostgresStore(url) for _ in range(2)]
    for number, store in enumerate(stores):
        await store.open(str(number))
    yield stores
    for store in stores:
        await store.close()


async def test_hints_reach_the_others(stores: list[PostgresStore]) -> None:
    """A process gets no hint of its own changes. A hint about 301 streams contains no ids."""
    one, two = [PostgresNotifier(store) for store in stores]
    heard_one, heard_two = Heard(), Heard()
    await one.open(heard_one)
    await two.open(heard_two)
    assert await heard_one.next() == await heard_two.next() == ANY, "earlier changes are unknown"
    await one.notify(ids("a", "b c", "☃"))
    assert await heard_two.next() == {"a", "b c", "☃"}
    await one.notify(ids(*[f"stream {n}" for n in range(301)]))
    assert await heard_two.next() == ANY
    await one.notify([])
    await two.notify(ids("back"))
    assert await heard_one.next() == {"back"}, "own changes must cause no hint"
    assert heard_two.hints.empty()
    await two.close()
    await one.notify(ids("unheard"))
    await one.close()
    assert heard_two.hints.empty()


async def test_lost_connection_is_replaced(stores: list[PostgresStore], url: str) -> None:
    """After a lost connection, a notifier reports that any stream may have changed."""
    one, two = [PostgresNotifier(store) for store in stores]
    heard = Heard()
    await two.open(heard)
    assert await heard.next() == ANY
    admin = await asyncpg.connect(url)
    for _ in range(2):
        await admin.fetch(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        assert await heard.next() == ANY
        while heard.hints.empty():
            # The hint is lost if the pool gives a broken connection.
            await one.notify(ids("after"))
        assert await heard.next() == {"after"}
        while not heard.hints.empty():
            heard.hints.get_nowait()
    await admin.close()
    await two.close()


async def test_nothing_to_listen_on(url: str) -> None:
    """Behind a pooler, or while the database is away, hints are lost without an error."""
    store = PostgresStore(url + "&pooler=true")
    await store.open("one")
    notifier = PostgresNotifier(store)
    heard = Heard()
    await notifier.open(heard)
    await notifier.notify(ids("s"))
    await store.heartbeat(beat=True)
    assert [state.locked for state in await store.heartbeat(beat=False)] == [None]
    await notifier.close()
    await store.close()
    assert heard.hints.empty()
    away = PostgresStore("postgresql://nobody:any@127.0.0.1:1/none?sslmode=disable")
    await away._connections.open()
    await PostgresNotifier(away).notify(ids("s"))
    await away._connections.close()


async def test_separate_listener_url(url: str) -> None:
    """With ``listener_url``, hints and the lock of a worker work behind a pooler."""
    stores = [PostgresStore(url + "&pooler=true", listener_url=url) for _ in range(2)]
    for number, store in enumerate(stores):
        await store.open(str(number))
        await store.heartbeat(beat=True)
    assert [state.locked for state in await stores[0].heartbeat(beat=False)] == [True, True]
    heard = Heard()
    listener = PostgresNotifier(stores[1])
    await listener.open(heard)
    assert await heard.next() == ANY
    await PostgresNotifier(stores[0]).notify(ids("s"))
    assert await heard.next() == {"s"}
    await listener.close()
    for store in stores:
        await store.close()


def test_payloads_fit() -> None:
    """If the ids of streams are too many or too long for a payload, the hint contains no ids.

    PostgreSQL refuses a payload of 8,000 bytes.
    """
    assert decode_hint(encode_hint("t", ids("a", "b"))) == ("t", ("a", "b"))
    assert decode_hint(encode_hint("t", ids(*map(str, range(300)))))[1] is not None
    assert decode_hint(encode_hint("t", ids(*map(str, range(301))))) == ("t", None)
    wide = ids(*[f"{n}{'☃' * 500}" for n in range(6)])
    assert decode_hint(encode_hint("t", wide)) == ("t", None)
    assert decode_hint(encode_hint("t", wide[:5])) == ("t", tuple(wide[:5]))


@pytest.mark.parametrize(
    "payload", ["", "2t 5 abc\na\t1,2", "\na", "t\na", "\U0001f4a9", "1t\n", "1"]
)
def test_unknown_payload_means_any_stream(payload: str) -> None:
    """During a deploy, another version of inkstream may send a payload in an unknown form.

    Any role of the database may send any payload, because NOTIFY requires no privilege.
    """
    assert decode_hint(payload)[1] is None
