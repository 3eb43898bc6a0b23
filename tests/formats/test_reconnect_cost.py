from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from starlette.requests import Request

from inkstream import PersistentTextStreaming
from inkstream._types import Page
from inkstream.formats import ag_ui, ai_sdk
from inkstream.http.formats import Format
from inkstream.stores import sqlite  # noqa: F401 - it reads files when it is imported first
from tests import postgres_server
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


@pytest.fixture(params=["sqlite", "postgres"])
async def url(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/ink.db"
        return
    server = postgres_server.server(postgres_server.versions()[0])
    database = await server.make_database()
    yield database
    await server.drop_database(database)


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that gets each statement by which a store reads messages."""
    sent: list[str] = []
    open_sqlite, open_pool = sqlite3.connect, asyncpg.create_pool

    def traced(*args: Any, **kwargs: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = open_sqlite(*args, **kwargs)
        # The writing connection is not traced, because it also reads segments to merge them.
        reads_only: list[bool] = []

        def trace(statement: str) -> None:
            reads_only.extend([True] * statement.startswith("PRAGMA query_only=1"))
            if reads_only and "segments" in statement:
                sent.append(statement)

        connection.set_trace_callback(trace)
        return connection

    async def log(connection: Any) -> None:
        def trace(query: Any) -> None:
            if "read_streams" in query.query:
                sent.append(query.query)

        connection.add_query_logger(trace)

    def pooled(*args: Any, **kwargs: Any) -> Any:
        return open_pool(*args, init=log, **kwargs)

    monkeypatch.setattr(sqlite3, "connect", traced)
    monkeypatch.setattr(asyncpg, "create_pool", pooled)
    return sent


@dataclass(frozen=True, slots=True)
class Cost:
    """How many segments each read of a reconnect returned, and how many SQL statements ran."""

    reads: list[int]
    statements: int


async def cost_of_a_reconnect(
    url: str,
    form: Format,
    characters: int,
    statements: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Cost:
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
    async with PersistentTextStreaming(url) as streams:  # nothing of the stream is in memory
        store = streams.engine.readers._store
        read, reads = store.read, []

        async def counted(*args: Any, **kwargs: Any) -> Page:
            page = await read(*args, **kwargs)
            reads.append(len(page.segments))
            return page

        monkeypatch.setattr(store, "read", counted)
        await streams.read(await streams.create())  # open the connections before counting
        reads.clear()
        statements.clear()
        answer = await get(streams, name, form, cursor)
        assert b"last" in answer.body
        return Cost(reads, len(statements))


@pytest.mark.parametrize("form", [ai_sdk, ag_ui], ids=["ai_sdk", "ag_ui"])
async def test_reads_are_the_same_at_any_length(
    url: str, form: Format, statements: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """G9: a reconnect reads as much from the store after 10,000 characters as after 1,000,000."""
    short = await cost_of_a_reconnect(url, form, 10_000, statements, monkeypatch)
    long = await cost_of_a_reconnect(url, form, 1_000_000, statements, monkeypatch)
    assert short == long
    assert len(short.reads) <= 4
    assert 0 < short.statements <= 8
    assert sum(short.reads) <= 4
