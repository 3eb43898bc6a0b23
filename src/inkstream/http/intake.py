"""Read request bodies, with limits for the size of each body, the size of all, and the time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.requests import ClientDisconnect, Request

from inkstream.http.problems import Problem

_DRAIN_S = 5.0
_DRAIN_TIMES = 16


class BodyRefused(Exception):
    """A body was not accepted. ``problem`` is the response to send."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.code)
        self.problem = problem


class Intake:
    """Read bodies, and count the bytes of all bodies in use.

    Args:
        max_bytes: Largest size of one body.
        all_bytes: Largest total size of all bodies that are being read or used.
        within_s: How long one body may take to arrive.
    """

    def __init__(self, *, max_bytes: int, all_bytes: int, within_s: float) -> None:
        self._max_bytes = max_bytes
        self._all_bytes = max(all_bytes, max_bytes)
        self._within_s = within_s
        self._held = 0

    @asynccontextmanager
    async def body(self, request: Request) -> AsyncIterator[bytes]:
        """Read the whole body for an ``async with`` block.

        Until the block ends, the body counts towards ``all_bytes``.

        Raises:
            BodyRefused: The body was refused. The block does not run.
        """
        pieces: list[bytes] = []
        try:
            await self._read(request, pieces)
            whole = b"".join(pieces)
            yield whole
        finally:
            self._held -= sum(map(len, pieces))

    async def discard(self, request: Request) -> None:
        """Read and discard a body, within limits, so that its client can see the response.

        If a response arrives before a client has sent its whole body, many clients report a broken
        connection.
        """
        if "100-continue" in request.headers.get("expect", "").lower():
            return
        try:
            await self._drain(request.stream(), [], 0)
        except ClientDisconnect:
            pass

    async def _read(self, request: Request, pieces: list[bytes]) -> None:
        declared = request.headers.get("content-length", "")
        is_large = declared.isdecimal() and len(declared) < 20 and int(declared) > self._max_bytes
        # A client that sent "Expect: 100-continue" usually waits before it sends its body, so
        # refuse the body now. Other clients send the body in any case, so discard the body first
        # (see ``discard``).
        if is_large and "100-continue" in request.headers.get("expect", "").lower():
            raise self._too_large()
        try:
            async with asyncio.timeout(self._within_s):
                size = 0
                chunks = request.stream()
                if not is_large:
                    async for piece in chunks:
                        size += len(piece)
                        if size > self._max_bytes:
                            is_large = True
                            break
                        self._hold(piece, pieces)
            if is_large:
                await self._drain(chunks, pieces, size)
        except TimeoutError:
            raise BodyRefused(
                Problem(
                    408,
                    "body_timeout",
                    f"The body did not arrive within {self._within_s:g} s.",
                    {"connection": "close"},
                )
            ) from None
        except ClientDisconnect as exc:
            raise BodyRefused(Problem(400, "incomplete", "The body is incomplete.")) from exc
        if is_large:
            raise self._too_large()

    def _hold(self, piece: bytes, pieces: list[bytes]) -> None:
        if self._held + len(piece) > self._all_bytes:
            raise BodyRefused(
                Problem(
                    503,
                    "busy",
                    "The bodies of other requests use all the memory for bodies: try again.",
                    {"connection": "close"},
                )
            )
        self._held += len(piece)
        pieces.append(piece)

    async def _drain(self, chunks: AsyncIterator[bytes], pieces: list[bytes], size: int) -> None:
        self._held -= sum(map(len, pieces))
        pieces.clear()
        try:
            async with asyncio.timeout(_DRAIN_S):
                async for piece in chunks:
                    size += len(piece)
                    if size > self._max_bytes * _DRAIN_TIMES:
                        break
        except TimeoutError:
            pass

    def _too_large(self) -> BodyRefused:
        return BodyRefused(
            Problem(
                413,
                "body_too_large",
                f"A request's body may have {self._max_bytes} bytes: send several smaller bodies.",
                {"connection": "close"},
            )
        )
