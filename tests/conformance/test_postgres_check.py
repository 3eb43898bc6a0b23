"""``inkstream verify`` finds damage in PostgreSQL, and reports no fault without damage."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest

from inkstream import wire
from inkstream._errors import SchemaOutdated
from inkstream._types import Change, End, Fork, Group, Kind, NewStream, Segment, Status, StreamId
from inkstream.stores.postgres import PostgresStore, check_streams
from tests import postgres_server


@pytest.fixture
async def url() -> AsyncIterator[str]:
    """Create a database with an ended, a live, a gone, a forked, a binary and an empty stream."""
    server = postgres_server.server(postgres_server.versions()[0])
    url = await server.make_database()
    store = PostgresStore(url)
    await store.open("one")
    names = [StreamId(name) for name in ("ended", "live", "gone")]
    states = [await store.create(NewStream(stream_id=name, created_at=1.0)) for name in names]
    for state in states:
        for text in ("Grüße ", '{"not": "json"}', "☃"):
            (segment,) = wire.encode_messages([text, wire.RawJSON(b"[1]")], 0)
            change = Change(internal_id=state.internal_id, append=segment)
            await store.commit([Group((change,))])
        if state.stream_id != "live":
            end = End(Status.DONE)
            await store.commit([Group((Change(internal_id=state.internal_id, end=end, at=2.0),))])
    while await store.tidy(3.0, 1 << 20):
        pass
    await store.create(
        NewStream(stream_id=StreamId("fork"), created_at=1.0, fork=Fork(states[2].internal_id, 3))
    )
    await store.delete([states[2].internal_id])
    await store.create(
        NewStream(
            stream_id=StreamId("bytes"),
            created_at=1.0,
            kind=Kind.LOG,
            content_type="application/octet-stream",
            append=Segment(0, 5, b"\0\xff\0\xff\0", b""),
            marks={"m": b"x"},
        )
    )
    await store.create(NewStream(stream_id=StreamId("empty"), created_at=1.0))
    await store.close()
    yield url
    await server.drop_database(url)


async def execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(statement)
    await connection.close()


async def test_complete_database_has_no_faults(url: str) -> None:
    assert await check_streams(url) == []


async def test_no_schema(url: str) -> None:
    with pytest.raises(SchemaOutdated):
        await check_streams(url, schema="elsewhere")


LIVE = "(SELECT internal_id FROM inkstream.streams WHERE stream_id = 'live')"
ENDED = "(SELECT internal_id FROM inkstream.streams WHERE stream_id = 'ended')"


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (f"DELETE FROM live WHERE internal_id = {LIVE} AND position = 2", "a gap between"),
        (f"DELETE FROM live WHERE internal_id = {LIVE} AND position = 4", "its tail is 6"),
        (f"DELETE FROM live WHERE internal_id = {LIVE} AND position = 0", "begin at 2, not at 0"),
        ("UPDATE live SET payload = set_byte(payload, 0, 255)", "is not UTF-8 at byte 0"),
        ("UPDATE segments SET payload = set_byte(payload, 0, 255)", "is not UTF-8 at byte 0"),
        (f"UPDATE live SET count = 3 WHERE internal_id = {LIVE} AND position = 2", "an overlap"),
        (f"UPDATE live SET count = 1 WHERE internal_id = {LIVE} AND position = 4", "says 1 mes"),
        (f"UPDATE live SET payload = 'x' WHERE internal_id = {LIVE} AND position = 2", "has 1"),
        (f"UPDATE live SET idx = '\\x80' WHERE internal_id = {LIVE} AND position = 2", "breaks"),
        ("UPDATE segments SET payload = payload || 'x'", "its size is"),
        (f"DELETE FROM segments WHERE internal_id = {ENDED}", "its messages end at 0"),
        (f"UPDATE heads SET tail = 7 WHERE internal_id = {LIVE}", "its tail is 7"),
        (f"UPDATE heads SET size = 7 WHERE internal_id = {LIVE}", "its size is 7"),
        (f"UPDATE heads SET status = 'done' WHERE internal_id = {LIVE}", "end does not fit"),
        (f"UPDATE streams SET ending = NULL WHERE internal_id = {ENDED}", "end does not fit"),
        (f"UPDATE streams SET live = false WHERE internal_id = {LIVE}", "live is False"),
        (f"DELETE FROM heads WHERE internal_id = {LIVE}", "its head"),
        (f"DELETE FROM streams WHERE internal_id = {LIVE}", "its stream"),
        (
            "DELETE FROM streams WHERE internal_id = 2; DELETE FROM heads WHERE internal_id = 2",
            "segments of no stream: internal id 2",
        ),
        ("UPDATE marks SET internal_id = 99", "marks of no stream: internal id 99"),
        ("UPDATE live SET internal_id = 99 WHERE idx = ''", "segments of no stream"),
        ("DELETE FROM streams WHERE stream_id = 'fork'", "kept for forks, and has none"),
        ("DELETE FROM heads WHERE gone", "that it inherits are missing"),
        ("UPDATE live SET count = 4 WHERE idx = ''", "says 4 bytes and has 5"),
        ("UPDATE streams SET runs = '[0]'", "pairs"),
        ("UPDATE streams SET runs = '[]'", "pairs"),
        ("UPDATE streams SET runs = '{}'", "no list of numbers"),
        ("UPDATE streams SET runs = '[1,7]'", "begin at 1"),
        ("UPDATE streams SET runs = '[0,7,0,8]'", "out of order"),
        ("UPDATE streams SET runs = '[0,7,1,7]'", "the same generation"),
        ("UPDATE streams SET runs = '[0,7,999,8]'", "past its tail"),
        ("UPDATE streams SET runs = '[0,0]'", "does not exist"),
        ("UPDATE heads SET generation = 7", "head has 7"),
    ],
)
async def test_incomplete_database_has_faults(url: str, damage: str, said: str) -> None:
    """G1, G2, G5: after ``damage``, ``check_streams`` reports a fault that contains ``said``."""
    await execute(url, f"SET search_path = inkstream; {damage.replace('inkstream.', '')}")
    faults = await check_streams(url)
    assert any(said in fault for fault in faults), faults
