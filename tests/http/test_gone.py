"""The routes of ``asgi()`` refuse a stream that was deleted but is kept for its forks."""

from __future__ import annotations

import json

import pytest
from starlette.requests import Request

from inkstream import PersistentTextStreaming
from inkstream._types import StreamState
from tests.durable.mount import TEXT, client_of
from tests.http.asgi import Call, ask, calling

FORMATS = ("events", "json", "text")

pytestmark = pytest.mark.usefixtures("absent_at_once")


@pytest.fixture
async def gone(streams: PersistentTextStreaming) -> str:
    async with client_of(streams.durable_streams(allow_anonymous=True)) as client:
        await client.put("/source", headers=TEXT, content=b"text")
        await client.put("/fork", headers={"stream-forked-from": "/source"})
        await client.delete("/source")
        assert (await client.get("/source")).status_code == 410
    return "source"


async def follow_many(app: object, name: str) -> Call:
    body = json.dumps({"streams": {name: None}}).encode()
    async with calling(app, "/follow", method="POST", body=body) as call:  # type: ignore[arg-type]
        await call.until(lambda: b"refused" in call.body)
    return call


@pytest.mark.parametrize("format_", FORMATS)
async def test_gone_for_everybody(
    streams: PersistentTextStreaming, gone: str, format_: str
) -> None:
    """G10: where everybody may read, the server answers 410 for a gone stream, and not 404."""
    app = streams.asgi(allow_anonymous=True)
    call = await ask(app, f"/{gone}?format={format_}")
    assert (call.status, call.code) == (410, "gone")
    call = await ask(app, f"/{gone}/cancel", method="POST")
    assert (call.status, call.code) == (410, "gone")
    assert b'"status": 410, "code": "gone"' in (await follow_many(app, gone)).body


@pytest.mark.parametrize("format_", FORMATS)
async def test_absent_with_authorize(
    streams: PersistentTextStreaming, gone: str, format_: str
) -> None:
    """A gone stream has no state that ``authorize`` could check, so the stream looks absent."""

    async def authorize(request: Request, stream: StreamState, action: str) -> bool:
        return True

    app = streams.asgi(authorize=authorize)
    for name in (gone, "absent"):
        call = await ask(app, f"/{name}?format={format_}")
        assert (call.status, call.code) == (404, "not_found")
        call = await ask(app, f"/{name}/cancel", method="POST")
        assert (call.status, call.code) == (404, "not_found")
        assert b'"status": 404, "code": "not_found"' in (await follow_many(app, name)).body
