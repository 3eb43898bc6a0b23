"""Calls on a stream check rights, responses name their stream, and no repr shows a secret."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeAlias

import pytest
from starlette.requests import Request

from inkstream import Kind, PersistentTextStreaming, StreamNotFound
from tests.http.asgi import ask, scope_of

Call: TypeAlias = Callable[..., Awaitable[Any]]


@pytest.fixture
async def streams() -> AsyncIterator[PersistentTextStreaming]:
    async with PersistentTextStreaming("memory://") as streams:
        yield streams


def calls_of(streams: PersistentTextStreaming) -> dict[str, Call]:
    """Return calls that compare ``owner`` and ``group`` with those of the stream."""

    async def follow(stream_id: str, **whose: str) -> None:
        await anext(streams.follow(stream_id, **whose))

    async def post(stream_id: str, **whose: str) -> str:
        return await streams.post(stream_id, "text", **whose)

    return {
        "read": streams.read,
        "wait": streams.wait,
        "follow": follow,
        "cancel": streams.cancel,
        "post": post,
        "close": streams.close,
    }


@pytest.mark.parametrize("name", ["read", "wait", "follow", "cancel", "post", "close"])
@pytest.mark.parametrize("field", ["owner", "group"])
async def test_rights_on_every_call(
    streams: PersistentTextStreaming, name: str, field: str
) -> None:
    kind = Kind.LOG if name in ("post", "close") else Kind.TEXT
    stream_id = await streams.create(kind=kind, owner="ann", group="chat")
    mine = {"owner": "ann", "group": "chat"}[field]
    call = calls_of(streams)[name]
    for other in ("bob", ""):
        with pytest.raises(StreamNotFound):
            await call(stream_id, **{field: other})
    before = await streams.read(stream_id)
    assert (before.text, before.end) == ("", None)
    if kind is Kind.TEXT:
        async with streams.write(stream_id) as writer:
            await writer.append("text")
            if name == "cancel":
                await writer.flush()
                assert await call(stream_id, **{field: mine})
                return
    await call(stream_id, **{field: mine})


async def test_answers_name_the_stream(streams: PersistentTextStreaming) -> None:
    stream_id = await streams.create("Antwort 1/ü%")
    async with streams.write(stream_id) as writer:
        await writer.append("text")
    request = Request(scope_of("GET", "/"))
    for form in ("events", "json", "text"):
        answer = await ask(streams.response(request, stream_id, format=form), "/")
        assert dict(answer.headers)["stream-id"] == "Antwort%201/%C3%BC%25"


async def test_reprs(streams: PersistentTextStreaming) -> None:
    assert repr(streams) == "<PersistentTextStreaming on memory://, running>"
    stream_id = await streams.create("s")
    async with streams.write(stream_id) as writer:
        await writer.append("word " * 100)
        assert repr(writer) == "<StreamWriter of 's', epoch 1, active>"
    body = await streams.read(stream_id)
    assert repr(body).startswith("<StreamBody 's' done, 500 characters: 'word word")
    assert len(repr(body)) < 150
    assert repr(await streams.list()) == "<Listing of 1 streams, cursor None>"
    assert repr(streams.follow(stream_id)) == "<Following of 's' after None>"


def test_no_secret_in_a_repr() -> None:
    streams = PersistentTextStreaming("sqlite:///a.db")
    assert repr(streams) == "<PersistentTextStreaming on sqlite:///a.db, not running>"
    streams = PersistentTextStreaming("postgresql://user:secret@host:5432/name?sslpassword=secret")
    assert repr(streams) == "<PersistentTextStreaming on postgresql://host:5432/name, not running>"
