from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from inkstream import PersistentTextStreaming, StreamWriter
from inkstream.http.routes import StreamRoutes
from tests.http.asgi import ask, calling

PIECES: list[Any] = [
    "plain text, " * 50_000,
    {"n": 1.0, "s": "\x00\r\n\u2028"},
    '"quoted"\\ \r\n\t👩\u200d👩 ' * 30_000,
    "\x00\x1f and what else is rare ",
    "ä" * 300_000,
    {"last": True},
]
EXPECTED = [PIECES[0], PIECES[1], PIECES[2] + PIECES[3] + PIECES[4], PIECES[5]]


@asynccontextmanager
async def writing(streams: PersistentTextStreaming) -> AsyncIterator[StreamWriter]:
    """Write a stream that is too long for one read of the store."""
    name = await streams.create()
    async with streams.write(name) as writer:
        for piece in PIECES:
            await writer.append(piece)
        await writer.flush()
        yield writer


class Held:
    """An app that sends its status and headers, and waits for ``go`` before it sends its body."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.reached = asyncio.Event()
        self.go = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def held(message: Message) -> None:
            if message["type"] == "http.response.body":
                self.reached.set()
                await self.go.wait()
            await send(message)

        await self.app(scope, receive, held)


@pytest.mark.parametrize("ended", [True, False])
async def test_a_large_snapshot_is_exact_and_sent_in_pieces(
    streams: PersistentTextStreaming, routes: StreamRoutes, ended: bool
) -> None:
    """G9, G11: the server reads a long text in pages and sends it in pieces, without a change."""
    async with writing(streams) as writer:
        if ended:
            await writer.finish()
        call = await ask(routes, f"/{writer.stream_id}?format=json")
    assert call.json["parts"] == EXPECTED
    assert call.json["status"] == ("done" if ended else "streaming")
    assert max(len(message["body"]) for message in call.messages[1:]) < len(call.body) / 4


async def test_a_snapshot_stops_at_its_tail(
    streams: PersistentTextStreaming, routes: StreamRoutes
) -> None:
    """G2: a snapshot leaves out text that is written while the server sends the snapshot.

    A client that continues at the snapshot's offset gets that text.
    """
    async with writing(streams) as writer:
        path = f"/{writer.stream_id}"
        held = Held(routes)
        async with calling(held, f"{path}?format=json") as call:
            await held.reached.wait()
            await writer.append("later")
            await writer.finish()
            held.go.set()
            await call.answered()
    assert call.json["parts"] == EXPECTED
    assert call.json["status"] == "streaming"
    assert (await ask(routes, f"{path}?offset={call.json['offset']}")).heard.text == "later"


async def test_an_incomplete_snapshot_is_invalid_json(
    streams: PersistentTextStreaming, routes: StreamRoutes
) -> None:
    """G2: if a stream is deleted while the server sends its snapshot, the JSON breaks off.

    So no client takes the snapshot for the whole text.
    """
    async with writing(streams) as writer:
        await writer.finish()
    held = Held(routes)
    async with calling(held, f"/{writer.stream_id}?format=json") as call:
        await held.reached.wait()
        await streams.delete(writer.stream_id)
        held.go.set()
        await call.answered()
    assert not call.finished
    with pytest.raises(json.JSONDecodeError):
        json.loads(call.body)


async def test_a_disconnect_ends_the_snapshot(
    streams: PersistentTextStreaming, routes: StreamRoutes
) -> None:
    """G9: after a disconnect, the server sends no further piece of the snapshot."""
    held = Held(routes)
    async with (
        writing(streams) as writer,
        calling(held, f"/{writer.stream_id}?format=json") as call,
    ):
        await held.reached.wait()
        call.disconnect()
        held.go.set()
        await call.answered()
    assert not call.finished
    assert len(call.messages) == 2, "only the headers and one piece may be sent"
