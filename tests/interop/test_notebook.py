"""Runs the notebook cells of docs/streamlit.md in a real kernel, with a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbclient.util import ensure_async

from tests.docs.blocks import ROOT, blocks_of
from tests.http.client import fetch, post
from tests.http.servers import Server, serving

CELLS = [block for block in blocks_of(ROOT / "docs/streamlit.md") if block.kind == "checked"]

pytestmark = [
    pytest.mark.interop,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # these warnings come from Jupyter
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder: Path = tmp_path_factory.mktemp("notebook")
    with serving(folder) as running:
        yield running


def cells(server: Server, stream_id: str) -> list[Any]:
    codes = [
        block.code.replace("127.0.0.1:8000", f"127.0.0.1:{server.port}").replace("kq3", stream_id)
        for block in CELLS
    ]
    return [nbformat.v4.new_code_cell(code) for code in codes]  # type: ignore[no-untyped-call]


@pytest.fixture
async def kernel(tmp_path: Path) -> AsyncIterator[NotebookClient]:
    notebook = nbformat.v4.new_notebook()  # type: ignore[no-untyped-call]
    client = NotebookClient(
        notebook, timeout=40, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    )
    async with client.async_setup_kernel():
        yield client


async def test_a_cell_awaits_the_answer(server: Server, kernel: NotebookClient) -> None:
    await post(server.port, "/create?start=1&id=awaited")
    await post(server.port, "/say/awaited", ["Why ", "not?", {"end": "done"}])
    cell, _ = cells(server, "awaited")
    kernel.nb.cells = [cell]
    done = await kernel.async_execute_cell(cell, 0)
    assert done.outputs[-1]["data"]["text/plain"] == "'Why not?'"


async def test_interrupt_stops_the_answer(server: Server, kernel: NotebookClient) -> None:
    """G6: an interrupt stops the answer, because the cell then cancels the stream.

    If the cell only left its loop, the answer would continue.
    """
    stream_id = (await post(server.port, "/count?pause_s=0.01&width=8"))["id"]
    _, cell = cells(server, stream_id)
    cell.source = f"import httpx\n{cell.source}"
    kernel.nb.cells = [cell]
    running = asyncio.create_task(kernel.async_execute_cell(cell, 0))
    async with asyncio.timeout(30):
        while not any("00000003" in output.get("text", "") for output in cell.get("outputs", [])):
            assert not running.done(), await running
            await asyncio.sleep(0.05)
    assert kernel.km is not None
    await ensure_async(kernel.km.interrupt_kernel())
    with pytest.raises(CellExecutionError, match="KeyboardInterrupt"):
        await running
    snapshot = await fetch(server.port, f"/streams/{stream_id}?format=json")
    assert snapshot.json["status"] == "cancelled"
