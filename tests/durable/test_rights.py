"""Allowed requests succeed, and denied requests learn nothing about a stream."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from starlette.requests import Request

from inkstream import PersistentTextStreaming
from inkstream._types import StreamState
from tests.durable.mount import TEXT, client_of


def test_mounting_requires_authorize() -> None:
    with pytest.raises(TypeError, match="authorize"):
        PersistentTextStreaming("memory://").durable_streams()


async def test_a_denied_stream_looks_absent(streams: PersistentTextStreaming) -> None:
    allowed: set[str] = set()
    asked: list[str] = []

    async def authorize(request: Request, stream: StreamState, action: str) -> bool:
        asked.append(f"{action} {stream.stream_id}")
        return f"{action} {stream.stream_id}" in allowed

    async with client_of(streams.durable_streams(authorize=authorize)) as client:

        async def ask(method: str, path: str, *rights: str, **more: Any) -> int:
            allowed.clear()
            allowed.update(rights)
            return (await client.request(method, path, **more)).status_code

        text: dict[str, Any] = {"headers": TEXT, "content": b"x"}
        closing: dict[str, Any] = {"headers": TEXT | {"stream-closed": "true"}}
        fork = {"headers": {"stream-forked-from": "/s"}}
        assert await ask("PUT", "/s", **text) == 403
        assert await ask("PUT", "/s", "create s", **text) == 201
        for method in ("GET", "HEAD"):
            assert await ask(method, "/s", "append s", "create s") == 404
            assert await ask(method, "/s", "read s") == 200
        assert await ask("POST", "/s", "read s", "close s", **text) == 404
        assert await ask("POST", "/s", "append s", **text) == 204
        assert await ask("POST", "/s", "append s", content=b"x", **closing) == 404
        assert await ask("PUT", "/f", "create f", **fork) == 404
        assert await ask("PUT", "/f", "read s", **fork) == 403
        assert await ask("PUT", "/f", "create f", "read s", **fork) == 201
        assert await ask("POST", "/s", "close s", **closing) == 204
        assert await ask("DELETE", "/s", "read s", "append s", "close s", "create s") == 404
        assert await ask("DELETE", "/s", "delete s") == 204
        assert {entry.split()[0] for entry in asked} == {
            *("create", "read", "append", "close", "delete")
        }


async def test_another_site_may_not_write_with_this_sites_cookie(client: httpx.AsyncClient) -> None:
    forged = {"cookie": "session=1", "sec-fetch-site": "cross-site"}
    answer = await client.post("/s", headers=TEXT | forged, content=b"x")
    assert (answer.status_code, answer.json()["code"]) == (403, "cross_site")
