"""A fake OpenAI-compatible server. A test chooses its answers and its faults."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

KEY = "sk-test-key"


@dataclass
class Provider:
    """Sends its ``chunks`` one by one, waits for ``go_on``, and closes the connection.

    ``pace_s`` is the pause after each chunk, in seconds. If ``chunked`` is false, the body breaks
    off without its last HTTP chunk.
    """

    chunks: list[bytes] = field(default_factory=list)
    status: int = 200
    chunked: bool = True
    pace_s: float = 0.0
    requests: list[tuple[bytes, Any]] = field(default_factory=list)
    port: int = 0
    go_on: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1/"

    @property
    def environment(self) -> dict[str, str]:
        return {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": self.url, "OPENAI_MODEL": "small"}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            await self._answer(reader, writer)
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            int(line.partition(b":")[2])
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"content-length:")
        )
        self.requests.append((head, json.loads(await reader.readexactly(length))))
        writer.write(b"HTTP/1.1 %d X\r\ncontent-type: text/event-stream\r\n" % self.status)
        writer.write(b"transfer-encoding: chunked\r\n\r\n")
        for chunk in self.chunks:
            writer.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
            await writer.drain()
            if self.pace_s:
                await asyncio.sleep(self.pace_s)
        await self.go_on.wait()
        if self.chunked:
            writer.write(b"0\r\n\r\n")


@contextlib.asynccontextmanager
async def playing_provider(*chunks: bytes) -> AsyncIterator[Provider]:
    """Run a provider that keeps each connection open until ``go_on`` is set or the block ends."""
    played = Provider(list(chunks))
    server = await asyncio.start_server(played.serve, "127.0.0.1", 0)
    played.port = server.sockets[0].getsockname()[1]
    try:
        yield played
    finally:
        played.go_on.set()
        server.close()
        await server.wait_closed()


def delta(text: str | None, **choice: Any) -> bytes:
    body = {"choices": [{"index": 0, "delta": {"content": text}, **choice}]}
    return b"data: " + json.dumps(body, ensure_ascii=False).encode() + b"\n\n"


FINISH = delta(None, finish_reason="stop")
USAGE = b'data: {"choices": [], "usage": {"total_tokens": 7}}\n\n'
DONE = b"data: [DONE]\n\n"
