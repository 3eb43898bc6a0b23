"""A server that starts quickly, with streams of numbers: ``tests.crash.counting:app``."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route

from inkstream import PersistentTextStreaming

streams = PersistentTextStreaming()


async def count() -> AsyncIterator[str]:
    for number in itertools.count():
        yield f"{number} "
        if number % 7 == 0:
            await asyncio.sleep(0.002)


async def start(request: Request) -> Response:
    name = await streams.create(request.path_params["name"])
    streams.start(name, count)
    return PlainTextResponse(str(os.getpid()))


async def pid(request: Request) -> Response:
    return PlainTextResponse(str(os.getpid()))


app = Starlette(
    routes=[
        Route("/pid", pid),
        Route("/start/{name}", start, methods=["POST"]),
        Mount("/streams", streams.asgi(allow_anonymous=True)),
    ],
    lifespan=streams.lifespan,
)
