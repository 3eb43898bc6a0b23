"""Choose the format of an answer; the interface of formats that an application can add."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from inkstream import wire
from inkstream._types import End, StreamState
from inkstream.wire import RawJSON

FORMATS: Final = {
    "events": "text/event-stream",
    "json": "application/json",
    "text": "text/plain",
}
"""The built-in formats. A request can choose one by name or by ``Accept``."""

MAX_STATE: Final = 160
"""Longest state in a cursor. A longer one makes a reconnect encode earlier messages again."""


class Encoder(Protocol):
    """Encode the messages of one stream for one reader, from any place in the stream.

    A chunk is sent with a cursor, ``{offset}~{state}``. All chunks of a message except its last
    carry the offset *before* the message, so ``state`` must say how many of the message's chunks
    were sent. After a reconnect, ``feed`` gets the same message and must yield only the remaining
    chunks. The state is the only thing that survives a reconnect: it must contain everything that a
    later chunk needs and that the position does not tell. Use a few bytes of ``A-Z a-z 0-9 . _ -``,
    because each chunk carries it. A state longer than ``MAX_STATE`` is not sent, and a reconnect at
    this chunk encodes the messages before its offset again.

    Raises:
        ValueError: The constructor raises it if no encoder of this version wrote this state. Check
            the state strictly, because it comes from a client. After the error, the messages before
            the offset are encoded again, without being sent, to find the state.
    """

    def __init__(self, stream: StreamState, state: str) -> None:
        """Continue from a state; ``""`` is the start."""

    def recalls(self) -> Collection[int]:
        """Return the positions of messages that the encoder needs again, according to the state."""

    def recall(self, message: str | RawJSON, position: int) -> None:
        """Receive a message that ``recalls`` named. All of them arrive before any ``feed``."""

    def feed(self, message: str | RawJSON, position: int) -> Iterable[tuple[bytes, str]]:
        """Yield a message's chunks, each with the state after it.

        Pieces of text that were read together arrive as one message, and so do adjacent deltas of
        one part. ``position`` is where the message begins; the first message of a stream has 0.
        """

    def end(self, end: End) -> Iterable[tuple[bytes, str]]:
        """Yield the chunks that end an answer, each with the state after it."""


def event(chunk: bytes, cursor: str) -> bytes:
    """Return a chunk of JSON as a server-sent event (WHATWG HTML, 9.2)."""
    if b"\n" in chunk or b"\r" in chunk:
        # JSON allows line breaks between tokens, but a `data:` line cannot contain them.
        chunk = chunk.replace(b"\r", b" ").replace(b"\n", b" ")
    return b"id: %b\ndata: %b\n\n" % (cursor.encode(), wire.one_line(chunk))


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """A format for ``response(format=…)``: one of ``inkstream.formats``, or the application's own.

    Attributes:
        media_type: The answer's ``Content-Type``.
        encoder: The class (or function) that makes an encoder; see ``Encoder``.
        frame: Returns the bytes to send for a chunk and its cursor; by default a server-sent event.
        ping: The bytes to send at the start, and after ``HTTPSettings.ping_s`` without other data.
            Leave it empty if clients of the format would treat any extra bytes as content.
        headers: Further headers of the answer.
        cut_by_age: Whether the server may end a connection after ``HTTPSettings.life_s``. Set it
            only if every client of the format reconnects by itself.
        abort_stops: Whether a client that disconnects counts for ``on_disconnect="cancel"``.
            Use false for clients that abort their request when a page unmounts, because that must
            not stop the answer.
    """

    media_type: str
    encoder: Callable[[StreamState, str], Encoder]
    frame: Callable[[bytes, str], bytes] = event
    ping: bytes = wire.PING
    headers: Mapping[str, str] = field(default_factory=dict)
    cut_by_age: bool = False
    abort_stops: bool = False


def check_format(fixed: str | Format | None) -> None:
    """Raise unless the format that the application chose is valid. ``None`` is valid.

    Raises:
        TypeError, ValueError
    """
    if fixed is None or isinstance(fixed, Format):
        return
    if not isinstance(fixed, str):
        raise TypeError(
            f"format is {', '.join(map(repr, FORMATS))} or a Format (inkstream.formats has some), "
            f"not {type(fixed).__name__}"
        )
    if fixed not in FORMATS:
        raise ValueError(
            f"format is {', '.join(map(repr, FORMATS))} or a Format (inkstream.formats has some), "
            f"not {fixed!r:.80}"
        )


def choose_format(request: Request, fixed: str | Format | None) -> str | Format | None:
    """Return the format of the answer: the app's choice, else the query's, else ``Accept``'s."""
    if isinstance(fixed, Format):
        return fixed
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


_HIDDEN_BY_MIDDLEWARE: Final = (
    "A middleware built on BaseHTTPMiddleware would turn the broken end of a failed stream into a "
    "clean one, so plain text is not served here: use ?format=events, or make that middleware a "
    "pure ASGI one."
)
_HIDDEN_BY_HTTP_1_0: Final = (
    "This request came over HTTP/1.0, in which the broken end of a failed stream looks like a "
    "clean one, so plain text is not served: use ?format=events, or have the proxy speak HTTP/1.1 "
    "(nginx before 1.29: proxy_http_version 1.1)."
)


BODY_MAY_NOT_BREAK: Final = "inkstream.body_may_not_break"
"""ASGI extension that says: this server may end a broken body as if the body were complete."""

_HIDDEN_BY_WSGI: Final = (
    "Some WSGI servers end a broken answer as if it were complete, so plain text is not "
    "served here: use ?format=events."
)


def why_ends_are_hidden(scope: Scope, receive: Receive, send: Send) -> str | None:
    """Return why a broken end of the body would look clean to the client, or ``None``."""
    if BODY_MAY_NOT_BREAK in scope.get("extensions", {}):
        return _HIDDEN_BY_WSGI
    if scope.get("http_version") == "1.0":
        return _HIDDEN_BY_HTTP_1_0
    # BaseHTTPMiddleware wraps both send and receive. A middleware between it and this app may wrap
    # send again, but passes receive unchanged. So receive still shows the BaseHTTPMiddleware.
    if BaseHTTPMiddleware.__module__ in (
        getattr(receive, "__module__", ""),
        getattr(send, "__module__", ""),
    ):
        return _HIDDEN_BY_MIDDLEWARE
    stack = getattr(scope.get("app"), "user_middleware", ())
    is_below = any(
        isinstance(entry.cls, type) and issubclass(entry.cls, BaseHTTPMiddleware) for entry in stack
    )
    return _HIDDEN_BY_MIDDLEWARE if is_below else None
