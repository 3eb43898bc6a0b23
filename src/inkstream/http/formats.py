"""Which format answers a request; the shape of a format that an application or an add-on brings."""

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
"""The built-in formats, which a request may ask for by name or by ``Accept``."""

MAX_STATE: Final = 160
"""A cursor holds a state of as many characters; a longer one costs a pass over the messages."""


class Encoder(Protocol):
    """Encode the messages of one stream for one reader, from a place on.

    A chunk goes out with a cursor, ``{offset}~{state}``. All chunks of a message but its last one
    carry the offset *before* the message, so ``state`` must say how far into the message the
    encoder is: ``feed`` of the same message then yields the rest of it only. Nothing else is kept
    between two connections, so whatever a later chunk needs is in ``state``, or is derived from a
    position. Keep it to a few bytes of ``A-Z a-z 0-9 . _ -``: it goes out with each chunk. Above
    ``MAX_STATE`` it does not, and a reconnect there encodes the messages before its offset anew.

    Raises:
        ValueError: From the constructor: an encoder of this version wrote no such state. It came
            from a client, so check it strictly. The messages before the offset are then encoded
            anew, and thrown away, to find the state.
    """

    def __init__(self, stream: StreamState, state: str) -> None:
        """Go on from a state; ``""`` is the start."""

    def recalls(self) -> Collection[int]:
        """Return the positions of messages that the state names and the encoder must see again."""

    def recall(self, message: str | RawJSON, position: int) -> None:
        """Take one of them; called before the first ``feed``."""

    def feed(self, message: str | RawJSON, position: int) -> Iterable[tuple[bytes, str]]:
        """Yield a message's chunks, each with the state after it.

        Adjacent pieces of text, and adjacent deltas of one part, that were read at once come as one
        message. ``position`` is where it begins: the first message of a stream has 0.
        """

    def end(self, end: End) -> Iterable[tuple[bytes, str]]:
        """Yield the chunks that end an answer, each with the state after it."""


def event(chunk: bytes, cursor: str) -> bytes:
    """Return a chunk of JSON as a server-sent event (WHATWG HTML, 9.2)."""
    if b"\n" in chunk or b"\r" in chunk:
        # Between the tokens of a stored object; `data:` cannot carry them, and needs none.
        chunk = chunk.replace(b"\r", b" ").replace(b"\n", b" ")
    return b"id: %b\ndata: %b\n\n" % (cursor.encode(), wire.one_line(chunk))


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """A format for ``response(format=…)``: what ``inkstream.formats`` holds, or one of your own.

    Attributes:
        media_type: The answer's ``Content-Type``.
        encoder: The class (or function) that makes an encoder; see ``Encoder``.
        frame: Puts a chunk and its cursor on the wire; by default a server-sent event.
        ping: Sent at first and when nothing else was sent for ``HTTPSettings.ping_s``; empty for
            a format that has nothing without a meaning.
        headers: Further headers of the answer.
        cut_by_age: Whether a connection may be ended after ``HTTPSettings.life_s`` for the client
            to reconnect. Only where every client does so by itself.
        abort_stops: Whether a reader that leaves counts for ``on_disconnect="cancel"``. Clients
            that abort their request when a page unmounts must not stop the answer with it.
    """

    media_type: str
    encoder: Callable[[StreamState, str], Encoder]
    frame: Callable[[bytes, str], bytes] = event
    ping: bytes = wire.PING
    headers: Mapping[str, str] = field(default_factory=dict)
    cut_by_age: bool = False
    abort_stops: bool = False


def check_format(fixed: str | Format | None) -> None:
    """Raise unless the application's own choice, if any, is a format.

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
    """Return the format to answer in: fixed by the app, asked for by query, or by ``Accept``."""
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
"""An extension in the scope: the server may end a body that breaks off as if it were whole."""

_HIDDEN_BY_WSGI: Final = (
    "Some WSGI servers end an answer that breaks off as if it were whole, so plain text is not "
    "served here: use ?format=events."
)


def why_ends_are_hidden(scope: Scope, receive: Receive, send: Send) -> str | None:
    """Say what on the way turns a broken end of the body into a clean one, if anything does."""
    if BODY_MAY_NOT_BREAK in scope.get("extensions", {}):
        return _HIDDEN_BY_WSGI
    if scope.get("http_version") == "1.0":
        return _HIDDEN_BY_HTTP_1_0
    # It wraps both; other middlewares in between wrap send again, and pass receive on as it is.
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
