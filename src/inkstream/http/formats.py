"""The choice of a response's format, and the interface of formats that an application can add."""

from __future__ import annotations

import re
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
"""The built-in formats. A request can choose a format with ``?format=`` or ``Accept``."""

MAX_STATE: Final = 160
"""The greatest length of a state in a cursor, in characters. See ``Encoder`` for longer states."""


class Encoder(Protocol):
    """Encode the messages of one stream for one reader, from any place in the stream.

    A chunk is sent with a cursor, ``{offset}~{state}``. All chunks of a message except the last
    chunk carry the offset *before* the message. So ``state`` must say how many of the message's
    chunks were sent. After a reconnect, ``feed`` gets the message again, and must yield only the
    remaining chunks. The new encoder has not seen the earlier messages. So ``state`` must contain
    everything about them that a later chunk needs, except what ``recalls`` asks for. Use a few
    characters of ``A-Z a-z 0-9 . _ -``, because each chunk carries a state. A state longer than
    ``MAX_STATE`` is not sent. If a client reconnects with the cursor of such a chunk, the server
    encodes the earlier messages again.

    Raises:
        ValueError: The constructor raises ``ValueError`` unless an encoder of this version wrote
            ``state``. Check ``state`` strictly, because a client sends it. After the error, the
            server encodes the messages before the offset again to find the state, and sends none of
            these messages.
    """

    def __init__(self, stream: StreamState, state: str) -> None:
        """Continue from ``state``; ``""`` is the stream's start."""

    def recalls(self) -> Collection[int]:
        """Return the positions of the earlier messages that the encoder needs again."""

    def recall(self, message: str | RawJSON, position: int) -> None:
        """Receive a message that ``recalls`` named, before the first call of ``feed``."""

    def feed(self, message: str | RawJSON, position: int) -> Iterable[tuple[bytes, str]]:
        """Yield the message's chunks, each with the encoder's state after the chunk.

        Pieces of text that were read together arrive as one message. Adjacent deltas of one part
        also arrive as one message. ``position`` is the number of messages before this message.
        """

    def end(self, end: End) -> Iterable[tuple[bytes, str]]:
        """Yield the chunks that end a response, each with the encoder's state after the chunk."""


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
        media_type: The response's ``Content-Type``.
        encoder: The class (or function) that makes an encoder; see ``Encoder``.
        frame: Returns the bytes to send for a chunk and its cursor; by default a server-sent event.
        ping: The bytes to send at the start, and after ``HTTPSettings.ping_s`` without other data.
            Leave ``ping`` empty if clients of the format would treat any extra bytes as content.
        headers: Further headers of the response.
        cut_by_age: Whether the server may end a connection after ``HTTPSettings.life_s``. Use true
            only if every client of the format reconnects by itself.
        abort_stops: Whether ``streams.stream`` allows ``on_disconnect="cancel"`` with this format.
            Use false for clients that abort their request when a page unmounts, because an unmount
            must not stop the answer.
    """

    media_type: str
    encoder: Callable[[StreamState, str], Encoder]
    frame: Callable[[bytes, str], bytes] = event
    ping: bytes = wire.PING
    headers: Mapping[str, str] = field(default_factory=dict)
    cut_by_age: bool = False
    abort_stops: bool = False


def check_format(fixed: str | Format | None) -> None:
    """Raise ``TypeError`` or ``ValueError`` if the application chose an invalid format."""
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
    """Return the format of the response, or ``None`` if the request names no known format.

    The application's choice ``fixed`` comes first, then ``?format=``, then ``Accept``.
    """
    if isinstance(fixed, Format):
        return fixed
    wanted = fixed or request.query_params.get("format")
    if wanted is not None:
        return wanted if wanted in FORMATS else None
    accepted: set[str] = set()
    refused: set[str] = set()
    for entry in request.headers.get("accept", "*/*").lower().split(","):
        media_range, *parameters = [part.strip() for part in entry.split(";")]
        is_refused = any(_ZERO.fullmatch(parameter) for parameter in parameters)
        (refused if is_refused else accepted).add(media_range)
    for name, media_type in FORMATS.items():
        if media_type in accepted:
            return name
    possible = [
        name
        for name, media_type in FORMATS.items()
        if media_type not in refused
        and not accepted.isdisjoint(("*/*", "", media_type.partition("/")[0] + "/*"))
    ]
    if "json" in possible and "application/*" in accepted and "*/*" not in accepted:
        return "json"
    return possible[0] if possible else None


_ZERO: Final = re.compile(r"q\s*=\s*0(\.0*)?")
"""The weight of a media type that the client does not accept (RFC 9110, 12.4.2)."""

_HIDDEN_BY_MIDDLEWARE: Final = (
    "A middleware built on BaseHTTPMiddleware would hide from the client that a failed stream "
    "broke off, so plain text is not served here: use ?format=events, or write that middleware as "
    "pure ASGI."
)
_HIDDEN_BY_HTTP_1_0: Final = (
    "This request came over HTTP/1.0, in which a client cannot see that a failed stream broke off, "
    "so plain text is not served: use ?format=events, or have the proxy speak HTTP/1.1 (nginx "
    "before 1.29: proxy_http_version 1.1)."
)


BODY_MAY_NOT_BREAK: Final = "inkstream.body_may_not_break"
"""An ASGI extension. A server with this extension may end a broken body like a complete body."""

_HIDDEN_BY_WSGI: Final = (
    "Some WSGI servers end a broken response as if it were complete, so plain text is not "
    "served here: use ?format=events."
)


def why_ends_are_hidden(scope: Scope, receive: Receive, send: Send) -> str | None:
    """Return why the client could not see that a text broke off; ``None`` if it could see this."""
    if BODY_MAY_NOT_BREAK in scope.get("extensions", {}):
        return _HIDDEN_BY_WSGI
    if scope.get("http_version") == "1.0":
        return _HIDDEN_BY_HTTP_1_0
    # BaseHTTPMiddleware wraps both send and receive. Another middleware, nearer to this app, may
    # wrap send again, but usually passes receive unchanged. So look at both functions.
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
