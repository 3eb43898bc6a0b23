"""Unchanged npm clients read examples/usechat and examples/agui, with a cut after each event."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests import prerequisites, processes

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]

ROOT = Path(__file__).parents[2]
CLIENTS = Path(__file__).parent / "clients"
PAUSES = {"USECHAT_PAUSE_S": "0.005", "AGUI_PAUSE_S": "0.005"}


async def run(kind: str, url: str, fetch: str) -> Any:
    """Run ``cuts.js`` with these arguments. Return the object that it prints."""
    node = prerequisites.program("node")
    code, out, _ = await processes.run(node, CLIENTS / "cuts.js", kind, url, fetch, cwd=CLIENTS)
    assert code == 0
    return json.loads(out)


@pytest.mark.parametrize("version", ["ai-6", "ai-7"])
async def test_use_chat_cut_after_every_event(version: str, installed: str, tmp_path: Path) -> None:
    """G2: a message with text, reasoning and two tools is the same after a cut at any event."""
    async with processes.example("usechat", tmp_path, environment=PAUSES) as url:
        told = await run(version, f"{url}/api/chat", installed)
        async with httpx.AsyncClient() as client:
            chats = await client.get(f"{url}/api/chat/{told['chat']}/messages")
    assert told["events"] > 40
    assert len(told["cuts"]) == told["events"] - 1
    assert all(message == told["whole"] for message in told["cuts"])
    kinds = [part["type"] for part in told["whole"]["parts"]]
    assert kinds.count("tool-weather") == 2
    assert {"reasoning", "text", "source-url"} < set(kinds)
    assert chats.json()[1] == told["whole"], "the history differs from the client's message"


async def test_ag_ui_cut_after_every_event(installed: str, tmp_path: Path) -> None:
    """G2: the messages of an AG-UI run are the same after a cut at any event."""
    async with processes.example("agui", tmp_path, environment=PAUSES) as url:
        told = await run("ag-ui", f"{url}/agui", installed)
    assert told["events"] > 25
    assert len(told["cuts"]) == told["events"] - 1
    assert all(messages == told["whole"] for messages in told["cuts"])
    roles = [message["role"] for message in told["whole"]]
    assert roles == ["reasoning", "assistant", "tool", "assistant", "tool", "assistant"]
