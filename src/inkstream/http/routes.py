"""The ready-made routes: ``GET /{id}`` and ``POST /{id}/cancel``, nothing else."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from typing import TypeAlias
from urllib.parse import unquote

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from inkstream._errors import InkstreamError, StreamNotFound
from inkstream._types import StreamId, StreamState
from inkstream.http.asgi import Authorize, place_of, refuse_other
from inkstream.http.crosssite import cross_site_problem
from inkstream.http.problems import Problem, problem_for

Follow: TypeAlias = Callable[
    [Request, StreamId, Callable[[StreamState], Awaitable[bool]]], Response
]
Cancel: TypeAlias = Callable[[StreamId, Callable[[StreamState], Awaitable[bool]]], Awaitable[None]]


class StreamRoutes:
    """An ASGI app of the two routes, routed on the raw path so that ``%2F`` in an id survives."""

    def __init__(
        self,
        follow: Follow,
        cancel: Cancel,
        authorize: Authorize,
        allowed_origins: Collection[str],
    ) -> None:
        self._follow = follow
        self._cancel = cancel
        self._authorize = authorize
        self._allowed_origins = allowed_origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request below the mount."""
        if await refuse_other(scope, receive, send):
            return
        response = await self._route(Request(scope, receive))
        await response(scope, receive, send)

    async def _route(self, request: Request) -> Response:
        name, slash, verb = place_of(request.scope).rest.strip("/").partition("/")
        try:
            stream_id = StreamId(unquote(name, errors="strict"))
        except (InkstreamError, UnicodeDecodeError):
            return problem_for(StreamNotFound(name))
        if not slash:
            if request.method in ("GET", "HEAD"):
                return self.read(request, stream_id)
            return _method_not_allowed("GET, HEAD")
        if verb == "cancel":
            if request.method == "POST":
                return await self.cancel(request, stream_id)
            return _method_not_allowed("POST")
        return problem_for(StreamNotFound(name))

    def _allow(self, request: Request, action: str) -> Callable[[StreamState], Awaitable[bool]]:
        async def allow(stream: StreamState) -> bool:
            return await self._authorize(request, stream, action)

        return allow

    def read(self, request: Request, stream_id: StreamId) -> Response:
        """Follow a stream."""
        return self._follow(request, stream_id, self._allow(request, "read"))

    async def cancel(self, request: Request, stream_id: StreamId) -> Response:
        """Cancel a stream; one that has ended stays as it is."""
        problem = cross_site_problem(request, self._allowed_origins)
        if problem is not None:
            return problem
        try:
            await self._cancel(stream_id, self._allow(request, "cancel"))
        except InkstreamError as exc:
            return problem_for(exc)
        return Response(status_code=204, headers={"cache-control": "no-store"})


def _method_not_allowed(allow: str) -> Problem:
    return Problem(405, "method_not_allowed", f"Only {allow} is served here.", {"allow": allow})
