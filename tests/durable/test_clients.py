"""The official clients of the Durable Streams protocol read and write inkstream's streams.

The clients talk to `inkstream serve`. The application (``streams``) uses the same SQLite file, but
runs in the process of the test.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import pytest
from durable_streams import AsyncDurableStream, astream

from inkstream import PersistentTextStreaming
from inkstream._types import JSON
from inkstream.facade.handles import StreamWriter
from tests.durable.nodejs import DEADLINE_S, client
from tests.durable.server import Server, serving

pytestmark = [pytest.mark.interop, pytest.mark.timeout(90)]

END = {
    "type": "data-inkstream-end",
    "transient": True,
    "inkstream:end": {"status": "done", "code": None, "message": None, "result": None},
}
UI_MESSAGE = [
    {"type": "start", "messageId": "m"},
    {"type": "text-start", "id": "t"},
    {"type": "text-delta", "id": "t", "delta": "Hello "},
    {"type": "text-delta", "id": "t", "delta": "world"},
    {"type": "text-end", "id": "t"},
    {"type": "finish"},
]
CHAT = [
    {"type": "RUN_STARTED", "runId": "r", "threadId": "t"},
    {"type": "TEXT_MESSAGE_START", "messageId": "m", "role": "assistant"},
    {"type": "TEXT_MESSAGE_CONTENT", "messageId": "m", "delta": "Hello "},
    {"type": "TEXT_MESSAGE_CONTENT", "messageId": "m", "delta": "world"},
    {"type": "TEXT_MESSAGE_END", "messageId": "m"},
    {"type": "RUN_FINISHED", "runId": "r", "threadId": "t"},
]


@pytest.fixture
async def streams(tmp_path: Path) -> AsyncIterator[PersistentTextStreaming]:
    async with PersistentTextStreaming(f"sqlite:///{tmp_path / 'streams.db'}") as instance:
        yield instance


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    database = f"sqlite:///{tmp_path / 'streams.db'}"
    async with serving(database, "--long-poll-timeout", "0.5") as running:
        yield running


@asynccontextmanager
async def writing(streams: PersistentTextStreaming, name: str) -> AsyncIterator[StreamWriter]:
    async with streams.write(await streams.create(name)) as writer:
        yield writer


async def write(writer: StreamWriter, *messages: Any) -> None:
    for message in messages:
        await writer.append(message)
    await writer.flush()


@pytest.mark.parametrize("live", ["sse", "long-poll", pytest.param("auto", marks=pytest.mark.soak)])
async def test_typescript_follows_what_the_component_writes(
    streams: PersistentTextStreaming, server: Server, live: str
) -> None:
    """G2, G5: the client gets live text in order, then the stream's end, and then stops."""
    async with writing(streams, "s") as writer, client(live, server.url + "s") as follower:
        await write(writer, "Hello\r\n\u0000")
        assert await follower.told() == "Hello\r\n\u0000"
        await write(writer, {"tool": 1}, " wörld")
        assert [await follower.told() for _ in range(2)] == [{"tool": 1}, " wörld"]
        await writer.finish()
        assert await follower.rest() == [END]
    async with client(live, server.url + "s") as late:
        assert await late.rest() == ["Hello\r\n\u0000", {"tool": 1}, " wörld", END]


async def test_typescript_produces_what_the_component_reads(
    streams: PersistentTextStreaming, server: Server
) -> None:
    """G2, G11: if a producer sends several batches at once, each message is stored once."""
    async with client("producer", server.url + "s") as producer:
        [closed] = await producer.rest()
    body = await streams.read("s")
    expected: list[JSON] = [{"i": i, "text": "ä\r\n\u0000"} for i in range(500)]
    assert list(body.parts) == expected
    assert (body.status, body.offset) == ("done", closed["finalOffset"] + ".end")


async def test_ai_sdk_follows_and_comes_back(
    streams: PersistentTextStreaming, server: Server
) -> None:
    """G2, G5: the message grows in two clients, and the stream's end causes no error."""
    async with writing(streams, "s") as writer, client("ai-sdk", server.url + "s") as chat:
        await write(writer, *UI_MESSAGE[:3])
        await chat.until("Hello ")
        async with client("ai-sdk-resume", server.url + "s") as reloaded:
            await reloaded.until("Hello ")
            await write(writer, *UI_MESSAGE[3:])
            await writer.finish()
            for follower in (chat, reloaded):
                *_, text, parts = await follower.rest()
                assert (text, parts) == ("Hello world", ["text"])


async def test_tanstack_follows_what_the_component_writes(
    streams: PersistentTextStreaming, server: Server
) -> None:
    """G2: TanStack's client gets all text.

    TanStack's adapter may lose text that arrives with the end, so the test sends the end alone.
    """
    async with writing(streams, "s") as writer, client("tanstack", server.url + "s") as chat:
        await write(writer, *CHAT[:3])
        await chat.until("Hello ")
        await write(writer, *CHAT[3:])
        await chat.until("Hello world")
        await writer.finish()
        assert set(await chat.rest()) <= {"Hello world"}
    async with client("tanstack-snapshot", server.url + "s") as finished:
        assert await finished.rest() == [["Hello world"]]


@pytest.mark.parametrize("live", ["sse", "long-poll"])
async def test_python_follows_what_the_component_writes(
    streams: PersistentTextStreaming, server: Server, live: Literal["sse", "long-poll"]
) -> None:
    """G2, G5: the Python client gets all text, and gets the end as the last message."""
    async with (
        asyncio.timeout(DEADLINE_S),
        writing(streams, "s") as writer,
        astream(server.url + "s", offset="-1", live=live) as response,
    ):
        told = response.iter_json()
        await write(writer, "Hello")
        assert await anext(told) == "Hello"
        await write(writer, {"tool": 1})
        assert await anext(told) == {"tool": 1}
        await writer.finish()
        assert await anext(told) == END


async def test_python_writes_what_the_component_reads(
    streams: PersistentTextStreaming, server: Server
) -> None:
    """G2, G11: the application reads the JSON messages that the Python client wrote."""
    async with await AsyncDurableStream.create(
        server.url + "s", content_type="application/json"
    ) as made:
        await asyncio.gather(*[made.append({"i": i, "text": "ä\r\n"}) for i in range(200)])
    body = await streams.read("s")
    expected: list[JSON] = [{"i": i, "text": "ä\r\n"} for i in range(200)]
    assert list(body.parts) == expected
    assert body.status == "open"
