"""`inkstream serve` works over real sockets: after kills, with many readers, and when it stops."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from inkstream import PersistentTextStreaming
from inkstream.wire import Offset
from tests.conftest import Rounds
from tests.durable.server import serving

JSON = {"content-type": "application/json"}
TEXT = {"content-type": "text/plain"}
DEADLINE_S = 10.0


@asynccontextmanager
async def reading(
    client: httpx.AsyncClient, url: str, offset: str = "-1"
) -> AsyncIterator[AsyncIterator[tuple[str, str]]]:
    """Follow a stream as server-sent events. Yield an iterator of pairs of event name and data."""
    params = {"offset": offset, "live": "sse"}
    async with client.stream("GET", url, params=params, timeout=DEADLINE_S) as response:
        assert response.status_code == 200
        yield _events(response)


async def _events(response: httpx.Response) -> AsyncIterator[tuple[str, str]]:
    name, data = "", list[str]()
    async for line in response.aiter_lines():
        if not line:
            if name:
                yield name, "\n".join(data)
            name, data = "", []
        elif line.startswith("event: "):
            name = line[7:]
        elif line.startswith("data:"):
            data.append(line[5:].removeprefix(" "))


async def data_of(events: AsyncIterator[tuple[str, str]]) -> str:
    """Return the data of the next event ``data``."""
    async with asyncio.timeout(DEADLINE_S):
        async for name, data in events:
            if name == "data":
                return data
    raise AssertionError("the stream ended")


async def until_up_to_date(events: AsyncIterator[tuple[str, str]]) -> dict[str, Any]:
    """Return the data of the next event ``control`` with the field ``upToDate``."""
    async with asyncio.timeout(DEADLINE_S):
        async for name, data in events:
            if name == "control" and json.loads(data).get("upToDate"):
                control: dict[str, Any] = json.loads(data)
                return control
    raise AssertionError("the stream ended")


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(limits=limits, timeout=DEADLINE_S) as made:
        yield made


@pytest.fixture
def database(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'streams.db'}"


@pytest.mark.timeout(120)
async def test_a_producer_is_exactly_once_through_kills(
    database: str, client: httpx.AsyncClient, rounds: Rounds
) -> None:
    """G1, G2: if a producer repeats its last append after kill -9, each append is stored once."""
    sent = 0

    async def append(url: str, seq: int) -> None:
        headers = JSON | {"producer-id": "p", "producer-epoch": "0", "producer-seq": str(seq)}
        answer = await client.post(url + "s", headers=headers, content=b"%d" % seq)
        assert answer.status_code in (200, 204), answer.text

    for round_ in rounds(3, 30):
        async with serving(database) as server:
            await client.put(server.url + "s", headers=JSON)
            if sent:
                # The client cannot know whether this append was stored.
                await append(server.url, sent - 1)
            kill_at = sent + 20 + 7 * round_
            dying: asyncio.Task[None] | None = None
            try:
                while True:
                    if sent == kill_at:
                        dying = asyncio.create_task(server.kill())
                    sent += 1
                    await append(server.url, sent - 1)
            except httpx.TransportError:
                pass
            assert dying is not None
            await dying
    async with serving(database) as server:
        await append(server.url, sent - 1)
        stored = (await client.get(server.url + "s")).json()
    assert stored == list(range(sent))


@pytest.mark.timeout(60)
async def test_a_reader_in_another_process_gets_hints(
    database: str, client: httpx.AsyncClient
) -> None:
    """Hints bring text sooner than the poll every 2 s."""
    async with serving(database) as one, serving(database) as two:
        await client.put(one.url + "s", headers=TEXT)
        async with reading(client, two.url + "s") as events:
            await until_up_to_date(events)
            took = []
            for i in range(5):
                began = time.monotonic()
                await client.post(one.url + "s", headers=TEXT, content=f"message {i}".encode())
                assert await data_of(events) == f"message {i}"
                took.append(time.monotonic() - began)
        # Other work on the machine may delay one text, so the test takes the median.
        assert sorted(took)[2] < 1.0
        end = (await client.head(one.url + "s")).headers["stream-next-offset"]
        assert (await client.get(two.url + "s", params={"offset": end})).content == b""


@pytest.mark.timeout(60)
async def test_characters_split_over_appends_arrive_whole(
    database: str, client: httpx.AsyncClient
) -> None:
    """G2: a character that is split over two appends arrives once, also after a reconnect."""
    raw = "ä\U0001f600".encode()
    async with serving(database) as server:
        url = server.url + "s"
        await client.put(url, headers=TEXT)
        async with reading(client, url) as events:
            await until_up_to_date(events)
            await client.post(url, headers=TEXT, content=raw[:4])
            assert await data_of(events) == "ä"
            name, data = await anext(events)
            assert name == "control"
            control = json.loads(data)
        assert Offset.parse(control["streamNextOffset"]).position == 2
        assert "upToDate" not in control
        async with reading(client, url, control["streamNextOffset"]) as events:
            await client.post(url, headers=TEXT, content=raw[4:])
            assert await data_of(events) == "\U0001f600"
            caught_up = await until_up_to_date(events)
            assert Offset.parse(caught_up["streamNextOffset"]).position == 6


@pytest.mark.timeout(60)
async def test_a_body_of_10_mb_is_refused(database: str, client: httpx.AsyncClient) -> None:
    """G9: the server refuses a body that is too large, and goes on."""
    async with serving(database) as server:
        url = server.url + "s"
        await client.put(url, headers=TEXT)
        async with asyncio.timeout(5):
            answer = await client.post(url, headers=TEXT, content=b"x" * 10_000_000)
        assert answer.status_code == 413
        assert answer.json()["code"] == "body_too_large"
        assert (await client.get(url)).content == b""


@pytest.mark.timeout(90)
async def test_a_thousand_readers_cost_little_memory(
    database: str, client: httpx.AsyncClient, rounds: Rounds
) -> None:
    """G9: each of many readers costs the server less than 60 KB of memory."""
    readers = len(rounds(300, 1000))

    def resident_kb(pid: int) -> int:
        status = Path(f"/proc/{pid}/status").read_text()
        [line] = [line for line in status.splitlines() if line.startswith("VmRSS")]
        return int(line.split()[1])

    async with serving(database) as server:
        url = server.url + "s"
        await client.put(url, headers=TEXT, content=b"x" * 1000)
        host, _, port = server.base_url.removeprefix("http://").partition(":")
        request = f"GET /v1/stream/s?offset=now&live=sse HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
        connections = []

        async def follow() -> None:
            stream = await asyncio.open_connection(host, int(port))
            connections.append(stream)
            stream[1].write(request)
            await stream[0].readuntil(b"event: control\n")

        try:
            await asyncio.gather(*[follow() for _ in range(20)])
            before = resident_kb(server.process.pid)
            for _ in range(readers // 50):
                await asyncio.gather(*[follow() for _ in range(50)])
            each = (resident_kb(server.process.pid) - before) / readers
            await client.post(url, headers=TEXT, content=b"news")
            async with asyncio.timeout(DEADLINE_S):
                await asyncio.gather(*[c[0].readuntil(b"data:news\n") for c in connections])
        finally:
            for _, writer in connections:
                writer.close()
            await asyncio.gather(*[c[1].wait_closed() for c in connections], return_exceptions=True)
    assert each < 60, f"{each:.0f} KB a reader"


@pytest.mark.timeout(60)
async def test_tokens_have_rights(database: str, client: httpx.AsyncClient, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text(
        "# who            what              where\n"
        "reader-0123456789 read\n"
        "writer-0123456789 read,write chats/\n"
        "keeper-0123456789 write,delete\n"
    )
    options = ("--token-file", str(tokens), "--cors-origin", "https://app.example")
    async with serving(database, *options, anonymous=False) as server:

        async def ask(method: str, path: str, who: str | None) -> int:
            headers = TEXT if who is None else TEXT | {"authorization": f"Bearer {who}-0123456789"}
            content = b"x" if method in ("PUT", "POST") else b""
            answer = await client.request(
                method, server.url + path, headers=headers, content=content
            )
            return answer.status_code

        for method in ("PUT", "GET", "POST", "HEAD", "DELETE"):
            assert await ask(method, "chats/1", None) == 401
            assert await ask(method, "chats/1", "nobody") == 401
        assert await ask("PUT", "chats/1", "reader") == 403
        assert await ask("PUT", "other", "writer") == 403
        assert await ask("PUT", "chats/1", "writer") == 201
        assert await ask("POST", "chats/1", "writer") == 204
        assert await ask("POST", "chats/1", "reader") == 404
        assert await ask("GET", "chats/1", "reader") == 200
        assert await ask("GET", "chats/1", "keeper") == 404
        assert await ask("DELETE", "chats/1", "writer") == 404
        assert await ask("DELETE", "chats/1", "keeper") == 204
        preflight = await client.options(
            server.url + "chats/1",
            headers={
                "origin": "https://app.example",
                "access-control-request-method": "PUT",
                "access-control-request-headers": "authorization, producer-id",
            },
        )
        assert preflight.status_code == 200
        assert preflight.headers["access-control-allow-origin"] == "https://app.example"


@pytest.mark.timeout(60)
async def test_readers_disconnect_when_the_server_stops(
    database: str, client: httpx.AsyncClient
) -> None:
    """G5, G8: when the server stops, its responses end, and report no end of the stream."""
    async with serving(database) as server:
        url = server.url + "s"
        await client.put(url, headers=TEXT, content=b"x")
        host, _, port = server.base_url.removeprefix("http://").partition(":")
        answer, poll = await asyncio.open_connection(host, int(port))
        path = "/v1/stream/s?offset=now&live=long-poll"
        poll.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        await poll.drain()
        async with reading(client, url) as events:
            await until_up_to_date(events)
            await client.head(url)  # when the server answers, it has already received the poll
            server.process.terminate()
            async with asyncio.timeout(DEADLINE_S):
                rest = [json.loads(data) async for name, data in events if name == "control"]
                assert (await answer.readline()).startswith(b"HTTP/1.1 204")
                assert await server.process.wait() in (0, -15)
        poll.close()
        await poll.wait_closed()
        assert not any("streamClosed" in control for control in rest)


@pytest.mark.timeout(60)
async def test_it_shows_the_text_of_an_application(
    database: str, client: httpx.AsyncClient
) -> None:
    async with (
        serving(database) as server,
        PersistentTextStreaming(database) as streams,
    ):
        stream_id = await streams.create("answer")
        async with reading(client, server.url + "answer") as events:
            await until_up_to_date(events)
            async with streams.write(stream_id) as writer:
                await writer.append("Hello")
                await writer.flush()
                assert json.loads(await data_of(events)) == ["Hello"]
                await writer.append({"tool": 1})
            heard: list[Any] = []
            control: dict[str, Any] = {}
            async with asyncio.timeout(DEADLINE_S):
                async for name, data in events:
                    if name == "data":
                        heard += json.loads(data)
                    else:
                        control = json.loads(data)
        assert heard[0] == {"tool": 1}
        assert heard[1]["inkstream:end"]["status"] == "done"
        assert (control["streamClosed"], control["inkstreamStatus"]) == (True, "done")
