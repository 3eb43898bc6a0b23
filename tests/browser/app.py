"""The application of ``tests.http.app`` with pages that show its streams, under ``/page``.

``GET /event-streams`` returns how many answers in the events format are open, and the most that
were open at once since the last ``POST`` there: over HTTP/1.1 each keeps a socket.
``/inspector`` is the operator's page.

Environment in addition to that application's: ``TEST_PAGES``, the folder of the built pages.
"""

from __future__ import annotations

import os

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tests.http import app as http

counted = {"now": 0, "most": 0}


class CountEvents:
    """Counts the open answers in the events format."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        counting = False

        async def watched(message: Message) -> None:
            nonlocal counting
            headers = dict(message.get("headers", ()))
            if headers.get(b"content-type", b"").startswith(b"text/event-stream"):
                counting = True
                counted["now"] += 1
                counted["most"] = max(counted.values())
            await send(message)

        try:
            await self.app(scope, receive, watched)
        finally:
            counted["now"] -= counting


async def event_streams(request: Request) -> Response:
    """Return the counts; a POST begins the counts anew."""
    if request.method == "POST":
        counted["most"] = counted["now"]
    return JSONResponse(counted)


async def everybody(request: Request, action: str) -> bool:
    """Allow the tests every action."""
    return True


app = Starlette(
    routes=[
        Route("/event-streams", event_streams, methods=["GET", "POST"]),
        *http.app.routes,
        Mount("/inspector", http.streams.inspector(authorize=everybody)),
        Mount("/page", StaticFiles(directory=os.environ["TEST_PAGES"])),
    ],
    middleware=[Middleware(CountEvents)],
    lifespan=http.streams.lifespan,
)
