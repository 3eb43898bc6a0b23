from __future__ import annotations

import ast
from collections.abc import AsyncIterator

import asyncpg
import pytest
import pytest_asyncio

from inkstream import PersistentTextStreaming, StreamNotFound
from inkstream.testing import ScriptedSource
from inkstream.testing.fixtures import streams
from tests import postgres_server
from tests.docs.blocks import ROOT, blocks_of

__all__ = ["streams"]  # pytest finds the fixture in this module by its name


@pytest_asyncio.fixture
async def inkstream_database() -> AsyncIterator[str]:
    """Return an application's database, which does not have inkstream's schema yet."""
    server = postgres_server.server(postgres_server.versions()[0])
    url = await server.make_database(migrated=False)
    yield url
    await server.drop_database(url)


@pytest.mark.parametrize("commits", [True, False])
async def test_question_and_answer_share_a_transaction(
    streams: PersistentTextStreaming, inkstream_database: str, commits: bool
) -> None:
    """G1: the application's transaction stores both the question and its stream, or neither."""
    connection = await asyncpg.connect(inkstream_database)
    await connection.execute("CREATE TABLE questions (prompt text, stream_id text)")
    transaction = connection.transaction()
    await transaction.start()
    stream_id = await streams.create(connection=connection)
    await connection.execute("INSERT INTO questions VALUES ('Why?', $1)", stream_id)
    await (transaction.commit() if commits else transaction.rollback())
    assert await connection.fetchval("SELECT count(*) FROM questions") == commits
    await connection.close()
    if not commits:
        with pytest.raises(StreamNotFound):
            await streams.read(stream_id)
        return
    model = ScriptedSource()
    streams.start(stream_id, model)
    await model.send("Because ", "of the sky.")
    assert await anext(streams.follow(stream_id)) == "Because of the sky."
    await model.finish({"tokens": 4})
    assert (await streams.wait(stream_id)).text == "Because of the sky."


async def test_a_failing_model_ends_the_stream_error(streams: PersistentTextStreaming) -> None:
    model = ScriptedSource()
    stream_id = await streams.create()
    streams.start(stream_id, model)
    await model.fail(RuntimeError("the provider is down"))
    body = await streams.wait(stream_id)
    assert body.status == "error"


def test_a_chat_is_tested_in_ten_lines() -> None:
    block = next(block for block in blocks_of(ROOT / "docs/testing.md") if block.kind == "pytest")
    (test,) = [
        node for node in ast.parse(block.code).body if isinstance(node, ast.AsyncFunctionDef)
    ]
    assert test.end_lineno is not None
    assert test.end_lineno - test.decorator_list[0].lineno + 1 <= 10
