"""``asgi()``, ``response()`` and the Python calls refuse a byte stream, which has no messages."""

from __future__ import annotations

import pytest
from starlette.requests import Request

from inkstream import PersistentTextStreaming, StreamConflict, StreamNotFound
from inkstream._types import StreamState
from inkstream.formats import ai_sdk, ndjson
from inkstream.http.response import StreamResponse
from tests.durable.mount import TEXT, client_of
from tests.http.asgi import ask
from tests.http.test_gone import follow_many


@pytest.fixture(params=[False, True], ids=["open", "closed"])
async def log(streams: PersistentTextStreaming, request: pytest.FixtureRequest) -> str:
    closing = {"stream-closed": "true"} if request.param else {}
    async with client_of(streams.durable_streams(allow_anonymous=True)) as client:
        await client.put("/log", headers=TEXT, content=b"hello")
        await client.post("/log", headers=TEXT | closing, content=b" world")
    return "log"


@pytest.mark.parametrize("format_", ["events", "json", "text"])
async def test_refused(streams: PersistentTextStreaming, log: str, format_: str) -> None:
    """G5: the client gets an error. Otherwise it would take the stream for an empty one."""
    app = streams.asgi(allow_anonymous=True)
    for method in ("GET", "HEAD"):
        call = await ask(app, f"/{log}?format={format_}", method=method)
        assert call.status == 409
    call = await ask(app, f"/{log}?format={format_}&offset=now")
    assert (call.status, call.code) == (409, "conflict")
    assert "text/plain" in call.json["detail"]
    assert b'"status": 409, "code": "conflict"' in (await follow_many(app, log)).body


async def test_refused_in_python(streams: PersistentTextStreaming, log: str) -> None:
    """G5: ``read`` and ``follow`` return no empty text for a stream that contains bytes."""
    for call in (
        streams.read(log),
        streams.read_many([log]),
        streams.wait(log),
        anext(streams.follow(log)),
        streams.follow(log, "now").check(),
    ):
        with pytest.raises(StreamConflict, match="text/plain"):
            await call
    with pytest.raises(StreamNotFound):
        await streams.read(log, owner="ann")
    with pytest.raises(StreamNotFound):
        await anext(streams.follow(log, owner="ann"))


@pytest.mark.parametrize("format_", [ai_sdk, ndjson])
async def test_refused_in_a_format_object(
    streams: PersistentTextStreaming, log: str, format_: str
) -> None:
    async def app(scope, receive, send) -> None:  # type: ignore[no-untyped-def]
        response = streams.response(Request(scope), log, format=format_)
        assert isinstance(response, StreamResponse)
        await response(scope, receive, send)

    call = await ask(app, "/")
    assert (call.status, call.code) == (409, "conflict")


@pytest.mark.usefixtures("absent_at_once")
async def test_denied_is_404(streams: PersistentTextStreaming, log: str) -> None:
    """A caller who may not read the stream cannot find out that the stream exists."""

    async def authorize(request: Request, stream: StreamState, action: str) -> bool:
        return False

    call = await ask(streams.asgi(authorize=authorize), f"/{log}")
    assert (call.status, call.code) == (404, "not_found")
