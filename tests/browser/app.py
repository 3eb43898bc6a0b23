"""The application of ``tests.http.app`` with pages that show its streams, under ``/page``.

Environment, besides that one's: ``TEST_PAGES``, the folder of the built pages.
"""

from __future__ import annotations

import os

from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from tests.http import app as http

app = Starlette(
    routes=[
        *http.app.routes,
        Mount("/page", StaticFiles(directory=os.environ["TEST_PAGES"])),
    ],
    lifespan=http.streams.lifespan,
)
