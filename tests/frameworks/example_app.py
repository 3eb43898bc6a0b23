"""Serves the example that the environment variable ``EXAMPLE`` names.

It adds the route ``/pid``, because ``serving`` needs this route. ``PYTHONPATH`` must contain the
folder of the examples.
"""

from __future__ import annotations

import importlib
import os
from typing import Any

from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

example: Any = importlib.import_module(os.environ["EXAMPLE"])


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "http" and scope["path"] == "/pid":
        await PlainTextResponse(str(os.getpid()))(scope, receive, send)
    else:
        await example.app(scope, receive, send)
