"""A fake provider on loopback that gives one scripted reply to each request."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Reply:
    """The reply to one request.

    Attributes:
        events: The data of each event. A ``type`` in the data becomes the event's name.
        status: The HTTP status. If the status is not 200, the body is the first event as JSON.
        done: Send ``[DONE]`` after the events.
        cut: Break the connection after the events, before the end of the body.
        hang: Send the events, then nothing until the client disconnects.
        endless: Send the events, then the last event again and again until the client disconnects.
        mute: Send nothing at all, not even a status line, until the client disconnects.
    """

    events: Sequence[Any]
    status: int = 200
    done: bool = False
    cut: bool = False
    hang: bool = False
    endless: bool = False
    mute: bool = False

    def body(self) -> list[bytes]:
        if self.status != 200:
            return [json.dumps(self.events[0]).encode()]
        made = []
        for event in self.events:
            name = f"event: {event['type']}\n" if "type" in event else ""
            made.append(f"{name}data: {json.dumps(event)}\n\n".encode())
        return [*made, b"data: [DONE]\n\n"] if self.done else made


@dataclass(slots=True)
class Provider:
    """The fake provider's server.

    It sets ``gone`` when the client leaves a ``hang``, ``endless`` or ``mute`` reply.
    """

    replies: list[Reply]
    port: int = 0
    requests: list[tuple[str, Any]] = field(default_factory=list)
    gone: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await self._answer(reader, writer)
        writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        fields = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if line)
        length = int(fields.get("content-length", 0))
        body = await reader.readexactly(length) if length else b"{}"
        self.requests.append((head.split(" ")[1], json.loads(body)))
        reply = self.replies.pop(0)
        if reply.mute:
            await reader.read()
            self.gone.set()
            return
        kind = "text/event-stream" if reply.status == 200 else "application/json"
        writer.write(f"HTTP/1.1 {reply.status} X\r\ncontent-type: {kind}\r\n".encode())
        writer.write(b"connection: close\r\ntransfer-encoding: chunked\r\n\r\n")
        for chunk in reply.body():
            writer.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
            await writer.drain()
        if reply.endless:
            try:
                while not reader.at_eof():
                    writer.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
                    await writer.drain()
                    await asyncio.sleep(0.02)
            finally:
                self.gone.set()
        elif reply.hang:
            await reader.read()
            self.gone.set()
        elif not reply.cut:
            writer.write(b"0\r\n\r\n")
            await writer.drain()


@contextlib.asynccontextmanager
async def playing(*replies: Reply) -> AsyncIterator[Provider]:
    provider = Provider(list(replies))
    server = await asyncio.start_server(provider.serve, "127.0.0.1", 0)
    provider.port = server.sockets[0].getsockname()[1]
    try:
        yield provider
    finally:
        server.close()
        await server.wait_closed()
