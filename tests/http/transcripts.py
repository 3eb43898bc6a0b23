"""Print the status, headers and bytes of the responses to a long list of requests.

To compare two versions of the package, run this script with each version, and compare::

    PYTHONPATH=old/src python tests/http/transcripts.py > before
    PYTHONPATH=new/src python tests/http/transcripts.py > after
    diff before after

The script imports nothing from the tests, and only the public interface of the package. So it also
runs with an older version.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import re
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import unquote

from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Mount, Route
from starlette.types import Message

from inkstream import PersistentTextStreaming, Result, StreamError

HOST = ("host", "app.example")
JSON = ("content-type", "application/json")
TEXT = ("content-type", "text/plain")
BYTES = ("content-type", "application/octet-stream")
COOKIE = ("cookie", "session=1")

Headers = tuple[tuple[str, str], ...]


class Clock:
    """A clock whose date stands still. Otherwise each run would print other dates."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()

    def monotonic(self) -> float:
        return self.loop.time()

    def wall(self) -> float:
        return 1_790_000_000.0


def scope_of(method: str, path: str, headers: Headers, root_path: str = "") -> dict[str, Any]:
    target, _, query = path.partition("?")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": method,
        "scheme": "https",
        "path": unquote(target),
        "raw_path": target.encode(),
        "root_path": root_path,
        "query_string": query.encode(),
        "headers": [(k.encode("latin-1"), v.encode("latin-1")) for k, v in (HOST, *headers)],
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 443),
        "state": {},
    }


async def answer(app: Any, scope: dict[str, Any], body: bytes, leave_after_s: float) -> list[str]:
    """Return lines that describe what ``app`` sent. The client leaves after ``leave_after_s``."""
    left = asyncio.Event()
    asked = False
    sent: list[Message] = []

    async def receive() -> Message:
        nonlocal asked
        if not asked:
            asked = True
            return {"type": "http.request", "body": body, "more_body": False}
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    lines: list[str] = []
    task = asyncio.ensure_future(app(scope, receive, send))
    await asyncio.wait((task,), timeout=leave_after_s)
    if not task.done():
        lines.append("(went on until the client left)")
        left.set()
        await asyncio.wait((task,))
    error = task.exception()
    if error is not None:
        lines.append(f"raised {type(error).__name__}: {error}")
    for message in sent:
        if message["type"] == "http.response.start":
            lines.append(str(message["status"]))
            pairs = sorted((k.decode(), v.decode("latin-1")) for k, v in message["headers"])
            lines += [f"{name}: {value}" for name, value in pairs]
    data = b"".join(m.get("body", b"") for m in sent if m["type"] == "http.response.body")
    lines.append(repr(data))
    whole = bool(sent) and not sent[-1].get("more_body", False)
    lines.append("whole" if whole else "broken off")
    return [re.sub(r"\d{16}_\d{16}|[0-9A-V]{10}_[0-9A-V]{9}_[\w-]{4}", _offset, t) for t in lines]


_seen: dict[str, str] = {}


def _offset(match: re.Match[str]) -> str:
    """Replace an offset by a number, because the offsets differ in each run."""
    return _seen.setdefault(match[0], f"<offset {len(_seen) + 1}>")


async def pieces(*items: Any) -> AsyncIterator[Any]:
    for item in items:
        if isinstance(item, Exception):
            raise item
        yield item


async def fill(streams: PersistentTextStreaming) -> None:
    said: dict[str, tuple[Any, ...]] = {
        "done": (
            "Hello, ",
            "wörld\r\n",
            {"type": "tool", "n": 1.0},
            '\0 "end" \\',
            Result({"n": 1}),
        ),
        "empty": (),
        "failed": ("half", StreamError("It failed.", code="failed")),
        "broken": ("half", ValueError("secret")),
        "a/b c%": ("slash",),
        "lines": ("a\x0bb\x0cc\x1cd", {"t": "e\x1ff"}),
        "separators": ("a\u2028b\u2029c\x85d", {"t": "a\u2028b\u2029c\x85d"}),
    }
    for name, items in said.items():
        await streams.create(name, owner="ann", group="chat")
        await streams.start(name, lambda items=items: pieces(*items))
    await streams.create("pending", owner="bob")
    await streams.create("cancelled")
    await streams.cancel("cancelled")
    await streams.create("log", kind="log")
    await streams.create("gone")
    await streams.delete("gone")


def plain_requests() -> Iterator[tuple[str, str, Headers]]:
    names = ["done", "empty", "failed", "broken", "a%2Fb%20c%25", "lines", "separators"]
    names += ["cancelled", "pending", "log", "gone", "absent", "%FF", "a" * 300, ""]
    for name, form in itertools.product(names, ["", "?format=events", "?format=json"]):
        yield "GET", f"/{name}{form}", ()
    for name in names:
        yield "GET", f"/{name}?format=text", ()
        yield "HEAD", f"/{name}", ()
        yield "POST", f"/{name}/cancel", ()
    accepts = ["*/*", "text/event-stream", "application/json", "text/plain", "image/png"]
    accepts += ["application/*", "text/*", "text/plain, application/json", "TEXT/PLAIN;q=0.5", ""]
    for accept in accepts:
        yield "GET", "/done", (("accept", accept),)
    offsets = ["-1", "now", "0" * 16 + "_" + "0" * 16, "x", "1", "-2", "1_1", "\u00b2" * 16]
    for offset in offsets:
        yield (
            "GET",
            f"/done?offset={offset.encode('latin-1').hex() if not offset.isascii() else offset}",
            (),
        )
        yield "GET", "/done", (("last-event-id", offset),)
        yield "GET", "/log", (("last-event-id", offset),)
    for form in ("xml", "", "events", "TEXT"):
        yield "GET", f"/done?format={form}", ()
    for method in ("PUT", "DELETE", "PATCH", "OPTIONS", "POST"):
        yield method, "/done", ()
        yield method, "/done/cancel", ()
    for path in ("/done/", "/done/other", "/done/cancel/", "//done", "/", "/done//cancel"):
        yield "GET", path, ()
        yield "POST", path, ()
    yield "HEAD", "/done?format=json", ()
    yield "HEAD", "/done?format=text", ()


def cross_site() -> Iterator[tuple[str, str, Headers]]:
    origins = ["https://app.example", "http://app.example", "https://friend.example", "null"]
    origins += ["https://evil.example", "https://app.example:8443"]
    sites = ["", "same-origin", "same-site", "cross-site", "none"]
    for origin, site in itertools.product([*origins, ""], sites):
        headers = [COOKIE]
        if origin:
            headers.append(("origin", origin))
        if site:
            headers.append(("sec-fetch-site", site))
        yield "POST", "/done/cancel", tuple(headers)
    for scheme in ("Basic eA==", "Bearer x", "Negotiate x"):
        yield (
            "POST",
            "/done/cancel",
            (("authorization", scheme), ("origin", "https://evil.example")),
        )


def durable_requests() -> Iterator[tuple[str, str, Headers, bytes]]:
    """Yield requests to the mount of Durable Streams. The order of the requests matters."""
    closed = ("stream-closed", "true")
    yield "PUT", "/json", (JSON,), b'[{"a": 1.0}, "text", 3]'
    yield "PUT", "/json", (JSON,), b""
    yield "PUT", "/json", (TEXT,), b""
    yield "PUT", "/text", (TEXT,), "hällo\nwörld".encode()
    yield "PUT", "/bytes", (), bytes(range(40))
    yield "PUT", "/closed", (TEXT, closed), b"all"
    yield "PUT", "/a/b", (JSON,), b'{"x": [1, {"y": "\xe2\x80\xa8"}]}'
    yield "PUT", "/ttl", (("stream-ttl", "60"),), b""
    yield "PUT", "/bad", (("stream-ttl", "1.5"),), b""
    yield "PUT", "/bad", (("stream-ttl", "6"), ("stream-expires-at", "2030-01-01T00:00:00Z")), b""
    yield "PUT", "/until", (("stream-expires-at", "2030-01-01T00:00:00Z"),), b""
    for body in (
        b"[",
        b"nul",
        b'{"a": NaN}',
        b"[1,]",
        b"\xff",
        b'{"inkstream:end": 1}',
        b"[" * 200,
    ):
        yield "POST", "/json", (JSON,), body
        yield "PUT", "/new", (JSON,), body
    yield "POST", "/json", (JSON,), b'[4, "\\u2028"]'
    yield "POST", "/json", (TEXT,), b"x"
    yield "POST", "/json", (), b"x"
    yield "POST", "/json", (JSON,), b""
    yield "POST", "/text", (TEXT,), b" more"
    yield "POST", "/closed", (TEXT,), b"more"
    yield "POST", "/closed", (closed,), b""
    yield "POST", "/absent", (JSON,), b"1"
    for epoch, seq in ((0, 0), (0, 0), (0, 1), (0, 5), (1, 1), (1, 0), (0, 2)):
        producer = (
            ("producer-id", "p"),
            ("producer-epoch", str(epoch)),
            ("producer-seq", str(seq)),
        )
        yield "POST", "/json", (JSON, *producer), b'"p"'
    yield "POST", "/json", (JSON, ("producer-id", "p")), b"1"
    yield "POST", "/json", (JSON, ("stream-seq", "2")), b"1"
    yield "POST", "/json", (JSON, ("stream-seq", "1")), b"1"
    yield "PUT", "/fork", (("stream-forked-from", "/json"),), b""
    yield "PUT", "/fork2", (("stream-forked-from", "/absent"),), b""
    yield "PUT", "/fork3", (("stream-fork-offset", "-1"),), b""
    yield "PUT", "/fork4", (("stream-forked-from", "http://[::1"),), b""
    yield "PUT", "/fork5", (("stream-forked-from", "/json"), ("stream-fork-sub-offset", "99")), b""
    names = ["json", "text", "bytes", "closed", "a/b", "fork", "ttl", "absent", "done", "failed"]
    names += ["__ds/x", "../x", "", "%FF"]
    queries = ["", "?offset=-1", "?offset=now", "?offset=x", "?offset=-1&live=sse"]
    queries += [
        "?offset=now&live=long-poll",
        "?live=sse",
        "?offset=-1&live=x",
        "?offset=-1&offset=-1",
    ]
    for name, query in itertools.product(names, queries):
        yield "GET", f"/{name}{query}", (), b""
    for name in names:
        yield "HEAD", f"/{name}", (), b""
        yield "OPTIONS", f"/{name}", (), b""
        yield "PATCH", f"/{name}", (), b""
    for origin in ("https://evil.example", "https://app.example", "null"):
        for method in ("PUT", "POST", "DELETE"):
            yield method, "/json", (COOKIE, JSON, ("origin", origin)), b"1"
    yield "DELETE", "/json", (), b""
    yield "GET", "/json", (), b""
    yield "PUT", "/json", (JSON,), b""
    yield "DELETE", "/done", (), b""
    yield "DELETE", "/absent", (), b""


class Transcript:
    def __init__(self, leave_after_s: float) -> None:
        self._leave_after_s = leave_after_s

    async def ask(
        self,
        name: str,
        app: Any,
        method: str,
        path: str,
        headers: Headers = (),
        body: bytes = b"",
        root_path: str = "",
    ) -> None:
        scope = scope_of(method, path, headers, root_path)
        given = f"{json.dumps(headers)} {body[:60]!r} {root_path}"
        lines = [f"\n## {name}: {method} {path[:80]} {given}"]
        lines += await answer(app, scope, body, self._leave_after_s)
        sys.stdout.write("\n".join(lines) + "\n")


async def main() -> None:
    logging.disable()
    streams = PersistentTextStreaming(
        "memory://", clock=Clock(), allowed_origins=["https://friend.example"]
    )

    async def owned(request: Request, stream: Any, action: str) -> bool:
        return getattr(stream, "owner", None) == "ann" and action == "read"

    def own(form: str | None) -> Any:
        async def route(request: Request) -> Any:
            name = request.path_params["name"]
            return streams.response(request, name, owner="ann", format=form, headers={"x-own": "1"})

        return Starlette(routes=[Route("/{name}", route, methods=["GET", "POST"])])

    async def start(request: Request) -> Any:
        return streams.stream(request, "driven", lambda: pieces("driven"), owner="bob")

    api = FastAPI()
    api.include_router(streams.router(allow_anonymous=True), prefix="/streams")
    mounted = Starlette(routes=[Mount("/m", streams.asgi(allow_anonymous=True)), Mount("/f", api)])
    log = Transcript(0.15)
    async with streams:
        await fill(streams)
        for method, path, headers in [*plain_requests(), *cross_site()]:
            await log.ask("asgi", streams.asgi(allow_anonymous=True), method, path, headers)
        for name in ("done", "pending", "log", "absent"):
            for form in (None, "events", "text", "json"):
                await log.ask(f"own {form}", own(form), "GET", f"/{name}")
            guarded = streams.asgi(authorize=owned)
            await log.ask("guarded", guarded, "GET", f"/{name}")
            await log.ask("guarded", guarded, "POST", f"/{name}/cancel")
        for path in ("/m/done", "/m/a%2Fb%20c%25", "/f/streams/done", "/m/", "/f/streams/absent"):
            await log.ask("mounted", mounted, "GET", path)
            await log.ask("mounted", mounted, "POST", f"{path}/cancel")
            await log.ask("mounted", mounted, "PATCH", path)
        driving = Starlette(routes=[Route("/", start, methods=["GET", "POST"])])
        await streams.create("driven", owner="bob")
        for headers in ((COOKIE, ("origin", "https://evil.example")), (), ()):
            await log.ask("stream()", driving, "POST", "/", headers)
        durable = streams.durable_streams(allow_anonymous=True)
        for method, path, headers, body in durable_requests():
            await log.ask("durable", durable, method, f"/ds{path}", headers, body, "/ds")
        guarded_durable = streams.durable_streams(authorize=owned)
        for method in ("GET", "HEAD", "PUT", "POST", "DELETE"):
            for name in ("lines", "text", "new2"):
                await log.ask("guarded durable", guarded_durable, method, f"/{name}", (JSON,), b"1")


if __name__ == "__main__":
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    asyncio.run(main())
