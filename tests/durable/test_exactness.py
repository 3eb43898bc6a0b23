"""Content comes back byte for byte, through the protocol and in the application."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import httpx
import pytest
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from inkstream import PersistentTextStreaming
from inkstream.formats import ai_sdk, ndjson, openai_chat
from inkstream.wire import Offset
from tests.durable.mount import JSON, TEXT, client_of, producing

EXACT = [
    b'"\\u0000"',
    b'"\\r\\n \\r"',
    b'"\\ud800"',
    b'{"a":1,"a":2}',
    b"1.0",
    b"-0",
    b"1E300",
    b"123456789012345678901234567890",
    b"9" * 4300,
    b"[[1 , 2],\n[]]",
    '"\U0001f600 ä"'.encode(),
]


async def test_json_comes_back_byte_for_byte(client: httpx.AsyncClient) -> None:
    """G11: JSON messages come back with the same bytes, from single appends and from a batch."""
    await client.put("/s", headers=JSON)
    for message in EXACT:
        body = b"[" + message + b"]"
        assert (await client.post("/s", headers=JSON, content=body)).status_code == 204
    assert (await client.get("/s")).content == b"[" + b",".join(EXACT) + b"]"
    await client.put("/batch", headers=JSON, content=b"[" + b" , ".join(EXACT) + b"]")
    assert (await client.get("/batch")).content == b"[" + b",".join(EXACT) + b"]"


@pytest.mark.parametrize(
    "body",
    [
        *(b"NaN", b"[1,NaN]", b"1E400", b"9" * 4301, b"[" * 5000, b"\xff"),
        b'{"inkstream:end":1}',
    ],
)
async def test_a_refused_append_stores_nothing(client: httpx.AsyncClient, body: bytes) -> None:
    await client.put("/s", headers=JSON)
    answer = await client.post("/s", headers=JSON | producing(0), content=body)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_message")
    assert (await client.get("/s")).content == b"[]"
    # A refused append uses no sequence number, so the producer may use the number again.
    good = await client.post("/s", headers=JSON | producing(0), content=b"1")
    assert good.status_code == 200


async def test_bytes_are_bytes(client: httpx.AsyncClient) -> None:
    data = bytes(range(256)) * 3
    await client.put("/b", content=data[:300])
    await client.post(
        "/b", headers={"content-type": "application/octet-stream"}, content=data[300:]
    )
    first = await client.get("/b")
    assert first.content == data
    end = Offset.parse(first.headers["stream-next-offset"])
    middle = str(replace(end, position=299))
    assert (await client.get("/b", params={"offset": middle})).content == data[299:]


HALVES = [b'"hello "', b'"wo"', b'"rld"', rb'{"k":"\ud800","n":1.0}', rb'"\ud83d"', b'"!"']
PARTS = ["hello world", {"k": "\ufffd", "n": 1.0}, "\ufffd!"]


@pytest.mark.parametrize(
    "form",
    ["events", "json", "text", ndjson, openai_chat, ai_sdk],
    ids=["events", "json", "text", "ndjson", "openai_chat", "ai_sdk"],
)
async def test_all_readers_of_a_log_get_the_same_text(
    streams: PersistentTextStreaming, form: Any
) -> None:
    """G2, G11: in each format, readers get the strings of a log as text.

    Half a surrogate pair becomes U+FFFD.
    """
    async with client_of(streams.durable_streams(allow_anonymous=True)) as client:
        await client.put("/s", headers=JSON)
        for message in HALVES:  # each message has its own segment
            await client.post("/s", headers=JSON, content=message)
        await client.post("/s", headers=JSON | {"stream-closed": "true"})
        assert (await client.get("/s")).content == b"[" + b",".join(HALVES) + b"]"

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await streams.response(Request(scope, receive), "s", format=form)(scope, receive, send)

    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as reader:
        body = (await reader.get("/")).text
    read = await streams.read("s")
    assert (list(read.parts), read.text) == (PARTS, "hello world\ufffd!")
    if form == "text":
        assert body == read.text
    elif form == "json":
        assert json.loads(body)["parts"] == PARTS
    else:
        lines = [line.removeprefix("data: ") for line in body.splitlines()]
        values = [json.loads(line) for line in lines if line[:1] in ("{", '"')]
        assert "".join(map(_text_in, values)) == read.text
        assert "\\ud" not in body


def _text_in(value: Any) -> str:
    match value:
        case str() as text:
            return text
        case {"text": str(text)} | {"type": "text-delta", "delta": str(text)}:
            return text
        case {"choices": [{"delta": {"content": str(text)}}]}:
            return text
    return ""


async def test_ids_keep_slashes_and_everything_else(client: httpx.AsyncClient) -> None:
    for path in ("/a/b", "/a%20b/%C3%A4", "/%252F"):
        created = await client.put(path, headers=TEXT, content=path.encode())
        assert (created.status_code, created.headers["location"]) == (
            201,
            f"http://durable.example{path}",
        )
    for path in ("/a/b", "/a%20b/%C3%A4", "/%252F"):
        assert (await client.get(path)).content == path.encode()
    assert (await client.get("/a%2Fb")).content == b"/a/b"
    for path in ("/", "/%FF", "/a/%2E%2E/b", "/" + "x" * 513):
        assert (await client.put(path, headers=TEXT)).status_code == 404


@pytest.mark.parametrize("path", ["/__ds", "/__ds/subscriptions/1", "/s/__ds/x", "/%5F_ds/x"])
async def test_subscriptions_are_refused_with_a_reason(
    client: httpx.AsyncClient, path: str
) -> None:
    answer = await client.put(path, headers=JSON, content=b"{}")
    assert (answer.status_code, answer.json()["code"]) == (501, "subscriptions_not_supported")


async def test_a_text_is_strings_objects_and_its_end(
    streams: PersistentTextStreaming, client: httpx.AsyncClient
) -> None:
    """G5: a read of an ended text stream returns the end as the last message."""
    stream_id = await streams.create("chat/1")
    async with streams.write(stream_id) as writer:
        await writer.append("Hello\r\n")
        await writer.append({"tool": "search"})
        await writer.flush()
        live = await client.get("/chat/1")
        assert live.json() == ["Hello\r\n", {"tool": "search"}]
        assert live.headers["inkstream-status"] == "streaming"
        assert "stream-closed" not in live.headers
        for method in ("POST", "DELETE"):
            answer = await client.request(method, "/chat/1", headers=JSON, content=b"1")
            assert (answer.status_code, answer.json()["code"]) == (409, "writer_owned")
        await writer.append(" world")
    done = await client.get("/chat/1")
    end = {
        "type": "data-inkstream-end",
        "transient": True,
        "inkstream:end": {"status": "done", "code": None, "message": None, "result": None},
    }
    assert done.json() == ["Hello\r\n", {"tool": "search"}, " world", end]
    assert (done.headers["stream-closed"], done.headers["inkstream-status"]) == ("true", "done")
    assert done.headers["etag"] != live.headers["etag"]
    offset = done.headers["stream-next-offset"]
    assert offset == (await client.head("/chat/1")).headers["stream-next-offset"]
    assert offset > live.headers["stream-next-offset"]
    rest = await client.get("/chat/1", params={"offset": live.headers["stream-next-offset"]})
    assert rest.json() == [" world", end]
    after = await client.get("/chat/1", params={"offset": offset})
    assert (after.json(), after.headers["stream-closed"]) == ([], "true")
    polled = await client.get("/chat/1", params={"offset": offset, "live": "long-poll"})
    assert (polled.status_code, polled.headers["stream-closed"]) == (204, "true")

    forked = await client.put("/fork", headers={"stream-forked-from": "/chat/1"})
    assert forked.status_code == 201
    assert (await client.get("/fork")).json() == ["Hello\r\n", {"tool": "search"}, " world"]
    assert (await client.post("/fork", headers=JSON, content=b"1")).status_code == 204


async def test_no_writer_may_forge_an_end(streams: PersistentTextStreaming) -> None:
    stream_id = await streams.create()
    async with streams.write(stream_id) as writer:
        with pytest.raises(ValueError, match="reserved"):
            await writer.append({"inkstream:end": {"status": "done"}})
