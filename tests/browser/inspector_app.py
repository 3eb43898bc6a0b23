"""Adds the inspector to the application of ``tests.http.app``.

The cookie ``may`` names the visitor's rights, separated by dots.
"""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Mount

from tests.http import app as http


async def authorize(request: Request, action: str) -> bool:
    return action in request.cookies.get("may", "").split(".")


app = Starlette(
    routes=[
        Mount("/inspector", http.streams.inspector(authorize=authorize)),
        *http.app.routes,
    ],
    lifespan=http.streams.lifespan,
)
