from __future__ import annotations

import os

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route

from inkstream import HTTPSettings, PersistentTextStreaming

PING_S = float(os.environ.get("TEST_PING_S", "1.5"))
streams = PersistentTextStreaming("memory://", http=HTTPSettings(ping_s=PING_S))


async def authorize(request: Request) -> bool:
    return request.query_params.get("denied") is None and "x-denied" not in request.headers


async def pid(request: Request) -> Response:
    return PlainTextResponse(str(os.getpid()))


app = Starlette(
    routes=[Route("/pid", pid), Mount("/doctor", streams.doctor_probe(authorize=authorize))],
    lifespan=streams.lifespan,
)
