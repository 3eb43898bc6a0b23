"""A reverse proxy with faults on command: delays, cuts, hangs, buffering and responses with 502.

The proxy answers one request on each connection, and then closes the connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

_CONNECTION = re.compile(rb"\r\nconnection:[^\r\n]*", re.IGNORECASE)
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_BAD_GATEWAY = (
    b"HTTP/1.1 502 Bad Gateway\r\ncontent-type: text/html\r\nconnection: close\r\n"
    b"content-length: 15\r\n\r\n<h1>Sorry.</h1>"
)


@dataclass
class Proxy:
    """The proxy. A test may change its faults at any time.

    Attributes:
        upstream: The server's port on loopback. If no server listens, the proxy answers 502.
        only: The faults apply only to requests whose target contains these bytes.
        refuse: Answer 502, as during a restart.
        delay_s: Wait for this many seconds before each piece of a response.
        cut_after: Close the connection after this many bytes of a response.
        hang_after: Send nothing more after this many bytes, and keep the connection open.
        buffer: Send a response only when it is complete.
        targets: The requested targets, in order.
        refused: How many requests got 502.
        hung: How many responses hang.
    """

    upstream: int
    port: int = 0
    only: bytes = b"/"
    refuse: bool = False
    delay_s: float = 0.0
    cut_after: int | None = None
    hang_after: int | None = None
    buffer: bool = False
    targets: list[str] = field(default_factory=list)
    refused: int = 0
    hung: int = 0
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _open: set[asyncio.StreamWriter] = field(default_factory=set)

    def asked(self, path: str) -> int:
        return sum(path in target for target in self.targets)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until ``condition`` returns true, for at most 15 s.

        After the first call, ``condition`` is called only when ``refused`` or ``hung`` has changed.
        """
        async with asyncio.timeout(15):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    def drop(self) -> None:
        """Close every connection now, as a proxy does when it restarts."""
        for writer in list(self._open):
            writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await self._answer(reader, writer)
        finally:
            self._open.discard(writer)
            await _close(writer)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = _LENGTH.search(head)
        body = await reader.readexactly(int(length[1])) if length else b""
        target = head.split(b" ", 2)[1]
        self.targets.append(target.decode("latin-1"))
        ruled = self.only in target
        upstream = None
        if not (ruled and self.refuse):
            with contextlib.suppress(OSError):
                upstream = await asyncio.open_connection("127.0.0.1", self.upstream)
        if upstream is None:
            self.refused += 1
            self._changed.set()
            writer.write(_BAD_GATEWAY)
            await writer.drain()
            return
        source, sink = upstream
        self._open.add(sink)
        try:
            sink.write(_CONNECTION.sub(b"", head)[:-2] + b"connection: close\r\n\r\n" + body)
            await sink.drain()
            # The server behind this proxy must notice if the client disconnects.
            gone = asyncio.ensure_future(reader.read())
            relay = asyncio.ensure_future(self._relay(source, writer, ruled))
            try:
                await asyncio.wait({gone, relay}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in (gone, relay):
                    task.cancel()
                await asyncio.gather(gone, relay, return_exceptions=True)
        finally:
            self._open.discard(sink)
            await _close(sink)

    async def _relay(
        self, source: asyncio.StreamReader, writer: asyncio.StreamWriter, ruled: bool
    ) -> None:
        sent = 0
        held: list[bytes] = []
        while piece := await source.read(65536):
            if ruled and self.delay_s:
                await asyncio.sleep(self.delay_s)
            if ruled and self.buffer:
                held.append(piece)
                continue
            if ruled and self.cut_after is not None and sent + len(piece) >= self.cut_after:
                writer.write(piece[: max(0, self.cut_after - sent)])
                await writer.drain()
                return
            if ruled and self.hang_after is not None and sent + len(piece) >= self.hang_after:
                writer.write(piece[: max(0, self.hang_after - sent)])
                self.hung += 1
                self._changed.set()
                await asyncio.get_running_loop().create_future()
            writer.write(piece)
            sent += len(piece)
            await writer.drain()
        writer.writelines(held)
        await writer.drain()


@dataclass
class Switch:
    """An address whose server a test can change, like the virtual address of a primary.

    Attributes:
        upstream: The port on loopback of the server that gets new connections.
    """

    upstream: int
    port: int = 0
    _open: set[asyncio.StreamWriter] = field(default_factory=set)
    _relays: set[asyncio.Task[None]] = field(default_factory=set)

    def drop(self) -> None:
        """Close all connections. Otherwise they would still lead to the old server."""
        for writer in list(self._open):
            writer.transport.abort()

    def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        relay = asyncio.get_running_loop().create_task(self._relay(reader, writer))
        self._relays.add(relay)
        relay.add_done_callback(self._relays.discard)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            source, sink = await asyncio.open_connection("127.0.0.1", self.upstream)
        except OSError:
            writer.transport.abort()
            return
        self._open |= {writer, sink}
        relays = [
            asyncio.ensure_future(_copy(*pair)) for pair in ((reader, sink), (source, writer))
        ]
        try:
            await asyncio.wait(relays, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._open -= {writer, sink}
            for relay in relays:
                relay.cancel()
            await asyncio.gather(*relays, return_exceptions=True)
            await _close(sink)
            await _close(writer)


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while piece := await source.read(65536):
            sink.write(piece)
            await sink.drain()


@contextlib.asynccontextmanager
async def switch_before(upstream: int) -> AsyncIterator[Switch]:
    switch = Switch(upstream)
    server = await asyncio.start_server(switch.serve, "127.0.0.1", 0)
    switch.port = server.sockets[0].getsockname()[1]
    try:
        yield switch
    finally:
        server.close()
        switch.drop()
        await server.wait_closed()
        await asyncio.gather(*switch._relays, return_exceptions=True)


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


@contextlib.asynccontextmanager
async def proxy_before(upstream: int) -> AsyncIterator[Proxy]:
    proxy = Proxy(upstream)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        proxy.drop()
        await server.wait_closed()
        await asyncio.sleep(0)
