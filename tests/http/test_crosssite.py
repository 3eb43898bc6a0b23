"""A page of another origin must not start or cancel streams with a visitor's cookie."""

from __future__ import annotations

import pytest
from starlette.requests import Request

from inkstream import PersistentTextStreaming
from inkstream.http.routes import StreamRoutes
from tests.http.asgi import Gate, ask, scope_of

COOKIE = {"cookie": "session=1"}
BASIC = {"authorization": "Basic dTpw"}
BEARER = {"authorization": "Bearer t"}


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        ({}, True),
        (COOKIE, True),
        (COOKIE | {"sec-fetch-site": "same-origin"}, True),
        (COOKIE | {"sec-fetch-site": "none"}, True),
        (COOKIE | {"sec-fetch-site": "same-site"}, False),
        (COOKIE | {"sec-fetch-site": "cross-site"}, False),
        (COOKIE | {"sec-fetch-site": "cross-site", "origin": "https://app.example"}, False),
        (COOKIE | {"sec-fetch-site": "cross-site", "origin": "https://friend.example"}, True),
        (COOKIE | {"origin": "https://app.example"}, True),
        (COOKIE | {"origin": "https://evil.example"}, False),
        (COOKIE | {"origin": "https://friend.example"}, True),
        (COOKIE | {"origin": "https://friend.example.evil.example"}, False),
        (COOKIE | {"origin": "https://app.example:8443"}, False),
        (COOKIE | {"origin": "null"}, False),
        (COOKIE | {"sec-fetch-site": "same-origin", "origin": "null"}, True),
        ({"sec-fetch-site": "cross-site", "origin": "https://evil.example"}, True),
        (BEARER | COOKIE | {"sec-fetch-site": "cross-site"}, True),
        # A browser adds a remembered Basic password even to a form that another origin sends.
        (BASIC | {"sec-fetch-site": "cross-site", "origin": "https://evil.example"}, False),
        (BASIC | COOKIE | {"origin": "https://evil.example"}, False),
        (BASIC, True),
    ],
)
async def test_browser_credentials_count_only_from_this_site(
    streams: PersistentTextStreaming,
    routes: StreamRoutes,
    headers: dict[str, str],
    allowed: bool,
) -> None:
    name = await streams.create()
    call = await ask(routes, f"/{name}/cancel", method="POST", headers=headers)
    assert call.status == (204 if allowed else 403)
    assert (await streams.read(name)).status == ("cancelled" if allowed else "pending")
    if not allowed:
        assert call.code == "cross_site"
        assert "allowed_origins" in call.json["detail"]
        assert "None" not in call.json["detail"]

    driven = await streams.create()
    gate = Gate()
    gate.say(None)
    request = Request(scope_of("POST", "/drive", headers))
    answer = await ask(streams.stream(request, driven, gate), "/drive", method="POST")
    assert answer.status == (200 if allowed else 403)
    assert gate.calls == (1 if allowed else 0)


@pytest.mark.parametrize("origin", ["https://evil.example", "https://sub.app.example:8443"])
async def test_the_refusal_names_the_origin_to_allow(routes: StreamRoutes, origin: str) -> None:
    """A subdomain or another port is another origin, even if it belongs to the same site."""
    headers = COOKIE | {"origin": origin, "sec-fetch-site": "same-site"}
    call = await ask(routes, "/x/cancel", method="POST", headers=headers)
    assert f"from another origin ({origin})" in call.json["detail"]
    assert f"allowed_origins=[{origin!r}]" in call.json["detail"]


async def test_the_advice_for_a_page_without_an_origin(
    routes: StreamRoutes,
) -> None:
    """``allowed_origins`` cannot contain ``null``, so the error must not advise to add ``null``."""
    call = await ask(routes, "/x/cancel", method="POST", headers=COOKIE | {"origin": "null"})
    assert "allowed_origins=[" not in call.json["detail"]
    assert "Referrer-Policy" in call.json["detail"]


async def test_reading_is_not_checked(
    streams: PersistentTextStreaming, routes: StreamRoutes
) -> None:
    """Requests that only read are not checked, because CORS decides which origins may read."""
    name = await streams.create()
    headers = COOKIE | {"sec-fetch-site": "cross-site"}
    assert (await ask(routes, f"/{name}?format=json", headers=headers)).status == 200
