from __future__ import annotations

import asyncio
import gc
import os
from pathlib import Path

import httpx
import pytest
from litestar import Litestar, asgi
from litestar.config.compression import CompressionConfig

from inkstream import PersistentTextStreaming
from inkstream.testing import ScriptedSource, StreamingTransport
from tests.http.client import fetch, requesting
from tests.http.servers import serving

ROOT = Path(__file__).parents[2]
ANN = {"X-User": "ann", "Content-Type": "application/json"}
BOB = {"X-User": "bob"}


async def ask(port: int) -> str:
    asked = await fetch(port, "/ask", method="POST", headers=ANN, body=b'{"prompt": "why?"}')
    assert asked.status == 202, asked.body
    return f"/streams/{asked.json['stream_id']}"


async def use(port: int) -> None:
    """Ask, disconnect during the answer, and resume. Then ask again, and stop the answer."""
    path = await ask(port)
    async with requesting(port, path, headers=ANN) as answer:
        assert answer.headers["content-type"] == "text/event-stream"
        await answer.until(lambda: answer.heard.text.startswith("You "))
        assert not answer.ended, "the text did not arrive live"
        seen, offset = answer.heard.text, answer.heard.last_id
    rest = await fetch(port, path, headers=ANN | {"Last-Event-ID": offset})
    assert seen + rest.heard.text == "You asked: why? Here is a thought about it. "
    assert (await fetch(port, path, headers=ANN)).heard.text == seen + rest.heard.text
    assert (await fetch(port, path, headers=BOB)).status == 404
    assert (await fetch(port, path)).status == 401

    empty = await fetch(port, "/ask", method="POST", headers=ANN, body=b"{}")
    assert empty.status == 400, empty.body
    assert (await fetch(port, "/ask", method="POST", body=b"{}")).status in (400, 401)

    path = await ask(port)
    cancel = f"{path}/cancel"
    refused = await fetch(port, cancel, method="POST", headers=BOB)
    assert (refused.status, refused.json["code"]) == (404, "not_found")
    assert (await fetch(port, cancel, method="POST", headers=ANN)).status == 204
    assert b'"cancelled"' in (await fetch(port, path, headers=ANN)).body


@pytest.mark.parametrize("server", ["uvicorn", "hypercorn", "granian"])
@pytest.mark.parametrize("example", ["starlette_chat", "litestar_chat"])
def test_an_example_follows_resumes_and_stops(
    example: str, server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G2, G6: a follower resumes after a disconnect, and Stop ends the answer."""
    monkeypatch.chdir(tmp_path)  # the example keeps its database in the current folder
    folders = (ROOT / "src", ROOT, ROOT / "examples")
    environment = {"EXAMPLE": example, "PYTHONPATH": os.pathsep.join(map(str, folders))}
    app = "tests.frameworks.example_app:app"
    with serving(tmp_path, server=server, app=app, environment=environment) as running:
        asyncio.run(use(running.port))
        assert "Traceback" not in running.printed, running.printed


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("excluded", [True, False])
async def test_litestar_compresses_events_unless_they_are_excluded(excluded: bool) -> None:
    streams = PersistentTextStreaming("memory://")
    mounted = asgi("/streams", is_mount=True, copy_scope=True)(streams.asgi(allow_anonymous=True))
    compression = CompressionConfig("gzip", exclude=["/streams"] if excluded else None)
    app = Litestar([mounted], compression_config=compression, logging_config=None)
    async with streams:
        model = ScriptedSource()
        stream_id = await streams.create()
        streams.start(stream_id, model)
        await model.send("Hello")
        async with (
            httpx.AsyncClient(transport=StreamingTransport(app), base_url="http://t") as http,
            http.stream("GET", f"/streams/{stream_id}") as response,
        ):
            encoding = response.headers.get("content-encoding")
        assert encoding == (None if excluded else "gzip")
        await model.finish()
    # Since Python 3.12, the garbage collector reports that Litestar never closed its GzipFile.
    gc.collect()
