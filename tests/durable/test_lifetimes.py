"""Offsets of what is no more, and streams that expire."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import httpx
import pytest

from inkstream.wire import Offset
from tests.durable.mount import JSON, TEXT
from tests.http.asgi import ShiftedClock


async def test_an_offset_of_an_earlier_stream_is_told_at_once(client: httpx.AsyncClient) -> None:
    """G10, in every way of reading."""
    old = (await client.put("/s", headers=TEXT, content=b"old")).headers["stream-next-offset"]
    await client.delete("/s")
    now = (await client.put("/s", headers=TEXT, content=b"new one")).headers["stream-next-offset"]
    past = str(replace(Offset.parse(now), position=99))
    for offset in (old, past):
        for live in ({}, {"live": "long-poll"}, {"live": "sse"}):
            answer = await client.get("/s", params={"offset": offset, **live})
            assert (answer.status_code, answer.json()["code"]) == (410, "offset_gone")


async def test_reference_spelling_of_the_start(client: httpx.AsyncClient) -> None:
    """The protocol's conformance suite sends it to every server."""
    zero = "0000000000000000_0000000000000000"
    await client.put("/s", headers=TEXT, content=b"text")
    assert (await client.get("/s", params={"offset": zero})).content == b"text"
    fork = {"stream-forked-from": "/s", "stream-fork-offset": zero}
    assert (await client.put("/f", headers=fork)).status_code == 201
    assert (await client.put("/f", headers=fork)).status_code == 200
    assert (await client.get("/f")).content == b""
    assert (await client.get("/s", params={"offset": zero[:-1] + "1"})).status_code == 400


async def test_what_expired_is_gone_at_once_and_makes_room(
    client: httpx.AsyncClient, clock: ShiftedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = clock.wall()
    monkeypatch.setattr(clock, "wall", lambda: now)
    await client.put("/s", headers=TEXT | {"stream-ttl": "100"}, content=b"old")
    now += 90
    assert (await client.get("/s")).status_code == 200  # which puts it off
    now += 90
    assert (await client.head("/s")).status_code == 200  # which does not
    now += 20
    for method in ("GET", "HEAD", "DELETE", "POST"):
        body: dict[str, Any] = {"headers": TEXT, "content": b"x"} if method == "POST" else {}
        assert (await client.request(method, "/s", **body)).status_code == 404, method
    answer = await client.put("/s", headers=JSON)
    assert answer.status_code == 201
    assert (await client.get("/s")).content == b"[]"
