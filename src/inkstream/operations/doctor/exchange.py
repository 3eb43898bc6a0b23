"""Make one HTTP/1.1 request on a separate socket, and record when and how the response arrives.

Most HTTP clients hide what the doctor needs to see: they undo compression, join chunks, and may
accept a closed connection as the end of a response.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, Self
from urllib.parse import urlsplit

from inkstream._errors import InkstreamError, InvalidInput

_MOST_BYTES: Final = 1 << 20
_CONNECT_S: Final = 10.0
_BROKEN: Final = (asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError, ValueError)


class EndpointError(InkstreamError):
    """The endpoint cannot be reached, or it sent no HTTP response."""

    code = "endpoint"


class Ending(StrEnum):
    """How a response ended."""

    COMPLETE = "complete"
    BROKEN = "broken"
    UNMARKED = "unmarked"
    """The connection was closed, and nothing else shows where the response ends."""
    WAITING = "waiting"
    """The response had not ended when the doctor stopped waiting."""


@dataclass(slots=True)
class Received:
    """An HTTP response.

    Attributes:
        version: The HTTP version of the status line, such as ``"1.1"``.
        status: The HTTP status.
        headers: The response's headers; their names are in lower case.
        pieces: The pieces of the body, each with the seconds from the request to its arrival.
        ended: How the response ended.
        ended_s: How many seconds after the request the response ended, or the doctor stopped
            waiting.
    """

    version: str
    status: int
    headers: dict[str, str]
    pieces: list[tuple[float, bytes]] = field(default_factory=list)
    ended: Ending = Ending.WAITING
    ended_s: float = 0.0

    @property
    def body(self) -> bytes:
        """The body, as far as it was received."""
        return b"".join(data for _, data in self.pieces)

    def json(self) -> dict[str, Any] | None:
        """Return the body if it is a JSON object, else ``None``."""
        try:
            value = json.loads(self.body)
        except ValueError:
            return None
        return value if isinstance(value, dict) else None

    def lines(self) -> Iterator[tuple[float, bytes]]:
        """Yield each complete line, with the time at which the end of the line arrived."""
        rest = b""
        for at, data in self.pieces:
            *whole, rest = (rest + data).split(b"\n")
            for line in whole:
                yield at, line


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The address of a probe.

    Attributes:
        host, port, path: The host, port and path of the probe's URL.
        tls: The TLS context of requests; ``None`` for ``http://``.
        browser: A TLS context that offers HTTP/2, as browsers do.
        headers: Headers of every request.
    """

    host: str
    port: int
    path: str
    tls: ssl.SSLContext | None
    browser: ssl.SSLContext | None
    headers: Mapping[str, str]

    @classmethod
    def parse(cls, url: str, headers: Mapping[str, str], *, insecure: bool = False) -> Self:
        """Return the endpoint of a URL.

        Raises:
            InvalidInput: The URL does not begin with http:// or https://, or contains a user name;
                or the path or a header is not ASCII.
        """
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as exc:
            raise InvalidInput(f"this is not a URL: {exc}") from None
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
            # The message omits the URL, because the URL may contain a password.
            raise InvalidInput("pass an http:// or https:// URL without a user name and password")
        for text in (parts.path, *headers, *headers.values()):
            if not text.isascii() or any(c in text for c in "\r\n\0"):
                raise InvalidInput("the path and the headers must be ASCII")
        tls = browser = None
        if parts.scheme == "https":
            # A context offers the same protocols on all its connections, and only one connection of
            # the doctor may offer HTTP/2. So there are two contexts.
            tls = _context(["http/1.1"], insecure=insecure)
            browser = _context(["h2", "http/1.1"], insecure=insecure)
        port = port or (443 if tls else 80)
        return cls(parts.hostname, port, parts.path.rstrip("/"), tls, browser, headers)

    async def _connect(
        self, tls: ssl.SSLContext | None
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        try:
            async with asyncio.timeout(_CONNECT_S):
                return await asyncio.open_connection(self.host, self.port, ssl=tls)
        except (OSError, TimeoutError) as exc:
            raise EndpointError(
                f"{self.host}:{self.port} cannot be reached: {str(exc) or 'no response'}"
            ) from exc

    async def protocol(self) -> str | None:
        """Return the protocol that a browser would use: ``"h2"``, ``"http/1.1"``, or ``None``."""
        _, writer = await self._connect(self.browser)
        chosen: str | None = writer.get_extra_info("ssl_object").selected_alpn_protocol()
        await _close(writer)
        return chosen

    async def get(
        self, path: str, headers: Mapping[str, str] | None = None, *, within_s: float
    ) -> Received:
        """Return the response to a request, as far as it arrived within ``within_s`` seconds.

        Raises:
            EndpointError: No response arrived, or the response was not HTTP.
        """
        reader, writer = await self._connect(self.tls)
        host = f"[{self.host}]" if ":" in self.host else self.host
        standard = (80, 443)[self.tls is not None]
        sent = {
            "host": host if self.port == standard else f"{host}:{self.port}",
            "user-agent": "inkstream-doctor",
            "accept": "text/event-stream, application/json",
            "connection": "close",
            **{name.lower(): value for name, value in self.headers.items()},
            **(headers or {}),
        }
        lines = [f"GET {self.path}{path} HTTP/1.1", *(f"{k}: {v}" for k, v in sent.items())]
        try:
            loop = asyncio.get_running_loop()
            began = loop.time()
            writer.write("\r\n".join([*lines, "", ""]).encode())
            return await _read_answer(reader, began, within_s)
        finally:
            await _close(writer)


def _context(protocols: list[str], *, insecure: bool) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.set_alpn_protocols(protocols)
    if insecure:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    try:
        async with asyncio.timeout(1):
            await writer.wait_closed()
    except (OSError, TimeoutError):
        pass


async def _read_answer(reader: asyncio.StreamReader, began: float, within_s: float) -> Received:
    loop = asyncio.get_running_loop()
    answer = None
    try:
        async with asyncio.timeout_at(began + within_s):
            answer = await _read_head(reader)
            answer.ended = await _read_body(reader, answer, began)
    except TimeoutError:
        if answer is None:
            raise EndpointError(f"no response came within {within_s:.0f} s") from None
    except _BROKEN as exc:
        if answer is None:
            raise EndpointError(f"the response is not HTTP: {exc!r:.100}") from exc
        answer.ended = Ending.BROKEN
    answer.ended_s = loop.time() - began
    return answer


async def _read_head(reader: asyncio.StreamReader) -> Received:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    protocol, status, *_ = head[0].split(" ", 2)
    name, _, version = protocol.partition("/")
    if name != "HTTP":
        raise ValueError(head[0])
    headers = {}
    for line in head[1:]:
        key, _, value = line.partition(":")
        headers[key.strip().lower()] = value.strip()
    if 100 <= int(status) < 200:
        return await _read_head(reader)
    return Received(version, int(status), headers)


async def _read_body(reader: asyncio.StreamReader, answer: Received, began: float) -> Ending:
    loop = asyncio.get_running_loop()
    size = 0

    def took(data: bytes) -> None:
        nonlocal size
        size += len(data)
        if size > _MOST_BYTES:
            raise ValueError("the response is too long to come from the probe")
        answer.pieces.append((loop.time() - began, data))

    if "chunked" in answer.headers.get("transfer-encoding", "").lower():
        while length := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
            took(await reader.readexactly(min(length, _MOST_BYTES + 1)))
            await reader.readexactly(2)
        while await reader.readuntil(b"\r\n") != b"\r\n":
            pass
        return Ending.COMPLETE
    expected = answer.headers.get("content-length")
    while expected is None or size < int(expected):
        data = await reader.read(65536)
        if not data:
            return Ending.UNMARKED if expected is None else Ending.BROKEN
        took(data)
    return Ending.COMPLETE
