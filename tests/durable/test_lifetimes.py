"""Offsets of deleted streams are refused, and streams expire at the right time."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import httpx
import pytest

from inkstream import PersistentTextStreaming
from inkstream._types import Change, Group, StreamId
from inkstream.wire import Offset
from tests.durable.mount import JSON, TEXT, client_of
from tests.http.asgi import ShiftedClock


async def test_an_offset_of_a_deleted_stream_is_refused(client: httpx.AsyncClient) -> None:
    """G10: a stream refuses offsets past its tail, and offsets of an earlier stream with its id."""
    old = (await client.put("/s", headers=TEXT, content=b"old")).headers["stream-next-offset"]
    await client.delete("/s")
    now = (await client.put("/s", headers=TEXT, content=b"new one")).headers["stream-next-offset"]
    tail = Offset.parse(now)
    past = [replace(tail, position=tail.position + 1), replace(tail, position=10**6)]
    for closing in ({}, {"stream-closed": "true"}):
        if closing:
            assert (await client.post("/s", headers=closing)).status_code == 204
        assert (await client.get("/s", params={"offset": now})).status_code == 200
        for offset in (old, *map(str, past)):
            for live in ({}, {"live": "long-poll"}, {"live": "sse"}):
                async with asyncio.timeout(1):
                    answer = await client.get("/s", params={"offset": offset, **live})
                assert (answer.status_code, answer.json()["code"]) == (410, "offset_gone")


async def test_reference_spelling_of_the_start(client: httpx.AsyncClient) -> None:
    """The reference server and the official suite write the start of a stream as ``zero``."""
    zero = "0000000000000000_0000000000000000"
    await client.put("/s", headers=TEXT, content=b"text")
    assert (await client.get("/s", params={"offset": zero})).content == b"text"
    fork = {"stream-forked-from": "/s", "stream-fork-offset": zero}
    assert (await client.put("/f", headers=fork)).status_code == 201
    assert (await client.put("/f", headers=fork)).status_code == 200
    assert (await client.get("/f")).content == b""
    assert (await client.get("/s", params={"offset": zero[:-1] + "1"})).status_code == 400


async def test_an_expired_stream_is_absent_and_can_be_replaced(
    client: httpx.AsyncClient, clock: ShiftedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = clock.wall()
    monkeypatch.setattr(clock, "wall", lambda: now)
    await client.put("/s", headers=TEXT | {"stream-ttl": "1"}, content=b"old")
    now += 0.9
    assert (await client.get("/s")).status_code == 200  # GET renews the expiry
    now += 0.9
    assert (await client.head("/s")).status_code == 200  # HEAD does not renew the expiry
    now += 0.2
    for method in ("GET", "HEAD", "DELETE", "POST"):
        body: dict[str, Any] = {"headers": TEXT, "content": b"x"} if method == "POST" else {}
        assert (await client.request(method, "/s", **body)).status_code == 404, method
    answer = await client.put("/s", headers=JSON)
    deadline = clock.monotonic() + 8.0
    while (
        answer.status_code == 409
    ):  # PostgreSQL's own clock decides when the stream may be deleted
        assert clock.monotonic() < deadline
        answer = await client.put("/s", headers=JSON)
    assert answer.status_code == 201
    assert (await client.get("/s")).content == b"[]"


async def test_a_renewal_in_the_last_moment_counts(
    client: httpx.AsyncClient,
    clock: ShiftedClock,
    streams: PersistentTextStreaming,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A PUT does not delete a stream that another process renews just before the deletion.

    G2: a reader of this stream goes on.
    """
    store = streams.engine.store
    past = clock.wall() - 10  # PostgreSQL's own clock must have passed the expiry
    monkeypatch.setattr(clock, "wall", lambda: past)
    await client.put("/s", headers=TEXT | {"stream-ttl": "1"}, content=b"old")
    monkeypatch.undo()
    state = (await store.read(StreamId("s"), 0, 0)).state
    delete = store.delete

    async def renew_and_delete(*args: Any, **named: Any) -> int:
        renewal = Change(internal_id=state.internal_id, due_at=clock.wall() + 60)
        await store.commit([Group((renewal,))])
        return await delete(*args, **named)

    reader = await streams.engine.readers.open(StreamId("s"), None)
    monkeypatch.setattr(store, "delete", renew_and_delete)
    assert (await client.put("/s", headers=JSON)).status_code == 409
    assert (await store.read(StreamId("s"), 0, 0)).state.internal_id == state.internal_id
    assert not reader.tail.gone
    reader.close()


@pytest.mark.parametrize("jump_s", [3 * 3600.0, -3 * 3600.0])
async def test_a_jump_of_the_clock(
    client: httpx.AsyncClient, clock: ShiftedClock, monkeypatch: pytest.MonkeyPatch, jump_s: float
) -> None:
    """If a clock is wrong for a while, no stream expires too early.

    This holds even for a stream that was created or read in that time.
    """
    true, jump = ShiftedClock().wall, 0.0
    monkeypatch.setattr(clock, "wall", lambda: true() + jump)
    mortal = TEXT | {"stream-ttl": "3600"}
    await client.put("/before", headers=mortal, content=b"kept")
    jump = jump_s
    for name in "before", "meanwhile":
        await client.put(f"/{name}", headers=mortal, content=b"kept")
        assert (await client.post(f"/{name}", headers=TEXT, content=b", too")).status_code == 204
        assert (await client.get(f"/{name}")).content == b"kept, too"
    jump = 0.0
    for name in "before", "meanwhile":
        assert (await client.get(f"/{name}")).content == b"kept, too"
        assert (await client.put(f"/{name}", headers=mortal)).status_code == 200


@pytest.mark.parametrize("database", ["postgres"], indirect=True)
async def test_a_clock_that_was_wrong_from_the_start(database: str) -> None:
    """A PUT deletes an expired stream, and PostgreSQL's own clock decides what is expired."""
    mortal = TEXT | {"stream-ttl": "3600"}
    wrong_clock = ShiftedClock()
    wrong_clock.wall = lambda: ShiftedClock().wall() + 3 * 3600.0
    async with (
        PersistentTextStreaming(database) as right,
        PersistentTextStreaming(database, clock=wrong_clock) as wrong,
        client_of(right.durable_streams(allow_anonymous=True)) as client,
        client_of(wrong.durable_streams(allow_anonymous=True)) as other,
    ):
        await client.put("/s", headers=mortal, content=b"kept")
        assert (await other.put("/s", headers=mortal)).status_code == 200
        assert (await client.get("/s")).content == b"kept"
