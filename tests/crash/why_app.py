"""The application of the HTTP tests, with a handler that blocks its event loop."""

from __future__ import annotations

import time

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route

from tests.http.app import app as inner
from tests.http.app import streams


async def block(request: Request) -> Response:
    time.sleep(float(request.query_params["s"]))  # noqa: ASYNC251 - the fault under test
    return Response(status_code=204)


app = Starlette(
    lifespan=streams.lifespan,
    routes=[Route("/block", block, methods=["POST"]), Mount("/", inner)],
)
