"""Take in a request's body, no more of it than is allowed."""

from __future__ import annotations

import asyncio

from starlette.requests import ClientDisconnect, Request

from inkstream.durable.refusal import Refusal

_DRAIN_S = 5.0
_DRAIN_TIMES = 16


async def read_body(request: Request, max_bytes: int) -> bytes:
    """Return the whole body.

    Raises:
        Refusal: It is too large, or the client left in the middle of it.
    """
    declared = request.headers.get("content-length", "")
    is_large = declared.isdecimal() and len(declared) < 20 and int(declared) > max_bytes
    # Who waits for leave to send is told at once; everybody else is half through with sending
    # already, and many a client sees a broken connection instead of an answer that comes too early.
    if is_large and "100-continue" in request.headers.get("expect", "").lower():
        raise _too_large(max_bytes)
    pieces: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(None) as deadline:
            async for piece in request.stream():
                size += len(piece)
                if not is_large and size > max_bytes:
                    is_large = True
                if not is_large:
                    pieces.append(piece)
                    continue
                pieces.clear()
                if deadline.when() is None:
                    deadline.reschedule(asyncio.get_running_loop().time() + _DRAIN_S)
                if size > max_bytes * _DRAIN_TIMES:
                    break
    except TimeoutError:
        pass
    except ClientDisconnect as exc:
        raise Refusal(400, "incomplete", "The body was broken off.") from exc
    if is_large:
        raise _too_large(max_bytes)
    return b"".join(pieces)


def _too_large(max_bytes: int) -> Refusal:
    return Refusal(
        413,
        "body_too_large",
        f"A request's body may have {max_bytes} bytes: send more, smaller ones.",
        {"connection": "close"},
    )
