"""The routes of health probes: ``GET /live`` and ``GET /ready``."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from inkstream.http.asgi import place_of, refuse_other
from inkstream.http.problems import Problem
from inkstream.operations.health import Health

_FRESH_S: Final = 0.5
"""A result is used again for this many seconds, because a check may write to the database."""


class HealthRoutes:
    """An ASGI app of ``/live`` and ``/ready``: 200 or 503, with the reasons as JSON.

    The routes need no permission, because the attributes of ``Health`` contain nothing secret.
    """

    def __init__(self, check: Callable[[], Awaitable[Health]]) -> None:
        self._check = check
        self._checking: asyncio.Task[Health] | None = None
        self._last: tuple[float, Health] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request below the mount."""
        if await refuse_other(scope, receive, send):
            return
        request = Request(scope, receive)
        which = place_of(scope).rest.strip("/")
        if which not in ("live", "ready"):
            await Problem(404, "not_found", "Use /live or /ready.")(scope, receive, send)
            return
        if request.method not in ("GET", "HEAD"):
            problem = Problem(405, "method_not_allowed", "Use GET.")
            problem.headers["allow"] = "GET, HEAD"
            await problem(scope, receive, send)
            return
        health = await self._health()
        fine = health.live if which == "live" else health.ready
        answer = JSONResponse(health.as_json(), 200 if fine else 503, {"cache-control": "no-store"})
        await answer(scope, receive, send)

    async def _health(self) -> Health:
        if self._last is not None and time.monotonic() - self._last[0] < _FRESH_S:
            return self._last[1]
        checking = self._checking
        if checking is None or checking.done() or checking.get_loop() is not _loop():
            checking = self._checking = asyncio.ensure_future(self._check())
        # Other probes may wait for this check, so a probe that leaves must not cancel the check.
        health = await asyncio.shield(checking)
        self._last = time.monotonic(), health
        return health


def _loop() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()
