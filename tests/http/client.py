"""A small HTTP/1.1 client that shows each chunk, and whether the body ended properly."""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from tests.http.sse import Heard, Parser

DEADLINE_S = 8.0


class Broken(Exception):
    """The connection ended before the end of the response."""


class Answer:
    def __init__(self, reader: asyncio.StreamReader, status: int, headers: dict[str, str]) -> None:
        self.status = status
        self.headers = headers
        self.heard = Heard()
        self.parser = Parser()
        self.body = b""
        self._reader = reader
        self._left = int(headers["content-length"]) if "content-length" in headers else None
        self._chunked = headers.get("transfer-encoding") == "chunked"
        self._gzip = zlib.decompressobj(31) if headers.get("content-encoding") == "gzip" else None
        self.ended = status in (204, 304) or self._left == 0

    async def read(self) -> bytes:
        """Return the next chunk, or empty bytes at the end of the body.

        Raises:
            Broken: The connection ended inside the body.
        """
        if self.ended:
            return b""
        try:
            data = await self._read()
        except (OSError, asyncio.IncompleteReadError, ValueError) as exc:
            raise Broken from exc
        self.ended = not data or self._left == 0
        if self._gzip is not None:
            data = self._gzip.decompress(data)
        self.body += data
        if self.headers.get("content-type") == "text/event-stream":
            for event in self.parser.feed(data):
                self.heard.take(event)
        return data

    async def _read(self) -> bytes:
        if not self._chunked:
            data = await self._reader.read(65536 if self._left is None else self._left)
            if self._left is not None:
                if not data:
                    raise Broken
                self._left -= len(data)
            return data
        size = int((await self._reader.readuntil(b"\r\n")).partition(b";")[0], 16)
        chunk = await self._reader.readexactly(size + 2)
        return chunk[:-2]

    async def until(self, condition: Any, timeout_s: float = DEADLINE_S) -> None:
        async with asyncio.timeout(timeout_s):
            while not condition():
                await self.read()
                assert condition() or not self.ended, (
                    f"the body ended too early: {self.heard} {self.body!r:.200}"
                )

    async def rest(self, timeout_s: float = DEADLINE_S) -> bytes:
        """Read to the end of the body, and return the whole body."""
        async with asyncio.timeout(timeout_s):
            while not self.ended:
                await self.read()
        return self.body

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@asynccontextmanager
async def requesting(
    port: int,
    path: str,
    *,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    receive_buffer: int | None = None,
) -> AsyncIterator[Answer]:
    """Make a request on a connection of its own, which closes when the block ends.

    Raises:
        OSError, Broken: No response arrived.
    """
    import socket

    connection = socket.socket()
    connection.setblocking(False)
    if receive_buffer is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    try:
        await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", port))
        reader, writer = await asyncio.open_connection(sock=connection, limit=2**17)
    except BaseException:
        connection.close()
        raise
    try:
        lines = [f"{method} {path} HTTP/1.1", "host: app.example"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        if body is not None:
            lines.append(f"content-length: {len(body)}")
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode() + (body or b""))
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        except (OSError, asyncio.IncompleteReadError) as exc:
            raise Broken from exc
        pairs = [line.partition(":") for line in head[1:] if line]
        answer = Answer(
            reader,
            int(head[0].split()[1]),
            {name.strip().lower(): value.strip() for name, _, value in pairs},
        )
        if method == "HEAD":
            answer.ended = True
        yield answer
    finally:
        writer.transport.abort()
        try:
            await writer.wait_closed()
        except OSError:
            pass


async def fetch(
    port: int,
    path: str,
    *,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
) -> Answer:
    async with (
        asyncio.timeout(DEADLINE_S),
        requesting(port, path, method=method, headers=headers, body=body) as answer,
    ):
        await answer.rest()
    return answer


async def post(port: int, path: str, value: Any = None) -> Any:
    """Post ``value`` as JSON. Return the JSON of the response, or ``None`` if its body is empty."""
    answer = await fetch(port, path, method="POST", body=json.dumps(value).encode())
    assert answer.status < 300, (answer.status, answer.body)
    return answer.json if answer.body else None
