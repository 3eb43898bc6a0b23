"""G9: a request costs the process little, or the server refuses the request."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from starlette.requests import Request
from starlette.types import Message

from inkstream import PersistentTextStreaming
from inkstream._types import Page, StreamState
from inkstream.durable import DurableSettings
from inkstream.durable.app import DurableStreams
from inkstream.durable.body import MOST_MESSAGES
from inkstream.durable.creation import MOST_FORKS
from tests.durable.mount import JSON, TEXT, client_of
from tests.http.asgi import DEADLINE_S, scope_of

MANY = b"[" + b"1," * MOST_MESSAGES + b"1]"


@pytest.fixture
def database() -> str:
    return "memory://"


@pytest.mark.parametrize("method", ["PUT", "POST"])
async def test_body_of_too_many_messages(client: httpx.AsyncClient, method: str) -> None:
    if method == "POST":
        await client.put("/s", headers=JSON)
    answer = await client.request(method, "/s", headers=JSON, content=MANY)
    assert (answer.status_code, answer.json()["code"]) == (413, "message_too_large")
    assert str(MOST_MESSAGES) in answer.json()["detail"]
    fewer = MANY.replace(b"1,", b"", 1)
    answer = await client.request(method, "/s", headers=JSON, content=fewer)
    assert answer.status_code in (201, 204)
    assert len((await client.get("/s")).json()) == MOST_MESSAGES


@pytest.mark.parametrize(
    "body",
    [
        b"[" + b"1," * (2 * 1024 * 1024 - 2) + b"1]",
        b"[[" + b"1," * (2 * 1024 * 1024 - 3) + b"1]]",
        b"[" + b"1" * (4 * 1024 * 1024 - 2) + b"]",
        b'"' + b"x" * (4 * 1024 * 1024 - 2) + b'"',
        b"[" + b",".join([b"[" + b"1," * 500_000 + b"1]"] * 4) + b"]",
        b"[" * (4 * 1024 * 1024),
    ],
    ids=["ones", "one array", "number", "string", "four large", "nested"],
)
async def test_large_body_lets_others_run(client: httpx.AsyncClient, body: bytes) -> None:
    """While the server parses a large body, the event loop runs other tasks at least every 0.1 s.

    The test measures CPU time, so that other work on the machine has no effect.
    """
    await client.put("/s", headers=JSON)
    longest = 0.0
    done = asyncio.Event()

    async def look() -> None:
        nonlocal longest
        while not done.is_set():
            before = time.thread_time()
            await asyncio.sleep(0)
            longest = max(longest, time.thread_time() - before)

    looking = asyncio.create_task(look())
    answer = await client.post("/s", headers=JSON, content=body)
    done.set()
    await looking
    assert answer.status_code in (204, 400, 413)
    assert longest < 0.1


async def test_many_small_messages_come_in_parts(client: httpx.AsyncClient) -> None:
    """A response has at most ``MOST_MESSAGES`` messages, because more would block the loop."""
    await client.put("/s", headers=JSON)
    part = b"[" + b"1," * (MOST_MESSAGES - 1) + b"1]"
    for _ in range(3):
        await client.post("/s", headers=JSON, content=part)
    await client.post("/s", headers=JSON | {"stream-closed": "true"}, content=b"[2]")
    offset, found = "-1", []
    for count in (1, 2, 3, 4):
        answer = await client.get("/s", params={"offset": offset})
        found += answer.json()
        assert len(answer.json()) <= MOST_MESSAGES
        assert ("stream-closed" in answer.headers) == (count == 4)
        offset = answer.headers["stream-next-offset"]
    assert found == [1] * 3 * MOST_MESSAGES + [2]
    live = await client.get("/s", params={"offset": "-1", "live": "sse"})
    assert live.text.count("event: data") == 4
    assert live.text.count("streamClosed") == 1


class Feed:
    """A request's body that the test sends piece by piece."""

    def __init__(self, app: DurableStreams, method: str = "POST", **headers: str) -> None:
        self.waiting = asyncio.Event()
        self.pieces: asyncio.Queue[Message] = asyncio.Queue()
        self.status: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        scope = scope_of(method, "/s", TEXT | headers)
        self.task = asyncio.create_task(app(scope, self._receive, self._send))

    async def _receive(self) -> Message:
        if self.pieces.empty():
            self.waiting.set()
        return await self.pieces.get()

    async def _send(self, message: Message) -> None:
        if "status" in message:
            self.status.set_result(message["status"])

    def send(self, data: bytes, *, more: bool = True) -> None:
        self.pieces.put_nowait({"type": "http.request", "body": data, "more_body": more})

    async def answered(self) -> int:
        async with asyncio.timeout(DEADLINE_S):
            await self.task
            return await self.status


async def test_body_that_never_arrives(streams: PersistentTextStreaming) -> None:
    slow = DurableSettings(body_s=0.05)
    app = streams.durable_streams(allow_anonymous=True, settings=slow)
    feeds = [Feed(app, method) for method in ("PUT", "POST")]
    for feed in feeds:
        feed.send(b"x")
        assert await feed.answered() == 408


async def test_all_bodies_together(streams: PersistentTextStreaming) -> None:
    """The bodies of all requests together have a limit.

    When a request has ended, even because its client disconnected, its body no longer counts.
    """
    small = DurableSettings(body_bytes=1000, bodies_bytes=2500)
    app = streams.durable_streams(allow_anonymous=True, settings=small)
    for _ in range(3):
        held = [Feed(app, "PUT"), Feed(app, "PUT")]
        for feed in held:
            feed.send(b"x" * 1000)
        async with asyncio.timeout(DEADLINE_S):
            for feed in held:
                await feed.waiting.wait()
        refused = Feed(app, "PUT")
        refused.send(b"x" * 501, more=False)
        assert await refused.answered() == 503
        held[0].pieces.put_nowait({"type": "http.disconnect"})
        assert await held[0].answered() == 400
        held[1].send(b"", more=False)
        assert await held[1].answered() in (201, 200)


@pytest.mark.parametrize("method", ["PUT", "POST"])
@pytest.mark.parametrize("length", [None, 1_000_000])
async def test_denied_body_is_not_kept(
    streams: PersistentTextStreaming, method: str, length: int | None
) -> None:
    """The body of a denied request does not count for the limit of all bodies."""
    asked = asyncio.Event()

    async def authorize(request: Request, stream: StreamState, action: str) -> bool:
        asked.set()
        return False

    anonymous = streams.durable_streams(allow_anonymous=True)
    if method == "POST":
        async with client_of(anonymous) as client:
            await client.put("/s", headers=TEXT)
    one = DurableSettings(body_bytes=1_000_000, bodies_bytes=1_000_000)
    app = streams.durable_streams(authorize=authorize, settings=one)
    more = {} if length is None else {"content-length": str(length)}
    feeds = [Feed(app, method, **more) for _ in range(4)]
    for feed in feeds:
        feed.send(b"x" * 400_000)
        async with asyncio.timeout(DEADLINE_S):
            await asked.wait()
    for feed in feeds:  # four of these bodies together exceed the limit
        feed.send(b"x" * 600_000, more=False)
        assert await feed.answered() == (403 if method == "PUT" else 404)


async def test_closing_needs_no_right_to_append(streams: PersistentTextStreaming) -> None:
    async def authorize(request: Request, stream: StreamState, action: str) -> bool:
        return action == "close"

    async with client_of(streams.durable_streams(allow_anonymous=True)) as client:
        await client.put("/s", headers=TEXT)
    app = streams.durable_streams(authorize=authorize)

    async def nothing() -> AsyncIterator[bytes]:
        yield b""

    async def something() -> AsyncIterator[bytes]:
        yield b"x"

    closing = TEXT | {"stream-closed": "true"}
    async with client_of(app) as client:
        assert (await client.post("/s", headers=closing, content=something())).status_code == 404
        assert (await client.post("/s", headers=TEXT, content=something())).status_code == 404
        assert (await client.post("/s", headers=closing, content=nothing())).status_code == 204


@pytest.mark.parametrize("query", ["", "?offset=-1", "?offset=-1&live=long-poll"])
async def test_denied_reader_costs_no_text(
    streams: PersistentTextStreaming, monkeypatch: pytest.MonkeyPatch, query: str
) -> None:
    may_read = False

    async def authorize(request: Request, stream: StreamState, action: str) -> bool:
        return may_read

    async with client_of(streams.durable_streams(allow_anonymous=True)) as client:
        await client.put("/s", headers=TEXT, content=b"text")
    store: Any = streams.engine.readers
    read, sizes = store.page, []

    async def page(*args: Any, **kwargs: Any) -> Page:
        found: Page = await read(*args, **kwargs)
        sizes.append(sum(len(segment.payload) for segment in found.segments))
        return found

    monkeypatch.setattr(store, "page", page)
    async with client_of(streams.durable_streams(authorize=authorize)) as client:
        assert (await client.get(f"/s{query}")).status_code == 404
        assert sizes == [0]
        may_read = True
        assert (await client.get(f"/s{query}")).text == "text"


async def test_forks_of_forks_have_a_depth(client: httpx.AsyncClient) -> None:
    """A chain of forks has a maximal length, because a read of its last fork visits each fork."""
    await client.put("/0", headers=TEXT, content=b"x")
    for i in range(1, MOST_FORKS + 1):
        answer = await client.put(f"/{i}", headers={"stream-forked-from": f"/{i - 1}"})
        assert answer.status_code == 201, i
    assert (await client.get(f"/{MOST_FORKS}")).content == b"x"
    deeper = {"stream-forked-from": f"/{MOST_FORKS}"}
    answer = await client.put("/deeper", headers=deeper)
    assert (answer.status_code, answer.json()["code"]) == (400, "fork_too_deep")
    above = {"stream-forked-from": f"/{MOST_FORKS - 1}"}
    assert (await client.put("/beside", headers=above)).status_code == 201


async def test_few_counts_near_the_stream_limit(
    streams: PersistentTextStreaming, monkeypatch: pytest.MonkeyPatch
) -> None:
    readers: Any = streams.engine.readers
    find, counts = readers.find, 0

    async def counted(*args: Any, **kwargs: Any) -> Any:
        nonlocal counts
        counts += 1
        return await find(*args, **kwargs)

    most = 400
    app = streams.durable_streams(allow_anonymous=True, settings=DurableSettings(max_streams=most))
    async with client_of(app) as client:
        for i in range(most - 40):
            assert (await client.put(f"/{i}", headers=TEXT)).status_code == 201
        monkeypatch.setattr(readers, "find", counted)
        for i in range(most - 40, most):
            assert (await client.put(f"/{i}", headers=TEXT)).status_code == 201
        assert (await client.put("/one-more", headers=TEXT)).status_code == 429
        assert counts <= 12
