"""Compare the examples and tables of docs/http.md with real responses and the code."""

from __future__ import annotations

import json
import re
from types import SimpleNamespace
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request
from pydantic import BaseModel

import inkstream
from inkstream import InkstreamError, PersistentTextStreaming, StreamResponse
from inkstream.http.problems import _STATUS
from inkstream.testing import ScriptedSource
from tests.docs.blocks import ROOT, blocks_of
from tests.http.asgi import ask
from tests.http.test_many import batch

PAGE = ROOT / "docs/http.md"
ELSEWHERE = {
    "cross_site": 403,
    "method_not_allowed": 405,
    "not_acceptable": 406,
    "internal": 500,
    "check_failed": 503,
}
"""Codes that have no public error class."""

NEVER_ANSWERED = {"error", "not_running", "store", "schema_outdated"}
"""Codes that a client sees as ``internal``."""


def without_internal_id(text: str) -> str:
    return re.sub(r"\b[0-9A-V]{10}(_[0-9A-V]{9}_)[A-Za-z0-9_-]{4}", r"\1", text)


async def test_the_blocks_match_a_server() -> None:
    events, snapshot, _ = [block.code for block in blocks_of(PAGE) if block.kind == "checked"]
    async with PersistentTextStreaming("memory://") as streams:
        routes = streams.asgi(allow_anonymous=True)
        stream_id = await streams.create()
        source = ScriptedSource()
        task = streams.start(stream_id, source)
        await source.send("Hello, ")
        await anext(streams.follow(stream_id))  # otherwise both items would be committed together
        await source.send({"type": "tool_call", "name": "search"})
        async for item in streams.follow(stream_id):
            if not isinstance(item, str):
                break
        live = await ask(routes, f"/{stream_id}?format=json")
        assert comparable(live.json) == comparable(json.loads(snapshot))

        await source.finish({"tokens": 12})
        await task
        answer = await ask(routes, f"/{stream_id}")
        assert (
            without_internal_id(answer.body.decode()).rstrip()
            == without_internal_id(events).rstrip()
        )


async def test_own_routes_offer_and_serve_many() -> None:
    """At the path that ``Stream-Follow`` names, a client gets only its own chat's streams."""
    [code] = [block.code for block in blocks_of(PAGE) if block.language == "python"]
    async with PersistentTextStreaming("memory://") as streams:
        app = FastAPI()
        mine = Annotated[SimpleNamespace, Depends(lambda chat_id: SimpleNamespace(id=chat_id))]
        names: dict[str, Any] = {"app": app, "streams": streams, "MyChat": mine}
        given = {"BaseModel": BaseModel, "Request": Request, "StreamResponse": StreamResponse}
        exec(code, names | given)
        for name, chat in (("a", "mine"), ("b", "other")):
            await streams.create(name, group=chat)
            await streams.cancel(name)
        offered = await ask(app, "/chats/mine/streams/a?format=json")
        beside = offered.headers["stream-follow"]
        answer = await batch(app, {"a": None, "b": None}, f"/chats/mine/streams/{beside}")
        assert list(answer["streams"]) == ["a"]
        assert answer["refused"] == {"b": {"status": 404, "code": "not_found"}}


def comparable(snapshot: dict[str, Any]) -> dict[str, Any]:
    """Replace the values that differ in each run by their types."""
    changing = ("stream_id", "created_at", "started_at")
    snapshot = snapshot | {name: type(snapshot[name]) for name in changing}
    return snapshot | {"offset": without_internal_id(snapshot["offset"])}


def test_the_tables_of_errors_match_the_code() -> None:
    rows = re.findall(r"^\| ([0-9]{3}) \| ([^|]*) \|", PAGE.read_text(), re.MULTILINE)
    documented = {
        (code, int(status)) for status, codes in rows for code in codes.strip("` ").split("`, `")
    }
    classes = [
        value
        for value in vars(inkstream).values()
        if isinstance(value, type) and issubclass(value, InkstreamError)
    ]
    actual = set(ELSEWHERE.items())
    for error in classes:
        if error.code not in NEVER_ANSWERED and error is not inkstream.StreamError:
            actual.add(
                (error.code, next(status for cls, status in _STATUS if issubclass(error, cls)))
            )
    assert documented == actual
