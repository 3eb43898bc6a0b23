"""Code that several mounts share: paths below a mount, ASGI messages, ETags, permissions."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, ParamSpec, TypeAlias
from urllib.parse import quote, unquote

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send

from inkstream._arguments import check_async
from inkstream._types import StreamState
from inkstream.http.problems import CheckFailed

Authorize: TypeAlias = Callable[[Request, StreamState, str], Awaitable[bool]]
"""``async authorize(request, stream, action) -> bool``: whether this request may do the action.

Only ``True`` allows the action. Any other value denies it, even a response or a user object. If the
value is neither ``True`` nor ``False``, the server also logs an error.

On the ready-made routes, ``action`` is ``"read"`` or ``"cancel"``. On the mount of the Durable
Streams protocol, ``action`` is ``"create"``, ``"append"``, ``"close"``, ``"read"`` or ``"delete"``.
At ``"create"``, ``stream`` describes a new stream, which usually does not exist yet, and
``stream.internal_id`` is 0. For a fork, the server calls ``authorize`` with ``"create"`` for the
new stream, and with ``"read"`` for the stream that the fork copies. A denied ``"create"`` gets 403.
Any other denied request gets the same response as a request for an absent stream. While a client
follows a stream on the ready-made routes, the server calls ``authorize`` again about every
``HTTPSettings.authorize_again_s``.

If a call takes longer than ``HTTPSettings.authorize_timeout_s``, the server cancels it, and answers
503 with the code ``check_failed``. If the response has already begun, the server stops sending this
stream instead.
"""

P = ParamSpec("P")

_log = logging.getLogger("inkstream")


def only_true(
    authorize: Callable[P, Awaitable[bool]], arguments: str, within_s: float
) -> Callable[P, Awaitable[bool]]:
    """Return a function that calls ``authorize`` for at most ``within_s``.

    The function returns ``True`` only if ``authorize`` returned ``True``. If ``authorize`` takes
    too long, the function logs an error and raises ``CheckFailed``. Without this limit, requests
    would pile up behind an ``authorize`` that hangs, and a server that stops would wait for them.

    By mistake, ``authorize`` may return a response or a user, or forget an ``await``. Python counts
    such a value as true, so it would allow everything. The function logs this mistake and raises
    nothing, because a denied stream must look absent.

    Raises:
        TypeError: ``authorize`` is not an async function.
    """
    check_async("authorize", authorize, arguments)

    async def allowed(*args: P.args, **kwargs: P.kwargs) -> bool:
        limit = asyncio.timeout(within_s)
        try:
            async with limit:
                answer: object = await authorize(*args, **kwargs)
        except TimeoutError as exc:
            if not limit.expired():
                raise
            _log.exception("authorize took longer than %g s, so it was cancelled", within_s)
            raise CheckFailed from exc
        if answer is not True and answer is not False:
            _log.error(
                "authorize returned a value of the type %s, so the request was denied: return True "
                "to allow a request, and False to deny it",
                type(answer).__name__,  # the value itself may contain a secret
            )
        return answer is True

    return allowed


async def anyone(request: Request, stream: StreamState, action: str) -> bool:
    """Allow everything to every caller who knows a stream's id."""
    return True


def require_authorize(
    authorize: Authorize | None, allow_anonymous: bool, within_s: float
) -> Authorize:
    """Return ``only_true`` of ``authorize``, or ``anyone`` if ``allow_anonymous`` is true.

    Raises:
        TypeError: Neither ``authorize`` nor ``allow_anonymous=True`` was given.
    """
    if authorize is not None:
        return only_true(authorize, "request, stream, action", within_s)
    if allow_anonymous:
        return anyone
    raise TypeError(
        "who may use these streams? Pass authorize=an async function of (request, stream, action) "
        "that returns a bool, or pass allow_anonymous=True if everybody may"
    )


# Paths ---------------------------------------------------------------------------------------

_CHARACTER: Final = re.compile(rb"%[0-9A-Fa-f]{2}|.", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a request's URL points below a mount. All fields are percent-encoded.

    Attributes:
        mount: Path of the mount in the URL that reached this process, with a slash at the end.
        prefix: The path that a proxy removed from the front of the URL; empty if none was removed.
        rest: The path below the mount, without a leading slash.
    """

    mount: str
    prefix: str
    rest: str


def place_of(scope: Scope) -> Place:
    """Return where a request points below the app that was called with ``scope``.

    Only ``raw_path`` distinguishes ``%2F`` from ``/``. Servers and frameworks disagree on whether
    ``path`` and ``raw_path`` include ``root_path``. So this function first removes ``root_path``
    from ``path``, as Starlette does. It then looks for the suffix of ``raw_path`` that decodes to
    the rest of ``path``.
    """
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    top: str = scope.get("app_root_path", root)
    rest = _below(path, root)
    if rest is None:
        # If a proxy removed the outermost app's root_path from the URL, ``path`` begins with the
        # path of the mount inside that app.
        rest = _below(path, root.removeprefix(top)) if root.startswith(top) else None
    if rest is None:
        rest = path
    raw = bytes(scope.get("raw_path") or b"").partition(b"?")[0]
    encoded = _end_of(raw, rest)
    if encoded is None:  # for example because the server sets no raw_path
        raw = quote(path, errors="replace").encode()
        encoded = quote(rest, errors="replace").encode()
    mount = raw[: len(raw) - len(encoded)].decode("latin-1")
    stripped = quote(top, errors="replace").rstrip("/")
    inside = (mount + "/").startswith(stripped + "/") or not stripped
    return Place(
        mount=mount + "/",
        prefix="" if inside else stripped,
        rest=encoded.decode("latin-1").removeprefix("/"),
    )


def _below(path: str, root: str) -> str | None:
    """Return the part of ``path`` after ``root``, or ``None`` if ``path`` is not below ``root``."""
    root = root.rstrip("/")
    if path == root:
        return ""
    return path[len(root) :] if path.startswith(root + "/") else None


def _end_of(raw: bytes, rest: str) -> bytes | None:
    """Return the suffix of ``raw`` that decodes to ``rest``, or ``None`` if no suffix does."""
    if rest[:1] == "/" and rest.isascii() and b"%" not in raw and raw.endswith(rest.encode()):
        return rest.encode()  # the usual case
    for ending in ("", "/"):  # Litestar adds a slash to ``path``
        wanted = rest.removesuffix(ending)
        source = raw.removesuffix(ending.encode())
        length = len(wanted.encode("utf-8", "surrogatepass"))
        characters = _CHARACTER.findall(source)
        slashes = wanted.count("/")
        for found in (
            b"".join(characters[len(characters) - length :]) if length else b"",
            # Bytes that are not UTF-8 decode to text of another length, so the suffix above is
            # wrong for them. So also try the suffix with the same number of slashes.
            b"".join(b"/" + part for part in source.split(b"/")[-slashes:]) if slashes else b"",
        ):
            is_whole = not found or found[:1] == b"/"
            if is_whole and unquote(found.decode("latin-1")) == wanted:
                return found + raw[len(source) :]
    return None


# Messages ------------------------------------------------------------------------------------


def response_start(status: int, headers: dict[str, str]) -> Message:
    """Return the ASGI message that begins a response."""
    return {"type": "http.response.start", "status": status, "headers": Headers(headers).raw}


def response_body(data: bytes, *, more: bool = True) -> Message:
    """Return an ASGI message with bytes of a response's body."""
    return {"type": "http.response.body", "body": data, "more_body": more}


async def refuse_other(scope: Scope, receive: Receive, send: Send) -> bool:
    """Refuse a scope that is not an HTTP request. Return whether the scope was refused.

    Without a response to a WebSocket handshake, the server would log an error.
    """
    if scope["type"] == "http":
        return False
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1000, "reason": ""})
    return True


def names_tag(header: str, tag: str) -> bool:
    """Return whether an ``If-None-Match`` header names ``tag`` (RFC 9110, 13.1.2).

    ``*`` names every tag, and ``W/`` makes no difference.
    """
    named = [name.strip().removeprefix("W/") for name in header.split(",")]
    return tag in named or named == ["*"]
