"""Python clients of other projects read a stream, and show the pitfalls in docs/readers.md."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any

import aiohttp
import httpx
import httpx_sse
import pytest
import requests

from inkstream import HTTPSettings
from tests.http.servers import Server, serving
from tests.proxy import Proxy, proxy_before

pytestmark = [pytest.mark.interop, pytest.mark.timeout(60)]

# In UTF-8, "Å" ends with the byte 0x85, which is a line end in Latin-1.
SAID: list[Any] = [
    "Grü\u2028ße,\u2029 Ångström\x85\x0b\x1c\r\n\0",
    *({"n": n, "text": "Å\u2028\x85"} for n in range(120)),
    "done",
]
END = {"end": "done"}
CUT_AFTER = 2000  # bytes; the package requests may lose the last 512 bytes before a cut
BIG = {"big": "x" * 600_000}
HTTPX = httpx.Timeout(38, connect=6)
REQUESTS = (6.0, 38.0)
AIOHTTP = aiohttp.ClientTimeout(total=None, sock_connect=6, sock_read=38)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("readers")) as server:
        yield server


@pytest.fixture
async def proxy(server: Server) -> AsyncIterator[Proxy]:
    async with proxy_before(server.port) as proxy:
        yield proxy


async def say(server: Server, *items: Any) -> str:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}") as http:
        stream_id = (await http.post("/create?start")).json()["id"]
        await http.post(f"/say/{stream_id}", json=items)
    return f"/streams/{stream_id}"


class Events:
    """The events that a small reader has received.

    Attributes:
        last: The id of the last complete event.
    """

    def __init__(self) -> None:
        self.items: list[Any] = []
        self.last = ""
        self.ended = False
        self._fields: dict[str, str] = {}

    @property
    def headers(self) -> dict[str, str]:
        return {"Last-Event-ID": self.last} if self.last else {}

    def take(self, kind: str, data: str, last: str) -> None:
        self.last = last or self.last
        self.ended = self.ended or kind == "end"
        if data and kind != "end":
            self.items.append(json.loads(data))

    def line(self, line: str) -> None:
        """Take a line. The blank line after an event completes the event and changes ``last``."""
        if line:
            name, _, value = line.partition(":")
            self._fields[name] = value.removeprefix(" ")
            return
        fields, self._fields = self._fields, {}
        self.take(fields.get("event", ""), fields.get("data", ""), fields.get("id", ""))

    def begin(self) -> None:
        """Forget the incomplete event that a broken connection left."""
        self._fields = {}


async def with_httpx(url: str, events: Events) -> None:
    async with httpx.AsyncClient(timeout=HTTPX) as http:
        while not events.ended:
            try:
                async with httpx_sse.aconnect_sse(
                    http, "GET", url, headers=events.headers
                ) as source:
                    async for event in source.aiter_sse():
                        events.take(event.event, event.data, event.id)
            except httpx.TransportError:
                pass


def read_with_requests(url: str, events: Events) -> None:
    with requests.Session() as session:
        while not events.ended:
            events.begin()
            try:
                with session.get(
                    url, headers=events.headers, stream=True, timeout=REQUESTS
                ) as answer:
                    for line in answer.iter_lines():
                        events.line(line.decode())
            except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError):
                pass


async def with_requests(url: str, events: Events) -> None:
    await asyncio.to_thread(read_with_requests, url, events)


async def with_aiohttp(url: str, events: Events) -> None:
    async with aiohttp.ClientSession(timeout=AIOHTTP) as session:
        while not events.ended:
            events.begin()
            try:
                async with session.get(url, headers=events.headers) as answer:
                    async for line in answer.content:
                        if line.endswith(b"\n"):
                            events.line(line.decode().removesuffix("\n"))
            except aiohttp.ClientError:
                pass


@pytest.mark.parametrize("follow", [with_httpx, with_requests, with_aiohttp])
async def test_resumes_by_hand(follow: Any, server: Server, proxy: Proxy) -> None:
    """G2: although connections are cut inside events, no message is lost or doubled."""
    path = await say(server, *SAID, END)
    proxy.cut_after = CUT_AFTER
    events = Events()
    await follow(f"http://127.0.0.1:{proxy.port}{path}", events)
    assert len(proxy.targets) > 4, "the proxy must cut several connections"
    text = "".join(item for item in events.items if isinstance(item, str))
    assert text == "".join(item for item in SAID if isinstance(item, str))
    assert [item for item in events.items if isinstance(item, dict)] == SAID[1:-1]


async def test_line_iterators_split_only_at_line_ends(server: Server) -> None:
    """The line iterators of ``httpx`` and ``requests`` also split text at U+2028 and U+0085.

    So the server escapes these characters in events.
    """
    url = f"http://127.0.0.1:{server.port}{await say(server, *SAID, END)}"
    async with httpx.AsyncClient(timeout=HTTPX) as http, http.stream("GET", url) as response:
        lines = [line async for line in response.aiter_lines()]
    assert items_of(lines) == items_of(await asyncio.to_thread(lines_with_requests, url, "utf-8"))
    assert items_of(lines)[1:-1] == SAID[1:-1]


async def test_requests_takes_events_for_latin_1(server: Server) -> None:
    """With ``decode_unicode``, the package ``requests`` decodes events as Latin-1.

    So the last byte of an "Å" becomes a line end.
    """
    url = f"http://127.0.0.1:{server.port}{await say(server, *SAID, END)}"
    right = await asyncio.to_thread(lines_with_requests, url, "utf-8")
    assert len(await asyncio.to_thread(lines_with_requests, url, None)) > len(right)


def lines_with_requests(url: str, encoding: str | None) -> list[str]:
    with requests.get(url, stream=True, timeout=REQUESTS) as answer:
        if encoding is not None:
            answer.encoding = encoding
        lines: Iterator[Any] = answer.iter_lines(decode_unicode=True)
        return list(lines)


def items_of(lines: Iterable[str]) -> list[Any]:
    events = Events()
    for line in lines:
        events.line(line)
    assert events.ended
    return events.items


async def test_httpx_sse_passes_events_without_data(server: Server) -> None:
    """httpx-sse passes on an event that has only ``retry``, and ``json()`` of that event fails."""
    url = f"http://127.0.0.1:{server.port}{await say(server, 'a', END)}"
    async with (
        httpx.AsyncClient(timeout=HTTPX) as http,
        httpx_sse.aconnect_sse(http, "GET", url) as source,
    ):
        events = [event async for event in source.aiter_sse()]
    assert [event.data for event in events[:2]] == ["", '"a"']
    with pytest.raises(json.JSONDecodeError):
        events[0].json()


async def quiet(server: Server) -> str:
    """Start a stream that sends one text and then nothing. Return the stream's address."""
    return f"http://127.0.0.1:{server.port}{await say(server, 'a')}"


async def test_read_timeout_of_httpx(server: Server) -> None:
    """In httpx, a read timeout that is shorter than the pings' interval breaks a quiet connection.

    The default of httpx, 5 s, is shorter than this interval, 15 s.
    """
    words: list[str] = []
    take = words.append

    async def read(http: httpx.AsyncClient, url: str) -> None:
        timeout = httpx.Timeout(5, read=1)
        async with httpx_sse.aconnect_sse(http, "GET", url, timeout=timeout) as source:
            async for event in source.aiter_sse():
                take(event.data)

    async with httpx.AsyncClient() as http:
        assert http.timeout.read == 5 < HTTPSettings().ping_s
        with pytest.raises(httpx.ReadTimeout):
            await read(http, await quiet(server))
    assert words == ["", '"a"'], "the client must receive the first events"


async def test_read_timeout_of_requests(server: Server) -> None:
    """In the package ``requests``, a read timeout within a body raises ``ConnectionError``."""
    url = await quiet(server)

    def read() -> None:
        with requests.get(url, stream=True, timeout=(6, 1)) as answer:
            assert answer.ok
            for _ in answer.iter_lines():
                pass

    with pytest.raises(requests.ConnectionError, match="timed out"):
        await asyncio.to_thread(read)


async def by_lines(answer: aiohttp.ClientResponse) -> bytes:
    return b"".join([line async for line in answer.content])


async def test_aiohttp_reads_no_long_line(server: Server) -> None:
    """In aiohttp, a line longer than twice ``read_bufsize`` raises an error.

    This error is not a ``ClientError``.
    """
    url = f"http://127.0.0.1:{server.port}{await say(server, BIG, END)}"
    async with aiohttp.ClientSession(timeout=AIOHTTP) as session, session.get(url) as answer:
        with pytest.raises((ValueError, aiohttp.http_exceptions.LineTooLong)):
            await by_lines(answer)


async def test_aiohttp_reads_a_large_object(server: Server) -> None:
    """A client can read a large object with ``iter_any``, or with a larger ``read_bufsize``."""
    url = f"http://127.0.0.1:{server.port}{await say(server, BIG, END)}"
    async with aiohttp.ClientSession(timeout=AIOHTTP) as session:
        async with session.get(url) as answer:
            pieces = b"".join([piece async for piece in answer.content.iter_any()])
        async with session.get(url, read_bufsize=2**20) as answer:
            lines = await by_lines(answer)
    for body in (pieces, lines):
        assert items_of(body.decode().split("\n")) == [BIG]
