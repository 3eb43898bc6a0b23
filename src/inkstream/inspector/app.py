"""The inspector's routes. Each route needs an explicit permission from ``authorize``."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Collection
from functools import cache
from importlib.resources import files
from typing import Any, Final, TypeAlias
from urllib.parse import unquote

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.types import Receive, Scope, Send

from inkstream._errors import InkstreamError, InvalidStreamId
from inkstream._types import Query, Status, StreamId, StreamState
from inkstream.engine.engine import Engine
from inkstream.http.asgi import only_true, place_of, refuse_other
from inkstream.http.connection import HTTPSettings
from inkstream.http.crosssite import cross_site_problem
from inkstream.http.follow import Follow, requested_offset
from inkstream.http.problems import Problem, problem_for
from inkstream.http.response import StreamResponse
from inkstream.operations.describe import describe, workers
from inkstream.operations.health import check_health

AuthorizeOperator: TypeAlias = Callable[[Request, str], Awaitable[bool]]
"""``async authorize(request, action) -> bool``: whether this request may do the action.

Only ``True`` allows; see ``Authorize``. ``action`` is ``"text"`` (a stream's text and result),
``"stop"``, or ``"look"`` (everything else).
"""

_PAGE: Final = 50
_WRITE_WITHIN_S: Final = 2.0


class Inspector:
    """An ASGI app to mount on a separate path. ``streams.inspector`` returns this app."""

    def __init__(
        self,
        engine: Callable[[], Engine],
        authorize: AuthorizeOperator,
        http: HTTPSettings,
        allowed_origins: Collection[str],
    ) -> None:
        self._html = page()  # read the file now: a read in a request would block the event loop
        self._engine = engine
        self._authorize = only_true(authorize, "request, action", http.authorize_timeout_s)
        self._http = http
        self._allowed_origins = allowed_origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request below the mount."""
        if await refuse_other(scope, receive, send):
            return
        request = Request(scope, receive)
        try:
            response = await self._route(request)
        except InkstreamError as exc:
            response = problem_for(exc)
        response.headers.setdefault("cache-control", "no-store")
        response.headers.setdefault("x-content-type-options", "nosniff")
        response.headers.setdefault("referrer-policy", "no-referrer")
        await response(scope, receive, send)

    async def _route(self, request: Request) -> Response:
        parts = place_of(request.scope).rest.split("/")
        match request.method, parts:
            case "GET" | "HEAD", [""]:
                return await self._page(request)
            case "GET", ["api", "overview"]:
                return await self._allowed(request, "look", self._overview)
            case "GET", ["api", "streams"]:
                return await self._allowed(request, "look", self._list)
            case "GET", ["api", "streams", name]:
                return await self._allowed(request, "look", self._describe, name)
            case "GET", ["api", "streams", name, "text"]:
                return await self._allowed(request, "text", self._text, name)
            case "POST", ["api", "streams", name, "stop"]:
                problem = cross_site_problem(request, self._allowed_origins)
                return problem or await self._allowed(request, "stop", self._stop, name)
        return Problem(404, "not_found", "There is nothing here.")

    async def _allowed(
        self, request: Request, action: str, answer: Callable[..., Awaitable[Response]], *name: str
    ) -> Response:
        if not await self._authorize(request, action):
            return Problem(403, "forbidden", "You may not do this.")
        try:
            ids = [StreamId(unquote(part, errors="strict")) for part in name]
        except UnicodeDecodeError as exc:
            raise InvalidStreamId(name[0]) from exc
        return await answer(request, *ids)

    async def _page(self, request: Request) -> Response:
        if not request.scope["path"].endswith("/"):
            # The page's requests are relative to the mount, so the page's URL must end with "/".
            return RedirectResponse(place_of(request.scope).mount.rsplit("/", 2)[-2] + "/", 307)
        if not await self._authorize(request, "look"):
            return Problem(403, "forbidden", "You may not use the inspector.")
        nonce = secrets.token_urlsafe(16)
        policy = (
            f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; "
            "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
            "frame-ancestors 'none'"
        )
        html = self._html.replace("{nonce}", nonce)
        return HTMLResponse(html, headers={"content-security-policy": policy})

    async def _overview(self, request: Request) -> Response:
        engine = self._engine()
        health = await check_health(engine, _WRITE_WITHIN_S)
        return JSONResponse(
            {
                "health": health.as_json(),
                "workers": await workers(engine.store, engine.condition) if health.live else [],
                "text": await self._authorize(request, "text"),
                "stop": await self._authorize(request, "stop"),
            }
        )

    async def _list(self, request: Request) -> Response:
        asked = request.query_params
        status, cursor = asked.get("status"), asked.get("cursor", "")
        if status and status not in list(Status):
            return Problem(400, "invalid", f"There is no status {status!r:.40}.")
        if cursor and not (cursor.isascii() and cursor.isdigit() and len(cursor) < 19):
            return Problem(400, "invalid", "The cursor is not valid.")
        one = asked.get("id")
        found = await self._engine().readers.find(
            Query(
                stream_ids=(StreamId(one),) if one else None,
                owner=asked.get("owner") or None,
                group=asked.get("group") or None,
                statuses=(Status(status),) if status else None,
                before=int(cursor) if cursor else None,
                limit=_PAGE + 1,
            )
        )
        more = str(found[_PAGE - 1].internal_id) if len(found) > _PAGE else None
        return JSONResponse({"streams": [_row(s) for s in found[:_PAGE]], "cursor": more})

    async def _describe(self, request: Request, stream_id: StreamId) -> Response:
        engine = self._engine()
        state = await engine.readers.state(stream_id)
        description = (await describe(engine.store, state, engine.condition)).as_json()
        end = description["end"]
        if end is not None and not await self._authorize(request, "text"):
            del end["result"]  # the application chose the result, which may contain text
        return JSONResponse(description)

    async def _text(self, request: Request, stream_id: StreamId) -> Response:
        return StreamResponse(
            Follow(
                engine=self._engine(),
                stream_id=stream_id,
                request=request,
                given=requested_offset(request),
                settings=self._http,
                format="events",
            )
        )

    async def _stop(self, request: Request, stream_id: StreamId) -> Response:
        engine = self._engine()
        state = await engine.readers.state(stream_id)
        return JSONResponse({"cancelled": await engine.changes.cancel(state)})


def _row(state: StreamState) -> dict[str, Any]:
    return {
        "stream_id": state.stream_id,
        "kind": state.kind.value,
        "status": state.status.value,
        "code": state.code,
        "owner": state.owner,
        "group": state.group,
        "bytes": state.size,
        "created_at": state.created_at,
        "ended_at": state.ended_at,
        "last_piece_at": state.appended_at,
    }


@cache
def page() -> str:
    """Return the page's HTML. For each response, the caller replaces ``{nonce}`` by a new value."""
    return files("inkstream.inspector").joinpath("page.html").read_text("utf-8")
