"""Answers that survive a reload, in Litestar: `uvicorn litestar_chat:app`."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, TypedDict

from litestar import Litestar, Request, Response, get, post
from litestar.exceptions import NotAuthorizedException
from starlette.requests import Request as StarletteRequest

from inkstream import PersistentTextStreaming, StreamNotFound, StreamResponse

streams = PersistentTextStreaming("sqlite:///inkstream.db")


class Ask(TypedDict):
    prompt: str


async def user(request: Request[Any, Any, Any]) -> str:  # stands for your login
    if name := request.headers.get("X-User"):
        return name
    raise NotAuthorizedException


@post("/ask", status_code=202)
async def ask(data: Ask, user: str) -> dict[str, str]:
    stream_id = await streams.create(owner=user)

    async def answer() -> AsyncIterator[str]:  # continues even if the browser disconnects
        for word in f"You asked: {data['prompt']} Here is a thought about it.".split():
            yield word + " "
            await asyncio.sleep(0.5)

    streams.start(stream_id, answer)
    return {"stream_id": stream_id}


@get("/streams/{stream_id:str}", media_type="text/event-stream")
async def live(stream_id: str, user: str, request: Request[Any, Any, Any]) -> StreamResponse:
    return streams.response(StarletteRequest(dict(request.scope)), stream_id, owner=user)


@post("/streams/{stream_id:str}/cancel", status_code=204)
async def cancel(stream_id: str, user: str) -> None:
    await streams.cancel(stream_id, owner=user)


def not_found(request: Request[Any, Any, Any], error: StreamNotFound) -> Response[dict[str, Any]]:
    problem = {"status": 404, "code": error.code, "detail": str(error)}
    return Response(problem, status_code=404, media_type="application/problem+json")


app = Litestar(
    [ask, live, cancel],
    dependencies={"user": user},
    exception_handlers={StreamNotFound: not_found},
    lifespan=[streams.lifespan],
)
