"""The application of the HTTP tests, with health routes and a route ``/copy``.

``/copy`` returns the folder from which the process loaded inkstream.
"""

from __future__ import annotations

from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route

import inkstream
from tests.http.app import app as inner
from tests.http.app import streams


async def copy(request: Request) -> Response:
    return PlainTextResponse(str(Path(inkstream.__file__).parent))


app = Starlette(
    lifespan=streams.lifespan,
    routes=[
        Route("/copy", copy),
        Mount("/health", streams.health_app()),
        Mount("/", inner),
    ],
)
