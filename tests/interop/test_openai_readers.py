"""OpenAI's own clients, for Python and Node.js, read a stream as a chat completion."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from tests import prerequisites, processes
from tests.http.servers import Server, serving
from tests.interop.openai_app import PARTS
from tests.proxy import proxy_before

pytestmark = [pytest.mark.interop, pytest.mark.timeout(90)]

CLIENTS = Path(__file__).parent / "clients"
TEXT = "".join(part for part in PARTS if isinstance(part, str))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("openai")
    with serving(directory, app="tests.interop.openai_app:app") as server:
        yield server


async def chunks(port: int, prompt: str) -> AsyncIterator[Any]:
    async with openai.AsyncOpenAI(
        api_key="k", base_url=f"http://127.0.0.1:{port}/v1", max_retries=0
    ) as client:
        answer = await client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": prompt}], stream=True
        )
        async for chunk in answer:
            yield chunk


async def listen(port: int, prompt: str, said: io.StringIO) -> None:
    async for chunk in chunks(port, prompt):
        said.write(chunk.choices[0].delta.content or "")


async def test_python(server: Server) -> None:
    """G2, G5: the client gets text, reasoning, tool calls, usage, model and finish reason."""
    got = [chunk async for chunk in chunks(server.port, "tools")]
    deltas = [choice.delta for chunk in got for choice in chunk.choices]
    assert "".join(delta.content or "" for delta in deltas) == TEXT
    assert "".join(getattr(delta, "reasoning_content", "") or "" for delta in deltas) == "Hm, two."
    calls: dict[int, dict[str, str]] = {}
    for delta in deltas:
        for call in delta.tool_calls or ():
            known = calls.setdefault(call.index, {"id": call.id or "", "name": "", "input": ""})
            known["name"] += call.function.name or ""
            known["input"] += call.function.arguments or ""
    assert [(call["id"], call["name"], json.loads(call["input"])) for call in calls.values()] == [
        ("c1", "weather", {"city": "Bern"}),
        ("c2", "weather", {"city": "Oslo"}),
    ]
    last = got[-1]
    assert last.choices[0].finish_reason == "tool_calls"
    assert last.usage is not None
    assert (last.usage.prompt_tokens, last.usage.completion_tokens) == (3, 4)
    assert last.model == "scripted"


async def test_python_stream_helper(server: Server) -> None:
    async with (
        openai.AsyncOpenAI(api_key="k", base_url=f"http://127.0.0.1:{server.port}/v1") as client,
        client.chat.completions.stream(
            model="m", messages=[{"role": "user", "content": "tools"}]
        ) as stream,
    ):
        completion = await stream.get_final_completion()
    choice = completion.choices[0]
    assert choice.message.content == TEXT
    assert [call.id for call in choice.message.tool_calls or ()] == ["c1", "c2"]
    assert choice.finish_reason == "tool_calls"


async def test_python_a_failure_raises(server: Server) -> None:
    """G5: if a stream fails, the client raises an error with only the public message and code."""
    said = io.StringIO()
    with pytest.raises(openai.APIError) as caught:
        await listen(server.port, "error", said)
    assert said.getvalue() == "Some words "
    assert (caught.value.message, caught.value.code) == ("Too many questions.", "overloaded")


async def test_python_a_cut_raises(server: Server) -> None:
    """G5: if the connection breaks, the client raises an error."""
    async with proxy_before(server.port) as proxy:
        proxy.cut_after = 1200
        said = io.StringIO()
        with pytest.raises((openai.APIError, httpx.HTTPError)):
            await listen(proxy.port, "tools", said)
    assert TEXT.startswith(said.getvalue())


@pytest.mark.parametrize("prompt", ["tools", "error"])
async def test_node(server: Server, prompt: str, installed: str) -> None:
    """G2, G5: the Node.js client gets text, tool calls, usage and finish reason, or an error."""
    node = prerequisites.program("node")
    address = f"http://127.0.0.1:{server.port}/v1"
    _, out, _ = await processes.run(node, "openai.js", address, prompt, cwd=CLIENTS)
    got = json.loads(out)
    if prompt == "error":
        assert got == {
            "text": "Some words ",
            "error": "Too many questions.",
            "code": "overloaded",
        }
        return
    assert got["text"] == TEXT
    assert [(c["id"], json.loads(c["arguments"])) for c in got["calls"]] == [
        ("c1", {"city": "Bern"}),
        ("c2", {"city": "Oslo"}),
    ]
    assert got["finish"] == "tool_calls"
    assert got["usage"]["total_tokens"] == 7
