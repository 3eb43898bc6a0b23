"""``AsyncReader`` and ``Reader`` read from a real server, directly and behind a faulty proxy."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from inkstream import End, OffsetGone, Status, StreamNotFound
from inkstream.client import Answer, AsyncReader, PostUncertain, Reader, _async, _reading, _sync
from tests.http.client import fetch, post
from tests.http.servers import Server, serving
from tests.proxy import Proxy, proxy_before

KINDS = ("async", "sync")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory: Path = tmp_path_factory.mktemp("readers")
    with serving(directory) as running:
        yield running


@pytest.fixture
async def proxy(server: Server) -> AsyncIterator[Proxy]:
    async with proxy_before(server.port) as running:
        yield running


async def read(kind: str, port: int, path: str, *, offset: str | None = None) -> Answer:
    base_url = f"http://127.0.0.1:{port}"
    if kind == "async":
        async with httpx.AsyncClient(base_url=base_url) as http:
            return await AsyncReader(http, path, offset=offset).read()

    def in_thread() -> Answer:
        with httpx.Client(base_url=base_url) as client:
            return Reader(client, path, offset=offset).read()

    return await asyncio.to_thread(in_thread)


async def stop(kind: str, port: int, path: str) -> None:
    base_url = f"http://127.0.0.1:{port}"
    if kind == "async":
        async with httpx.AsyncClient(base_url=base_url) as http:
            await AsyncReader(http, path).stop()
        return

    def in_thread() -> None:
        with httpx.Client(base_url=base_url) as client:
            Reader(client, path).stop()

    await asyncio.to_thread(in_thread)


async def stored(server: Server, stream_id: str) -> str:
    answer = await fetch(server.port, f"/streams/{stream_id}?format=json")
    return "".join(answer.json["parts"])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cut_after", [397, 1009, 5003])
async def test_nothing_is_lost_behind_a_cutting_proxy(
    server: Server, proxy: Proxy, kind: str, cut_after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G2, G5: if a proxy cuts connections, a reader loses no text, and takes no cut for an end."""
    monkeypatch.setattr("inkstream.client._backoff._LONGEST_S", 0.02)
    proxy.cut_after = cut_after
    stream_id = (await post(server.port, "/count?pause_s=0.001&width=8"))["id"]
    path = f"/streams/{stream_id}"
    reading = asyncio.create_task(read(kind, proxy.port, path))

    async with asyncio.timeout(20):
        while proxy.asked(path) <= 8:  # noqa: ASYNC110 - the proxy only counts requests
            await asyncio.sleep(0.01)
    await stop(kind, server.port, path)
    proxy.cut_after = None
    answer = await asyncio.wait_for(reading, 20)
    assert answer.end.status is Status.CANCELLED
    assert answer.text == await stored(server, stream_id)
    assert answer.text.startswith("00000000 00000001 ")


@pytest.mark.parametrize("kind", KINDS)
async def test_silence_and_bad_gateways_are_retried(
    server: Server, proxy: Proxy, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inkstream.client._backoff._LONGEST_S", 0.02)
    for module in (_async, _sync):
        monkeypatch.setattr(module, "_TIMEOUT", httpx.Timeout(0.5))
    await post(server.port, f"/create?start=1&id=hung-{kind}")
    await post(server.port, f"/say/hung-{kind}", ["Hello, ", {"tool": "search"}])
    proxy.hang_after = 30
    reading = asyncio.create_task(read(kind, proxy.port, f"/streams/hung-{kind}"))
    await proxy.until(lambda: proxy.hung > 0)
    proxy.refuse, proxy.hang_after = True, None
    await proxy.until(lambda: proxy.refused > 1)
    proxy.refuse = False
    await post(server.port, f"/say/hung-{kind}", ["world", {"end": "error"}])
    answer = await asyncio.wait_for(reading, 20)
    assert answer.parts == ("Hello, ", {"tool": "search"}, "world")
    assert answer.end == End(Status.ERROR, "failed", "It failed.")
    again = await read(kind, server.port, f"/streams/hung-{kind}", offset=answer.offset)
    assert (again.parts, again.end) == ((), answer.end), (
        "after a 204, the end comes from a snapshot"
    )


@pytest.mark.parametrize("kind", KINDS)
async def test_refusals_of_a_real_server(
    server: Server, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G10: with another stream's offset, ``async for`` raises, but ``read`` begins at the start."""
    monkeypatch.setattr(_reading, "_UNMET_S", 0.0)
    with pytest.raises(StreamNotFound):
        await read(kind, server.port, "/streams/absent")
    with pytest.raises(StreamNotFound):
        await stop(kind, server.port, "/streams/absent")
    await post(server.port, f"/create?start=1&id=other-{kind}")
    await post(server.port, f"/say/other-{kind}", ["text", {"end": "done"}])
    answer = await read(kind, server.port, f"/streams/other-{kind}")
    await post(server.port, f"/create?start=1&id=anew-{kind}")
    await post(server.port, f"/say/anew-{kind}", ["new", {"end": "done"}])
    base_url = f"http://127.0.0.1:{server.port}"
    async with httpx.AsyncClient(base_url=base_url) as http:
        with pytest.raises(OffsetGone):
            await anext(aiter(AsyncReader(http, f"/streams/anew-{kind}", offset=answer.offset)))
    again = await read(kind, server.port, f"/streams/anew-{kind}", offset=answer.offset)
    assert again.text == "new", "read() starts again from the beginning"


async def test_a_second_loop_continues(server: Server) -> None:
    """G2: a second loop over the same reader begins after the last item of the first loop."""
    stream_id = (await post(server.port, "/count?pause_s=0.001&width=8"))["id"]
    text = ""
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}") as http:
        reader = AsyncReader(http, f"/streams/{stream_id}")
        for _ in range(20):
            items = aiter(reader)
            text += str(await anext(items))
            await items.aclose()
        await reader.stop()
        async for item in reader:
            text += item if isinstance(item, str) else ""
    assert reader.end is not None
    assert text == await stored(server, stream_id)


async def read_posted(kind: str, port: int, path: str) -> tuple[Answer, str | None]:
    base_url = f"http://127.0.0.1:{port}"
    if kind == "async":
        async with httpx.AsyncClient(base_url=base_url) as http:
            reader = AsyncReader.post(http, path, streams_url="/streams", json={"prompt": "why?"})
            with pytest.raises(RuntimeError, match="nothing to stop yet"):
                await reader.stop()
            return await reader.read(), reader.stream_id

    def in_thread() -> tuple[Answer, str | None]:
        with httpx.Client(base_url=base_url) as client:
            reader = Reader.post(client, path, streams_url="/streams", json={"prompt": "why?"})
            with pytest.raises(RuntimeError, match="nothing to stop yet"):
                reader.stop()
            return reader.read(), reader.stream_id

    return await asyncio.to_thread(in_thread)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cut_after", [400, 1009])
async def test_one_post_is_followed_and_resumed_after_cuts(
    server: Server, proxy: Proxy, kind: str, cut_after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G2, G4: despite cuts, the reader sends one POST and reads the whole answer."""
    monkeypatch.setattr("inkstream.client._backoff._LONGEST_S", 0.02)
    name = f"posted-{kind}-{cut_after}"
    await post(server.port, f"/create?id={name}")
    proxy.cut_after = cut_after
    reading = asyncio.create_task(read_posted(kind, proxy.port, f"/drive/{name}"))
    words = [f"{number:07} " for number in range(200)]
    for start in range(0, len(words), 10):
        await post(server.port, f"/say/{name}", words[start : start + 10])
    async with asyncio.timeout(20):
        while proxy.asked(f"/streams/{name}") < 3:  # noqa: ASYNC110 - the proxy only counts
            await asyncio.sleep(0.01)
    proxy.cut_after = None
    await post(server.port, f"/say/{name}", [{"end": "done"}])
    answer, stream_id = await asyncio.wait_for(reading, 20)
    assert answer.text == "".join(words)
    assert answer.end == End(Status.DONE)
    assert stream_id == name
    assert proxy.asked("/drive/") == 1


@pytest.mark.parametrize("kind", KINDS)
async def test_a_post_that_may_have_been_taken_is_not_repeated(
    server: Server, proxy: Proxy, kind: str
) -> None:
    """G4: a POST that the server may have received is not repeated.

    A second POST could cause a second answer and a second bill.
    """
    await post(server.port, f"/create?id=uncertain-{kind}")
    proxy.cut_after = 0
    with pytest.raises(PostUncertain, match="look whether the stream is there"):
        await read_posted(kind, proxy.port, f"/drive/uncertain-{kind}")
    assert proxy.asked("/drive/") == 1
    await post(server.port, f"/say/uncertain-{kind}", [{"end": "done"}])


def test_an_address_without_a_host_raises_at_once() -> None:
    with httpx.Client() as client, pytest.raises(httpx.UnsupportedProtocol):
        Reader(client, "/streams/s").read()
