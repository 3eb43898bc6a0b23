"""The ready-made routes: ``GET /{id}``, ``POST /{id}/cancel`` and ``POST /follow``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Final, TypeAlias
from urllib.parse import unquote

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from inkstream._errors import InkstreamError, StreamNotFound
from inkstream._types import StreamId, StreamState
from inkstream.http.asgi import Authorize, anyone, place_of, refuse_other
from inkstream.http.crosssite import cross_site_problem
from inkstream.http.follow import Allow
from inkstream.http.intake import BodyRefused, Intake
from inkstream.http.many import FOLLOW_HEADER, MAX_BODY, parse_wanted
from inkstream.http.problems import Problem, problem_for

Respond: TypeAlias = Callable[[Request, StreamId, Allow | None], Response]
RespondMany: TypeAlias = Callable[[Request, Mapping[str, str | None], Allow | None], Response]
Cancel: TypeAlias = Callable[[StreamId, Allow | None], Awaitable[None]]

_FOLLOW: Final = "follow"


class StreamRoutes:
    """An ASGI app with the ready-made routes.

    It reads the raw path, so that a stream id may contain a slash (``%2F`` in the URL).
    """

    def __init__(
        self,
        follow: Respond,
        follow_many: RespondMany,
        cancel: Cancel,
        authorize: Authorize,
        allowed_origins: Collection[str],
    ) -> None:
        self._follow = follow
        self._follow_many = follow_many
        self._intake = Intake(max_bytes=MAX_BODY, all_bytes=256 * MAX_BODY, within_s=10.0)
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
            if name != _FOLLOW:
                return _method_not_allowed("GET, HEAD")
            if request.method == "POST":
                return await self.read_many(request)
            return _method_not_allowed("GET, HEAD, POST")
        if verb == "cancel":
            if request.method == "POST":
                return await self.cancel(request, stream_id)
            return _method_not_allowed("POST")
        return problem_for(StreamNotFound(name))

    def _allow(self, request: Request, action: str) -> Allow | None:
        if self._authorize is anyone:
            return None

        async def allow(stream: StreamState) -> bool:
            return await self._authorize(request, stream, action)

        return allow

    def read(self, request: Request, stream_id: StreamId) -> Response:
        """Follow a stream. A header of the response names the path of ``POST /follow``."""
        response = self._follow(request, stream_id, self._allow(request, "read"))
        response.headers[FOLLOW_HEADER] = _FOLLOW
        return response

    async def read_many(self, request: Request) -> Response:
        """Follow the streams that the request's body names."""
        problem = cross_site_problem(request, self._allowed_origins)
        if problem is not None:
            return problem
        try:
            async with self._intake.body(request) as body:
                wanted = parse_wanted(body)
        except BodyRefused as exc:
            return exc.problem
        except InkstreamError as exc:
            return problem_for(exc)
        return self._follow_many(request, wanted, self._allow(request, "read"))

    async def cancel(self, request: Request, stream_id: StreamId) -> Response:
        """Cancel a stream. If the stream has ended, nothing changes."""
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
