from __future__ import annotations

import importlib
import itertools
import warnings
from collections.abc import Callable
from typing import Any, cast
from urllib.parse import unquote

import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.types import ASGIApp, Message

from inkstream import PersistentTextStreaming
from inkstream.http.asgi import place_of
from tests.http.asgi import ask, scope_of

IDS = ["x", "a/b", "ü", "100%", "a b?c#d", "streams", "api", "cancel", "%2F", "a/", "m"]


def encoded(name: str) -> str:
    return "".join(f"%{byte:02X}" if byte != 0x61 else "a" for byte in name.encode())


def starlette_mount(app: ASGIApp, root: str) -> ASGIApp:
    return Starlette(routes=[Mount("/m", app)])


def nested_mounts(app: ASGIApp, root: str) -> ASGIApp:
    return Starlette(routes=[Mount("/m", Starlette(routes=[Mount("/n", app)]))])


def mount_in_fastapi(app: ASGIApp, root: str) -> ASGIApp:
    with warnings.catch_warnings():
        # Newer versions of FastAPI warn that ``root_path`` is deprecated.
        warnings.simplefilter("ignore")
        outer = FastAPI(root_path=root)
    outer.mount("/m", app)
    return outer


def litestar_mount(app: ASGIApp, root: str) -> ASGIApp:
    litestar: Any = importlib.import_module("litestar")
    handler = litestar.asgi("/m", is_mount=True, copy_scope=True)(app)
    return cast("ASGIApp", litestar.Litestar([handler], logging_config=None))


FRAMEWORKS: dict[str, tuple[Callable[[ASGIApp, str], ASGIApp], str]] = {
    "starlette": (starlette_mount, "/m"),
    "nested": (nested_mounts, "/m/n"),
    "fastapi": (mount_in_fastapi, "/m"),
    "litestar": (litestar_mount, "/m"),
    "bare": (lambda app, root: app, ""),
}


def seen_by_server(path: str, root: str, *, stripped: bool, raw: bool) -> dict[str, Any]:
    """Return the ASGI scope that a server behind a proxy builds.

    The public path of each request begins with ``root``. If ``stripped``, the proxy removes
    ``root`` from the path before it passes the request on.
    """
    scope = scope_of("GET", path if stripped else root + path, root_path=root)
    if not raw:
        del scope["raw_path"]
    return scope


async def call(app: ASGIApp, scope: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    headers = {k.decode(): v.decode() for k, v in sent[0]["headers"]}
    return sent[0]["status"], headers, b"".join(m.get("body", b"") for m in sent[1:])


ROUTED = [
    (framework, root, stripped)
    for framework, root, stripped in itertools.product(
        FRAMEWORKS, ["", "/api", "/deep/er"], [False, True]
    )
    # Starlette's nested mounts fail if the proxy has removed ``root`` from the path. Litestar fails
    # if the proxy has kept ``root``, because Litestar then looks for a route that begins with it.
    if not root or (framework, stripped) not in (("nested", True), ("litestar", False))
]


@pytest.mark.parametrize(("framework", "root", "stripped"), ROUTED)
async def test_mount_finds_the_id(
    streams: PersistentTextStreaming, framework: str, root: str, stripped: bool
) -> None:
    wrap, below = FRAMEWORKS[framework]
    is_bare = framework in ("bare", "litestar")
    app = wrap(streams.asgi(allow_anonymous=True), root)
    for name in IDS:
        if (framework == "litestar" and name == "a/") or (is_bare and f"/{name}" == root):
            # Litestar removes the last slash of a path. If the id equals ``root``, the app
            # cannot know which of the two it sees in the path.
            continue
        await streams.create(name)
        await streams.cancel(name)
        scope = seen_by_server(f"{below}/{encoded(name)}", root, stripped=stripped, raw=True)
        status, headers, body = await call(app, scope)
        assert (status, unquote(headers["stream-id"])) == (200, name)
        assert b'"cancelled"' in body


@pytest.mark.parametrize("framework", ["starlette", "fastapi", "bare"])
async def test_mount_without_raw_path(streams: PersistentTextStreaming, framework: str) -> None:
    wrap, below = FRAMEWORKS[framework]
    await streams.create("ü%")
    await streams.cancel("ü%")
    scope = seen_by_server(f"{below}/%C3%BC%25", "", stripped=False, raw=False)
    status, headers, _ = await call(wrap(streams.asgi(allow_anonymous=True), ""), scope)
    assert (status, headers["stream-id"]) == (200, "%C3%BC%25")


@pytest.mark.parametrize("framework", ["starlette", "fastapi", "litestar"])
@pytest.mark.parametrize("root", ["", "/api"])
async def test_durable_mount_uses_the_clients_paths(
    streams: PersistentTextStreaming, framework: str, root: str
) -> None:
    """The ``Location`` header contains the prefix that the proxy removed from the client's path.

    A client may write the path of a fork's source with or without this prefix.
    """
    wrap, below = FRAMEWORKS[framework]
    app = wrap(streams.durable_streams(allow_anonymous=True), root)
    scope = seen_by_server(f"{below}/s%2F1", root, stripped=True, raw=True) | {"method": "PUT"}
    if framework == "litestar":
        scope["root_path"] = root
    status, headers, _ = await call(app, scope)
    assert (status, headers["location"]) == (201, f"https://app.example{root}{below}/s%2F1")
    for number, source in enumerate((f"{root}{below}/s%2F1", f"{below}/s%2F1")):
        fork = seen_by_server(f"{below}/f{number}", root, stripped=True, raw=True)
        fork["headers"].append((b"stream-forked-from", source.encode()))
        status, _, _ = await call(app, fork | {"method": "PUT"})
        assert status == 201


def test_place_survives_anything() -> None:
    for path, raw, root in [
        ("", b"", ""),
        ("/", b"/", "/"),
        ("/\ufffd", b"/%FF", ""),
        ("/m/\ufffd", b"/m/%FF", "/m"),
        ("/x", None, "/x/"),
        ("x", b"x", "y"),
        ("/\udc80", None, ""),
        ("/a//b", b"/a//b", "/a"),
        ("*", b"*", ""),
        ("/m", b"/m?x", "/m"),
        ("/" * 5000, b"/" * 5000, ""),
    ]:
        scope = {"type": "http", "path": path, "raw_path": raw, "root_path": root}
        assert isinstance(place_of(scope).rest, str)
    scope = {"type": "http", "path": "/m/\ufffd/cancel", "raw_path": b"/m/%FF/cancel"}
    assert place_of(scope | {"root_path": "/m"}).rest == "%FF/cancel"


ORIGINS = ["http://[::1", "http://[", "//", "null", "", "http://", "http://]", "https://a:b:c"]


HOSTS = ["app.example", "[::1", "", "[", "a:99999999"]
FOREIGN = [
    (origin, host)
    for origin, host in itertools.product(ORIGINS, HOSTS)
    if not (host and origin.endswith(f"//{host}"))
]


@pytest.mark.parametrize(("origin", "host"), FOREIGN)
async def test_malformed_origin_is_refused(
    streams: PersistentTextStreaming, origin: str, host: str
) -> None:
    await streams.create("s")
    api = FastAPI()
    api.include_router(streams.router(allow_anonymous=True))
    headers = {"cookie": "session=1", "origin": origin, "host": host}
    mounts: list[tuple[ASGIApp, str, str]] = [
        (streams.asgi(allow_anonymous=True), "POST", "/s/cancel"),
        (api, "POST", "/s/cancel"),
        (streams.durable_streams(allow_anonymous=True), "PUT", "/t"),
    ]
    for app, method, path in mounts:
        answer = await ask(app, path, method=method, headers=headers)
        assert (answer.status, answer.code) == (403, "cross_site")


@pytest.mark.parametrize("kind", ["asgi", "durable_streams"])
async def test_websocket_is_refused_quietly(
    tmp_path: Any, streams: PersistentTextStreaming, kind: str
) -> None:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    app = getattr(streams, kind)(allow_anonymous=True)
    await app({"type": "websocket", "path": "/x", "headers": []}, receive, send)
    assert [message["type"] for message in sent] == ["websocket.close"]
