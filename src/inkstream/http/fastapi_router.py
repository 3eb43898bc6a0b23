"""The ready-made routes as a FastAPI router, with their OpenAPI documentation."""

from __future__ import annotations

from typing import Any

try:
    from fastapi import APIRouter, Request, Response
except ModuleNotFoundError as missing:
    raise ModuleNotFoundError(
        "streams.router() needs FastAPI: pip install 'inkstream[fastapi]', or mount streams.asgi()",
        name=missing.name,
    ) from missing

from inkstream._types import StreamId
from inkstream.http.formats import FORMATS
from inkstream.http.many import MAX_STREAMS, ManyResponse
from inkstream.http.response import StreamResponse
from inkstream.http.routes import StreamRoutes

_FOLLOWED: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The stream, live or finished",
        "content": {media_type: {} for media_type in FORMATS.values()},
    },
    204: {"description": "The client has seen the end"},
    404: {"description": "No such stream for this caller"},
}


_FOLLOWED_MANY: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The streams, each live or finished",
        "content": {"text/event-stream": {}, "application/json": {}},
    },
    400: {"description": "The body does not say which streams"},
}

_WANTED = {
    "application/json": {
        "schema": {
            "type": "object",
            "required": ["streams"],
            "properties": {
                "streams": {
                    "type": "object",
                    "description": "Ids, each with the offset to continue from, or null",
                    "maxProperties": MAX_STREAMS,
                    "additionalProperties": {"type": ["string", "null"]},
                }
            },
        }
    }
}


def fastapi_router(routes: StreamRoutes) -> APIRouter:
    """Return a router of ``GET /{stream_id}``, ``POST /{stream_id}/cancel``, ``POST /follow``."""
    router = APIRouter()

    async def read_stream(stream_id: StreamId, request: Request) -> Response:
        return routes.read(request, stream_id)

    async def cancel_stream(stream_id: StreamId, request: Request) -> Response:
        return await routes.cancel(request, stream_id)

    async def read_many_streams(request: Request) -> Response:
        return await routes.read_many(request)

    # This module's annotations are text (``from __future__``). Set types instead, so that FastAPI
    # need not find out which types the text names.
    for endpoint in (read_stream, cancel_stream):
        endpoint.__annotations__ = {
            "stream_id": StreamId,
            "request": Request,
            "return": Response,
        }
    router.add_api_route(
        "/{stream_id}",
        read_stream,
        methods=["GET"],
        summary="Follow a stream",
        response_class=StreamResponse,
        responses=_FOLLOWED,
    )
    read_many_streams.__annotations__ = {"request": Request, "return": Response}
    router.add_api_route(
        "/follow",
        read_many_streams,
        methods=["POST"],
        summary="Follow many streams",
        response_class=ManyResponse,
        responses=_FOLLOWED_MANY,
        openapi_extra={"requestBody": {"required": True, "content": _WANTED}},
    )
    router.add_api_route(
        "/{stream_id}/cancel",
        cancel_stream,
        methods=["POST"],
        status_code=204,
        summary="Cancel a stream",
        response_class=Response,
    )
    return router
