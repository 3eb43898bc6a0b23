from __future__ import annotations

import pytest
from starlette.requests import Request

from inkstream import PersistentTextStreaming
from tests.http.asgi import ask, scope_of
from tests.http.test_formats import ended


@pytest.mark.parametrize(
    ("query", "cached"),
    [
        ("", "private, no-cache, no-transform"),
        ("format=text", "private, no-cache, no-transform"),
        ("format=json", "private, no-cache"),
        ("format=json&again", "private, no-cache"),
        ("offset={end}", "no-store"),
        ("offset=bad", "no-store"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("own", [{}, {"vary": "Cookie"}])
async def test_no_cache_gives_an_answer_to_somebody_else_or_in_another_format(
    streams: PersistentTextStreaming, query: str, cached: str, method: str, own: dict[str, str]
) -> None:
    name = await ended(streams, "x")
    snapshot = await ask(streams.response(Request(scope_of("GET", "/?format=json")), name), "/")
    path = "/?" + query.format(end=snapshot.json["offset"])
    headers = {"if-none-match": snapshot.headers["etag"]} if "again" in query else {}
    request = Request(scope_of(method, path, headers=headers))
    response = streams.response(request, name, headers=own)
    call = await ask(response, path, headers=headers, method=method)
    assert (call.status == 304) is ("again" in query)
    assert call.headers["cache-control"] == cached
    if call.status < 400:
        assert call.headers["vary"] == ", ".join([*own.values(), "Accept, Last-Event-ID"])
