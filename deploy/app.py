"""Routes for operators in a deployed application; add your own routes."""

import os
import secrets

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Mount

from inkstream import PersistentTextStreaming

streams = PersistentTextStreaming()  # the URL is in INKSTREAM_DATABASE


async def may_doctor(request: Request) -> bool:
    expected = os.environ.get("DOCTOR_TOKEN", "")
    given = request.headers.get("x-doctor", "")
    return bool(expected) and secrets.compare_digest(given.encode(), expected.encode())


app = Starlette(
    routes=[
        Mount("/health", streams.health_app()),
        Mount("/doctor", streams.doctor_probe(authorize=may_doctor)),
    ],
    lifespan=streams.lifespan,
)
