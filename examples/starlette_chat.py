"""Answers that survive a reload, in Starlette: `uvicorn starlette_chat:app`."""

import asyncio
from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from inkstream import InkstreamError, PersistentTextStreaming, problem_handler

streams = PersistentTextStreaming("sqlite:///inkstream.db")


def login(request: Request) -> str:  # stands for your login
    if user := request.headers.get("X-User"):
        return user
    raise HTTPException(401)


async def ask(request: Request) -> Response:
    owner = login(request)
    if not (prompt := (await request.json()).get("prompt")):
        raise HTTPException(400, "the body is {'prompt': …}")
    stream_id = await streams.create(owner=owner)

    async def answer() -> AsyncIterator[str]:  # continues even if the browser disconnects
        for word in f"You asked: {prompt} Here is a thought about it.".split():
            yield word + " "
            await asyncio.sleep(0.5)

    streams.start(stream_id, answer)
    return JSONResponse({"stream_id": stream_id}, 202)


async def live(request: Request) -> Response:
    return streams.response(request, request.path_params["stream_id"], owner=login(request))


async def cancel(request: Request) -> Response:
    await streams.cancel(request.path_params["stream_id"], owner=login(request))
    return Response(status_code=204)


app = Starlette(
    routes=[
        Route("/ask", ask, methods=["POST"]),
        Route("/streams/{stream_id}", live),
        Route("/streams/{stream_id}/cancel", cancel, methods=["POST"]),
    ],
    exception_handlers={InkstreamError: problem_handler},
    lifespan=streams.lifespan,
)
