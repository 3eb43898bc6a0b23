"""Tests of the code in docs/mcp.md, with MCP's own client and a proxy that cuts connections."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from mcp.client.client import Client
from mcp_types import CallToolResult, TextContent

from tests.docs.blocks import ROOT, blocks_of
from tests.http.servers import Server, serving
from tests.proxy import proxy_before

pytestmark = pytest.mark.interop

BLOCK = next(block for block in blocks_of(ROOT / "docs/mcp.md") if block.kind == "checked")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder: Path = tmp_path_factory.mktemp("mcp")
    (folder / "tools.py").write_text(BLOCK.code)
    environment = {
        "EXAMPLE": "tools",
        "PYTHONPATH": os.pathsep.join(map(str, (ROOT / "src", ROOT, ROOT / "examples", folder))),
    }
    app = "tests.frameworks.example_app:app"
    with serving(folder, app=app, environment=environment) as running:
        yield running


@asynccontextmanager
async def session(port: int) -> AsyncIterator[Client]:
    """Open a session in an old version of the protocol.

    Versions from 2026-07 on have neither sessions nor event stores.
    """
    async with Client(f"http://127.0.0.1:{port}/mcp/", mode="legacy") as client:
        yield client


async def count(client: Client, to: int, at_step_3: Callable[[], None]) -> tuple[list[str], str]:
    """Call the tool. Return the progress that the client received, and the tool's result.

    This function calls ``at_step_3`` when the client has received step 3.
    """
    heard: list[str] = []

    async def progress(progress: float, total: float | None, message: str | None) -> None:
        heard.append(str(message))
        if len(heard) == 4:
            at_step_3()

    result = await client.call_tool("count", {"to": to}, progress_callback=progress)
    assert isinstance(result, CallToolResult)
    assert isinstance(result.content[0], TextContent)
    return heard, result.content[0].text


def steps(to: int) -> list[str]:
    return [f"step {number}" for number in range(to)]


async def test_a_call_goes_on_after_a_cut(server: Server) -> None:
    """G2: after a cut, the client gets every notification once and in order, and the result."""
    async with proxy_before(server.port) as proxy, session(proxy.port) as client:
        asked: list[int] = []

        def cut() -> None:
            asked.append(len(proxy.targets))
            proxy.drop()

        async with asyncio.timeout(30):
            assert await count(client, 20, cut) == (steps(20), "counted to 20")
        assert len(proxy.targets) > asked[0], "the client did not reconnect"


@pytest.mark.parametrize(
    ("header", "value", "status"),
    [("host", "evil.example", 421), ("origin", "https://evil.example", 403)],
)
async def test_a_page_of_another_site_is_refused(
    server: Server, header: str, value: str, status: int
) -> None:
    """Without this check, a page of any site could reach a local server by DNS rebinding."""
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}") as http:
        answer = await http.post("/mcp/", headers={header: value}, json={"jsonrpc": "2.0"})
        assert answer.status_code == status


async def test_two_sessions_with_the_same_request_ids_share_nothing(server: Server) -> None:
    """If both sessions had one event store, both calls would use stream "2" of that store."""
    async with (
        proxy_before(server.port) as proxy,
        session(proxy.port) as ann,
        session(proxy.port) as bob,
    ):
        waiting = asyncio.Barrier(2)

        def ready() -> None:
            dropping.append(asyncio.create_task(drop()))

        async def drop() -> None:
            if await waiting.wait() == 0:  # both calls have reached step 3
                proxy.drop()

        dropping: list[asyncio.Task[None]] = []
        async with asyncio.timeout(30):
            of_ann, of_bob = await asyncio.gather(count(ann, 20, ready), count(bob, 24, ready))
        await asyncio.gather(*dropping)
    assert of_ann == (steps(20), "counted to 20")
    assert of_bob == (steps(24), "counted to 24")
