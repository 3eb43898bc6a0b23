"""An application that sends stored streams in the format of OpenAI's Chat Completions."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from inkstream import PersistentTextStreaming, Result, StreamError
from inkstream.formats import openai_chat

streams = PersistentTextStreaming("memory://")

PARTS: list[Any] = [
    {"type": "reasoning-start", "id": "r"},
    {"type": "reasoning-delta", "id": "r", "delta": "Hm, "},
    {"type": "reasoning-delta", "id": "r", "delta": "two."},
    {"type": "reasoning-end", "id": "r"},
    "Let me ",
    "look: «\u2028»\r\n",
    {"type": "tool-input-start", "toolCallId": "c1", "toolName": "weather"},
    {"type": "tool-input-delta", "toolCallId": "c1", "inputTextDelta": '{"city": '},
    {"type": "tool-input-delta", "toolCallId": "c1", "inputTextDelta": '"Bern"}'},
    {
        "type": "tool-input-available",
        "toolCallId": "c1",
        "toolName": "weather",
        "input": {"city": "Bern"},
    },
    {
        "type": "tool-input-available",
        "toolCallId": "c2",
        "toolName": "weather",
        "input": {"city": "Oslo"},
    },
    "Done.",
]
RESULT = Result(
    {
        "finish_reason": "tool-calls",
        "model": "scripted",
        "usage": {"input_tokens": 3, "output_tokens": 4},
    }
)


async def complete(request: Request) -> Response:
    body = await request.json()
    prompt = body["messages"][-1]["content"]

    async def answer() -> AsyncIterator[Any]:
        if prompt == "error":
            yield "Some words "
            raise StreamError("Too many questions.", code="overloaded")
        for part in PARTS:
            yield part
        yield RESULT

    stream_id = await streams.create()
    return streams.stream(request, stream_id, answer, format=openai_chat)


async def ready(request: Request) -> Response:
    return Response()


app = Starlette(
    routes=[
        Route("/v1/chat/completions", complete, methods=["POST"]),
        Route("/pid", ready),
    ],
    lifespan=streams.lifespan,
)
