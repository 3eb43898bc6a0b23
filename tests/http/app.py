"""The application that the tests run under real servers: ``tests.http.app:app``.

A test sends items over HTTP, and the sources yield these items. The application reads the
environment variables ``INKSTREAM_DATABASE``, ``TEST_GRACE_S``, ``TEST_SEND_TIMEOUT_S``,
``TEST_LIFE_S``, ``TEST_MIDDLEWARE`` (names of ``MIDDLEWARE``, outermost first) and ``TEST_FASTAPI``
(if set, FastAPI's router serves the streams at ``/api``).
"""

from __future__ import annotations

import asyncio
import itertools
import os
from collections import defaultdict
from collections.abc import AsyncIterator
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route

from inkstream import HTTPSettings, PersistentTextStreaming, StreamError
from inkstream.engine.settings import FinerTiming

streams = PersistentTextStreaming(
    timing=FinerTiming(
        shutdown_grace_s=float(os.environ.get("TEST_GRACE_S", "0")),
        beat_s=1.0,
        lease_s=6.0,
    ),
    http=HTTPSettings(
        send_timeout_s=float(os.environ.get("TEST_SEND_TIMEOUT_S", "30")),
        life_s=float(os.environ.get("TEST_LIFE_S", "60")),
    ),
)
gates: defaultdict[str, asyncio.Queue[Any]] = defaultdict(asyncio.Queue)


class Passing(BaseHTTPMiddleware):
    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        response = await call_next(request)
        response.headers["x-passed"] = "1"
        return response


MIDDLEWARE = {
    "base": Middleware(Passing),
    "gzip": Middleware(GZipMiddleware),
    "cors": Middleware(CORSMiddleware, allow_origins=["https://page.example"]),
}


async def create(request: Request) -> Response:
    stream_id = await streams.create(request.query_params.get("id"))
    if "start" in request.query_params:
        streams.start(stream_id, said_to(stream_id))
    return JSONResponse({"id": stream_id, "pid": os.getpid()})


def said_to(stream_id: str) -> Any:
    """Return a source that yields the items that ``say`` sends."""

    async def source() -> AsyncIterator[Any]:
        gate = gates[stream_id]
        while (item := await gate.get()) != {"end": "done"}:
            if item == {"end": "error"}:
                raise StreamError("It failed.", code="failed")
            if isinstance(item, dict) and "wait_s" in item:
                await asyncio.sleep(item["wait_s"])
            else:
                yield item

    return source


async def say(request: Request) -> Response:
    for item in await request.json():
        gates[request.path_params["id"]].put_nowait(item)
    return Response(status_code=204)


async def count(request: Request) -> Response:
    stream_id = await streams.create(request.query_params.get("id"))
    pause_s = float(request.query_params.get("pause_s", "0.002"))
    width = int(request.query_params.get("width", "0"))

    async def source() -> AsyncIterator[str]:
        for number in itertools.count():
            yield f"{number:0{width}} "
            await asyncio.sleep(pause_s)

    streams.start(stream_id, source)
    return JSONResponse({"id": stream_id, "pid": os.getpid()})


async def drive(request: Request) -> Response:
    stream_id = request.path_params["id"]
    return streams.stream(request, stream_id, said_to(stream_id))


async def live(request: Request) -> Response:
    return streams.response(request, request.path_params["id"])


async def pid(request: Request) -> Response:
    return PlainTextResponse(str(os.getpid()))


async def readers(request: Request) -> Response:
    return PlainTextResponse(str(len(streams.engine.readers._readers)))


def fastapi_routes() -> list[Mount]:
    """Return FastAPI's router if a test needs it. Other tests avoid the slow import of FastAPI."""
    if "TEST_FASTAPI" not in os.environ:
        return []
    from fastapi import FastAPI

    api = FastAPI()
    api.include_router(streams.router(allow_anonymous=True), prefix="/streams")
    return [Mount("/api", api)]


app = Starlette(
    routes=[
        Route("/pid", pid),
        Route("/readers", readers),
        Route("/create", create, methods=["POST"]),
        Route("/count", count, methods=["POST"]),
        Route("/say/{id}", say, methods=["POST"]),
        Route("/drive/{id}", drive, methods=["POST"]),
        Route("/live/{id}", live),
        Mount("/streams", streams.asgi(allow_anonymous=True)),
        *fastapi_routes(),
    ],
    middleware=[MIDDLEWARE[name] for name in os.environ.get("TEST_MIDDLEWARE", "").split()],
    lifespan=streams.lifespan,
)
