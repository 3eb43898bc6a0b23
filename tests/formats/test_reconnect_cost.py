"""A reconnect reads only what follows its cursor, even in a long answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request

from inkstream import PersistentTextStreaming
from inkstream._types import Page
from inkstream.formats import ag_ui, ai_sdk
from inkstream.http.formats import Format
from inkstream.stores import sqlite  # noqa: F401 - it reads files when it is imported first
from tests.formats.test_ui_message_chat import Answer, _sent

OPEN: list[dict[str, Any]] = [
    {"type": "tool-input-available", "toolCallId": "c1", "toolName": "t", "input": {}},
    {"type": "reasoning-start", "id": "r"},
]


async def get(streams: PersistentTextStreaming, name: str, form: Format, cursor: str) -> Answer:
    headers = [(b"last-event-id", cursor.encode())] if cursor else []
    request = Request(
        {"type": "http", "method": "GET", "path": "/", "headers": headers, "query_string": b""}
    )
    return await _sent(request, streams.response(request, name, format=form))


async def reads_of_a_reconnect(
    directory: Path, form: Format, characters: int, monkeypatch: pytest.MonkeyPatch
) -> list[tuple[int, int]]:
    """Return how many segments and bytes each read of the store returned."""
    url = f"sqlite:///{directory}/{characters}.db"
    async with PersistentTextStreaming(url) as streams:
        name = await streams.create()
        async with streams.write(name) as writer:
            for part in OPEN:
                await writer.append(part)
            for _ in range(characters // 1000):
                await writer.append("x" * 1000)
                await writer.flush()
            await writer.append({"type": "reasoning-delta", "id": "r", "delta": "last"})
        whole = await get(streams, name, form, "")
        last = next(i for i, chunk in enumerate(whole.chunks) if chunk.get("delta") == "last")
        cursor = whole.ids[last - 1]
    async with PersistentTextStreaming(url) as streams:  # a new instance, so nothing is in memory
        store = streams.engine.readers._store
        read, reads = store.read, []

        async def counted(*args: Any, **kwargs: Any) -> Page:
            page = await read(*args, **kwargs)
            reads.append((len(page.segments), sum(len(s.payload) for s in page.segments)))
            return page

        monkeypatch.setattr(store, "read", counted)
        answer = await get(streams, name, form, cursor)
        assert b"last" in answer.body
        return reads


@pytest.mark.parametrize("form", [ai_sdk, ag_ui], ids=["ai_sdk", "ag_ui"])
async def test_reads_are_the_same_at_any_length(
    form: Format, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G9: a reconnect costs the same at 10,000 and at 1,000,000 characters (counted)."""
    short = await reads_of_a_reconnect(tmp_path, form, 10_000, monkeypatch)
    long = await reads_of_a_reconnect(tmp_path, form, 1_000_000, monkeypatch)
    assert len(short) == len(long) <= 4
    assert [segments for segments, _ in short] == [segments for segments, _ in long]
