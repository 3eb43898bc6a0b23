"""``inkstream.testing`` has an HTTP transport. An error about a missing package names its extra."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from inkstream import End, PersistentTextStreaming, Status
from inkstream.client import AsyncReader
from inkstream.testing import ScriptedSource, StreamingTransport
from inkstream.testing.fixtures import inkstream_database, streams

__all__ = ["inkstream_database", "streams"]  # pytest finds the fixtures in this module


async def test_events_come_one_by_one(streams: PersistentTextStreaming) -> None:
    """Each event arrives when it is sent. ``httpx.ASGITransport`` would wait for the last event."""
    app = Starlette(routes=[Mount("/streams", streams.asgi(allow_anonymous=True))])
    model = ScriptedSource()
    stream_id = await streams.create()
    streams.start(stream_id, model)
    transport = StreamingTransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        items = aiter(AsyncReader(http, f"/streams/{stream_id}"))
        await model.send("Hello")
        assert await asyncio.wait_for(anext(items), 5) == "Hello"
        await model.reason("Hm.")
        await model.call_tool("search", {"q": "ink"}, ["found"])
        kinds = [(await anext(items))["type"] for _ in range(5)]  # type: ignore[index]
        assert kinds[0] == "reasoning-start"
        assert kinds[-1] == "tool-output-available"
        await model.finish({"tokens": 3})
        assert await anext(items) == End(Status.DONE, result={"tokens": 3})
        await items.aclose()


async def test_a_closed_response_is_a_disconnect(streams: PersistentTextStreaming) -> None:
    """G6: if a client closes its response, the server sees a disconnect, and the stream goes on."""
    model = ScriptedSource()
    stream_id = await streams.create()
    streams.start(stream_id, model)
    transport = StreamingTransport(streams.asgi(allow_anonymous=True))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        async with http.stream("GET", f"/{stream_id}") as response:
            assert response.status_code == 200
        await asyncio.wait_for(model.finish(), 5)
        assert (await streams.wait(stream_id)).end == End(Status.DONE)


async def test_an_application_s_exception_is_raised() -> None:
    async def broken(scope: object, receive: object, send: object) -> None:
        raise LookupError("the application's own")

    transport = StreamingTransport(broken)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        with pytest.raises(LookupError, match="own"):
            await http.get("/")


@pytest.mark.parametrize(
    ("absent", "statement", "extra"),
    [
        ("pytest", "import inkstream.testing", "testing"),
        ("httpx", "import inkstream.client", "client"),
        ("fastapi", "import inkstream.http.fastapi_router", "fastapi"),
    ],
)
def test_a_missing_package_names_its_extra(absent: str, statement: str, extra: str) -> None:
    code = f"import sys; sys.modules[{absent!r}] = None\n{statement}"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False
    )
    assert f"pip install 'inkstream[{extra}]'" in done.stderr
