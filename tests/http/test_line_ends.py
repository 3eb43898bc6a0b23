"""A client that splits lines with ``str.splitlines`` can read inkstream's JSON (G11)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from inkstream import PersistentTextStreaming
from inkstream.formats import ndjson
from tests.durable.mount import client_of
from tests.http.asgi import ask
from tests.http.test_format_objects import FORM

ENDS = [char for code in range(0x2030) if len(f"a{(char := chr(code))}b".splitlines()) > 1]
TEXT = "".join(f"{number}{char}" for number, char in enumerate(ENDS)) + "\\\u2028\\"

WANTED = [TEXT, {"t": TEXT}, TEXT]


async def made(streams: PersistentTextStreaming) -> str:
    name = await streams.create()
    async with streams.write(name) as writer:
        await writer.append(TEXT)
        await writer.append({"t": TEXT})
        await writer.append(TEXT)
        await writer.finish(result=TEXT)
    return name


def test_there_are_such_characters() -> None:
    assert len(ENDS) >= 10


@pytest.mark.parametrize("form", ["events", "json", "object", "ndjson"])
async def test_no_line_ends_inside_json(streams: PersistentTextStreaming, form: str) -> None:
    name = await made(streams)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        wanted: Any = {"object": FORM, "ndjson": ndjson}.get(form, form)
        response = streams.response(Request(scope, receive), name, format=wanted)
        await response(scope, receive, send)

    body = (await ask(app, "/")).body.decode()
    if form == "json":
        assert body.splitlines() == [body]
        assert json.loads(body)["parts"] == WANTED
        assert json.loads(body)["result"] == TEXT
        return
    if form == "ndjson":
        lines = [json.loads(line) for line in body.splitlines() if line]
        assert [line.get("text") or line.get("part") for line in lines[:3]] == WANTED
        assert lines[3]["end"]["result"] == TEXT
        return
    values = [json.loads(line[6:]) for line in body.splitlines() if line.startswith("data: ")]
    found = [value[1] if isinstance(value, list) else value for value in values]
    assert [value for value in found if value in (TEXT, {"t": TEXT})] == WANTED


async def test_durable_streams_too(streams: PersistentTextStreaming) -> None:
    raw = json.dumps([TEXT, {"t": TEXT}], ensure_ascii=False)
    kind = {"content-type": "application/json"}
    async with client_of(streams.durable_streams(allow_anonymous=True)) as client:
        await client.put("/s", headers=kind | {"stream-closed": "true"}, content=raw)
        answer = await client.get("/s")
        assert answer.text.splitlines() == [answer.text]
        assert answer.json() == [TEXT, {"t": TEXT}]
        events = (await client.get("/s?offset=-1&live=sse")).text.splitlines()
    data = [json.loads(line[5:]) for line in events if line.startswith("data:[")]
    assert data == [[TEXT, {"t": TEXT}]]
