"""The server's side of ``inkstream doctor URL``: timed events, an echo, a broken response."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final, TypeAlias

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from inkstream.http.asgi import only_true, place_of, refuse_other, response_body, response_start
from inkstream.http.connection import HTTPSettings
from inkstream.http.problems import CheckFailed, Problem, problem_for

AuthorizeProbe: TypeAlias = Callable[[Request], Awaitable[bool]]
"""``async authorize(request) -> bool``: whether this request may use the doctor's probe.

Only ``True`` allows; see ``Authorize``.
"""

_AT_ONCE: Final = 16
_MOST_EVENTS: Final = 50
_MOST_PAD: Final = 8192
_LONGEST_IDLE_S: Final = 600.0
_LONGEST_TICKS_S: Final = 60.0
_TICK_S: Final = 0.1
_AS_STREAMS: Final = {
    # A stream's response has these headers too. So a proxy treats the probe like a stream.
    "cache-control": "private, no-cache, no-transform",
    "x-accel-buffering": "no",
}
_EVENTS: Final = {"content-type": "text/event-stream", **_AS_STREAMS}


class BrokenOnPurpose(Exception):
    """The doctor asked for a broken response. The server logs this error, which is harmless."""


class _Ticker:
    """Count ticks. If a platform freezes the process between two requests, the count is too low."""

    def __init__(self) -> None:
        self.name = ""
        self.count = 0
        self._until = 0.0

    def start(self, seconds: float) -> None:
        # Use timers, not a task, because a server that stops might wait for the task.
        self.name, self.count = secrets.token_hex(8), 0
        self._until = time.monotonic() + seconds
        self._tick(self.name)

    def _tick(self, name: str) -> None:
        if name == self.name and time.monotonic() < self._until:
            self.count += 1
            asyncio.get_running_loop().call_later(_TICK_S, self._tick, name)


class DoctorProbe:
    """An ASGI app that the doctor calls. Mount the app on a separate path; see docs/operations.md.

    The app limits how long a request can make its response last, and how many responses run at the
    same time.
    """

    def __init__(self, authorize: AuthorizeProbe, http: HTTPSettings) -> None:
        self._authorize = only_true(authorize, "request", http.authorize_timeout_s)
        self._ping_s = http.ping_s
        self._open = 0
        self._ticker = _Ticker()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request below the mount."""
        if await refuse_other(scope, receive, send):
            return
        request = Request(scope, receive)
        problem = None
        try:
            allowed = await self._authorize(request)
        except CheckFailed as exc:
            await problem_for(exc)(scope, receive, send)
            return
        if not allowed:
            problem = Problem(403, "forbidden", "You may not use the doctor's probe.")
        elif self._open >= _AT_ONCE:
            problem = Problem(429, "too_many_probes", "Too many doctors use this probe now.")
        if problem is not None:
            await problem(scope, receive, send)
            return
        self._open += 1
        try:
            await self._route(request, scope, receive, send)
        finally:
            self._open -= 1

    async def _route(self, request: Request, scope: Scope, receive: Receive, send: Send) -> None:
        match request.method, place_of(scope).rest.strip("/"):
            case "GET", "echo":
                await self._echo(request)(scope, receive, send)
            case "GET", "events":
                count = int(_number(request, "count", 8, _MOST_EVENTS))
                every_s = _number(request, "every_s", 0.2, 1.0)
                pad = int(_number(request, "pad", 0, _MOST_PAD))
                await _send_events(receive, send, count, every_s, pad)
            case "GET", "idle":
                await _send_events(receive, send, 2, _number(request, "s", 20, _LONGEST_IDLE_S))
            case "GET", "broken":
                await send(response_start(200, {**_EVENTS, "content-type": "text/plain"}))
                await send(response_body(b"this answer breaks off"))
                raise BrokenOnPurpose("the doctor asked for a broken answer")
            case "GET", "ticks":
                await self._ticks(request)(scope, receive, send)
            case _:
                await Problem(404, "not_found", "There is nothing here.")(scope, receive, send)

    def _echo(self, request: Request) -> JSONResponse:
        authorization = request.headers.get("authorization")
        digest = authorization and hashlib.sha256(authorization.encode()).hexdigest()
        return JSONResponse(
            {
                "doctor": 1,
                "answer": secrets.token_hex(8),
                "http_version": request.scope.get("http_version"),
                "last_event_id": request.headers.get("last-event-id"),
                "authorization": digest,  # not the secret, because a proxy may store the response
                "ping_s": self._ping_s,
                "wall": time.time(),
            },
            headers=_AS_STREAMS,
        )

    def _ticks(self, request: Request) -> JSONResponse:
        if "s" in request.query_params:
            self._ticker.start(_number(request, "s", 5, _LONGEST_TICKS_S))
        ticker = self._ticker
        return JSONResponse(
            {"ticker": ticker.name, "ticks": ticker.count, "every_s": _TICK_S},
            headers={"cache-control": "no-store"},
        )


def _number(request: Request, name: str, default: float, most: float) -> float:
    try:
        value = float(request.query_params.get(name, default))
    except ValueError:
        return default
    return min(max(value, 0.0), most) if value == value else default


async def _events(count: int, every_s: float, pad: int) -> AsyncIterator[bytes]:
    began = time.monotonic()
    if pad:  # begin with a long comment, because some proxies compress only long responses
        yield b": %s\n\n" % (b" " * pad)
    for n in range(count):
        if n:
            await asyncio.sleep(every_s)
        yield b"data: %.6f\n\n" % (time.monotonic() - began)


async def _send_events(
    receive: Receive, send: Send, count: int, every_s: float, pad: int = 0
) -> None:
    """Send ``count`` events, one every ``every_s`` seconds.

    Each event contains the number of seconds since the first event.
    """

    async def send_all() -> None:
        await send(response_start(200, _EVENTS))
        async for event in _events(count, every_s, pad):
            await send(response_body(event))
        await send(response_body(b"", more=False))

    async def watch() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    tasks = {asyncio.ensure_future(send_all()), asyncio.ensure_future(watch())}
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        # A send that fails because the client left needs no log.
        await asyncio.gather(*tasks, return_exceptions=True)
