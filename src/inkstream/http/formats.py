"""Which format a request is answered in, and the JSON snapshot."""

from __future__ import annotations

import json
from typing import Final

from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from inkstream import wire
from inkstream._types import Page
from inkstream.wire import Offset

FORMATS: Final = {
    "events": "text/event-stream",
    "json": "application/json",
    "text": "text/plain",
}


def snapshot_json(pages: list[Page], after: int, here: Offset) -> bytes:
    """Return the JSON snapshot of what pages hold after a position; see docs/http.md."""
    state = pages[-1].state
    pieces = (wire.cut(segment, after) for page in pages for segment in page.segments)
    parts = wire.join_parts(wire.decode_messages(p for p in pieces if p is not None))
    encoded = b",".join(
        part.raw if isinstance(part, wire.RawJSON) else wire.dump_json(part) for part in parts
    )
    fields = {
        "id": state.stream_id,
        "kind": state.kind.value,
        "status": state.status.value,
        "offset": str(here),
        "code": state.code,
        "message": state.message,
        "result": state.result,
        "created_at": state.created_at,
        "started_at": state.started_at,
        "ended_at": state.ended_at,
    }
    return json.dumps(fields)[:-1].encode() + b', "parts": [' + encoded + b"]}"


def choose_format(request: Request, fixed: str | None) -> str | None:
    """Return the format to answer in: fixed by the app, asked for by query, or by ``Accept``."""
    wanted = fixed or request.query_params.get("format")
    if wanted is not None:
        return wanted if wanted in FORMATS else None
    accept = request.headers.get("accept", "*/*")
    ranges = [entry.partition(";")[0].strip().lower() for entry in accept.split(",")]
    for name, media_type in FORMATS.items():
        if media_type in ranges:
            return name
    if any(r in ("*/*", "text/*", "application/*", "") for r in ranges):
        return "json" if "application/*" in ranges and "*/*" not in ranges else "events"
    return None


def ends_are_hidden(scope: Scope, receive: Receive, send: Send) -> bool:
    """Tell if a middleware on the way turns a broken end of the body into a clean one."""
    # It wraps both; other middlewares in between wrap send again, and pass receive on as it is.
    if BaseHTTPMiddleware.__module__ in (
        getattr(receive, "__module__", ""),
        getattr(send, "__module__", ""),
    ):
        return True
    stack = getattr(scope.get("app"), "user_middleware", ())
    return any(
        isinstance(entry.cls, type) and issubclass(entry.cls, BaseHTTPMiddleware) for entry in stack
    )
