"""Which format a request is answered in, and the JSON snapshot."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Final

from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from inkstream import wire
from inkstream._types import Segment, StreamState
from inkstream.wire import Offset

FORMATS: Final = {
    "events": "text/event-stream",
    "json": "application/json",
    "text": "text/plain",
}


class Snapshot:
    """Encode a stream as JSON (docs/http.md) a piece at a time: ``begin``, ``parts``…, ``end``.

    Args:
        state: The stream's, when its tail was at ``here``.
        here: Where to go on from.
    """

    def __init__(self, state: StreamState, here: Offset) -> None:
        self._state = state
        self._here = here
        self._is_empty = True
        self._in_text = False

    def begin(self) -> bytes:
        """Return what stands before the parts."""
        state = self._state
        fields = {
            "stream_id": state.stream_id,
            "kind": state.kind.value,
            "status": state.status.value,
            "offset": str(self._here),
            "code": state.code,
            "message": state.message,
            "result": state.result,
            "created_at": state.created_at,
            "started_at": state.started_at,
            "ended_at": state.ended_at,
        }
        return json.dumps(fields)[:-1].encode() + b', "parts": ['

    def parts(self, segments: Iterable[Segment]) -> bytes:
        """Return the next messages; text goes on where the last piece left it."""
        out: list[bytes] = []
        for segment in segments:
            if wire.is_all_text(segment):
                self._put_text(out, segment.payload)
                continue
            for message in wire.decode_messages([segment]):
                if isinstance(message, str):
                    self._put_text(out, message.encode())
                else:
                    out.append(b'"' * self._in_text + b"," * (not self._is_empty) + message.raw)
                    self._in_text = self._is_empty = False
        return b"".join(out)

    def _put_text(self, out: list[bytes], text: bytes) -> None:
        if not self._in_text:
            out.append(b'"' if self._is_empty else b',"')
            self._in_text, self._is_empty = True, False
        out.append(wire.escape_text(text))

    def end(self) -> bytes:
        """Return what stands after the parts."""
        return b'"]}' if self._in_text else b"]}"


def check_format(fixed: str | None) -> None:
    """Raise ``ValueError`` unless the application's own choice, if any, is a format."""
    if fixed is not None and fixed not in FORMATS:
        raise ValueError(f"format is one of {', '.join(map(repr, FORMATS))}, not {fixed!r:.80}")


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
