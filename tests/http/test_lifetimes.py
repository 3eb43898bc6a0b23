"""The server ends an old connection, but only if the clients of its format reconnect."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from inkstream import HTTPSettings, PersistentTextStreaming, formats
from inkstream.durable import DurableSettings
from inkstream.http.formats import Format
from tests.http.asgi import DEADLINE_S, Call, Gate, ShiftedClock, calling, scope_of

LIFE_S = 60.0
NEVER_CUT: dict[str, str | Format] = {
    "text": "text",
    "ai_sdk": formats.ai_sdk,
    "ag_ui": formats.ag_ui,
    "openai_chat": formats.openai_chat,
}


class Bytes(Call):
    def hear(self, data: bytes) -> None:
        pass


@asynccontextmanager
async def open_calls(app: ASGIApp, path: str, count: int) -> AsyncIterator[list[Bytes]]:
    calls = [Bytes(app, scope_of("GET", path)) for _ in range(count)]
    try:
        for call in calls:
            await call.started()
        yield calls
    finally:
        for call in calls:
            call.disconnect()
        async with asyncio.timeout(DEADLINE_S):
            await asyncio.gather(*[call.task for call in calls], return_exceptions=True)


async def heard_or_cut(call: Bytes, word: bytes) -> bool:
    """Return whether the server closed a response before it sent ``word``."""
    await call.until(lambda: word in call.body or call.finished)
    return word not in call.body


async def test_old_events_connections_end_and_continue(clock: ShiftedClock) -> None:
    """An old connection ends without a terminal event. Its client reconnects and loses nothing."""
    gate = Gate()
    async with PersistentTextStreaming("memory://", clock=clock) as streams:
        routes = streams.asgi(allow_anonymous=True)
        name = await streams.create()
        streams.start(name, gate)
        async with calling(routes, f"/{name}") as call:
            gate.say("one ")
            await call.text("one ")
            clock.ahead_s += LIFE_S * 0.74
            gate.say("two ")
            await call.text("one two ")
            clock.ahead_s += LIFE_S * 0.52
            await call.answered()
            assert call.finished
            assert call.heard.end is None
            assert call.parser.retry == 200
            last = call.heard.last_id
        async with calling(routes, f"/{name}", headers={"last-event-id": str(last)}) as call:
            gate.say("three", None)
            await call.answered()
            assert call.heard.text == "three"
            assert call.parser.retry == 1000


async def test_readers_that_came_together_are_cut_apart(clock: ShiftedClock) -> None:
    """After a deploy, many clients connect at the same moment.

    If the server also ended all their connections at the same moment, they would all reconnect
    together, minute after minute.
    """
    gate = Gate()
    async with PersistentTextStreaming("memory://", clock=clock) as streams:
        routes = streams.asgi(allow_anonymous=True)
        name = await streams.create()
        streams.start(name, gate)
        async with open_calls(routes, f"/{name}", 24) as calls:
            clock.ahead_s += LIFE_S
            gate.say("one")
            for call in calls:  # an old connection ends after its next send
                assert not await heard_or_cut(call, b"one")
            gate.say("two")
            cut = [await heard_or_cut(call, b"two") for call in calls]
        assert 0 < sum(cut) < 24
        gate.say(None)


@pytest.mark.parametrize("name", NEVER_CUT)
async def test_no_other_format_is_cut_by_age(clock: ShiftedClock, name: str) -> None:
    """Clients of the formats in ``NEVER_CUT`` treat the end of a connection as a failure."""
    gate = Gate()
    async with PersistentTextStreaming("memory://", clock=clock) as streams:

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            response = streams.response(Request(scope), stream, format=NEVER_CUT[name])
            await response(scope, receive, send)

        stream = await streams.create()
        streams.start(stream, gate)
        async with open_calls(app, "/", 1) as (call,):
            for word in ("one", "two", "three"):
                gate.say(word)
                assert not await heard_or_cut(call, word.encode())
                clock.ahead_s += 3600
            gate.say("four", None)
            await call.answered()
            assert call.finished
            assert b"four" in call.body


async def test_life_may_be_unbounded(clock: ShiftedClock) -> None:
    gate = Gate()
    http = HTTPSettings(life_s=None)
    async with PersistentTextStreaming("memory://", clock=clock, http=http) as streams:
        name = await streams.create()
        streams.start(name, gate)
        async with calling(streams.asgi(allow_anonymous=True), f"/{name}") as call:
            await call.started()
            clock.ahead_s += 24 * 3600
            gate.say("one", None)
            await call.answered()
            assert call.heard.text == "one"


async def test_durable_events_are_cut_by_age(
    streams: PersistentTextStreaming, clock: ShiftedClock
) -> None:
    settings = DurableSettings(live_s=LIFE_S)
    app = streams.durable_streams(allow_anonymous=True, settings=settings)
    await streams.create("s", kind="log")
    async with open_calls(app, "/s?offset=-1&live=sse", 24) as calls:
        clock.ahead_s += LIFE_S
        await streams.post("s", "one")
        for call in calls:
            await heard_or_cut(call, b"one")
        await streams.post("s", "two")
        cut = [await heard_or_cut(call, b"two") for call in calls]
        clock.ahead_s += LIFE_S / 2
        for call in calls:
            await call.answered()
            assert call.finished
            assert b"streamClosed" not in call.body
    assert 0 < sum(cut) < 24
