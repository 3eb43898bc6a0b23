"""Extends the application of ``tests.http.app``. The pages below ``/page`` show its streams.

``GET /event-streams`` returns how many connections send events now, and the largest number since
the last ``POST /event-streams``.

The environment variable ``TEST_PAGES`` names the folder of the built pages.
"""

from __future__ import annotations

import asyncio
import os

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tests.http import app as http

LASTING_S = 0.25

connections: set[object] = set()
most = 0


class CountEvents:
    """Counts how many connections send events at the same time.

    The server may accept a new connection a moment before it notices that an old connection has
    closed. So an old and a new connection count together only if both are still open LASTING_S
    after the new connection began to send events.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        connection = object()

        async def watched_receive() -> Message:
            message = await receive()
            if message["type"] == "http.disconnect":
                connections.discard(connection)
            return message

        async def watched_send(message: Message) -> None:
            headers = dict(message.get("headers", ()))
            if headers.get(b"content-type", b"").startswith(b"text/event-stream"):
                connections.add(connection)
                asyncio.get_running_loop().call_later(LASTING_S, count, frozenset(connections))
            await send(message)

        try:
            await self.app(scope, watched_receive, watched_send)
        finally:
            connections.discard(connection)


def count(together: frozenset[object]) -> None:
    global most
    most = max(most, len(together & connections))


async def event_streams(request: Request) -> Response:
    global most
    if request.method == "POST":
        most = len(connections)
    else:
        await asyncio.sleep(LASTING_S)  # until all connections so far are counted
    return JSONResponse({"now": len(connections), "most": most})


async def everybody(request: Request, action: str) -> bool:
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
