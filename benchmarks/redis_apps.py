"""Apps that keep a live stream in Redis for clients that join late."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from redis.asyncio import Redis
from resumable_stream import RedisPublisher, RedisSubscriber, create_resumable_stream_context
from starlette.responses import StreamingResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from benchmarks.apps import Load, lifespan, number_of


def resumable(load: Load, database: str) -> ASGIApp:
    """Follow over PUBLISH/SUBSCRIBE: a port of ``resumable-stream``, as its README shows it.

    The first client begins the stream, and receives it from memory. The process that serves the
    first client publishes the stream to all other clients.
    """
    publisher, subscriber = RedisPublisher(database), RedisSubscriber(database)
    context = create_resumable_stream_context(publisher=publisher, subscriber=subscriber)

    async def connect() -> None:
        await publisher.connect()
        await subscriber.connect()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await lifespan(receive, send, connect)
            return
        number = number_of(scope)
        # Subscribe before sending headers, so that each follower finds a producer. The README
        # subscribes later, in the body.
        stream = await context.resumable_stream(str(number), lambda: _events(load, number))
        load.arrive()
        response = StreamingResponse(stream, media_type="text/event-stream")
        await response(scope, receive, send)

    return app


async def _events(load: Load, number: int) -> AsyncIterator[str]:
    async for token in load.source(number):
        yield f'data: "{token}"\n\n'


def xread(load: Load, database: str) -> ASGIApp:
    """Store tokens in a Redis stream, as tutorials do: XADD for a token, XREAD for a reader."""
    # A reader that blocks occupies a connection; the default limit is 100 connections.
    redis = Redis.from_url(database, decode_responses=True, max_connections=10_000)
    producers: dict[int, asyncio.Task[None]] = {}

    async def produce(number: int) -> None:
        async for token in load.source(number):
            await redis.xadd(f"stream:{number}", {"token": token})
        await redis.xadd(f"stream:{number}", {"end": ""})

    async def events(number: int) -> AsyncIterator[str]:
        last = "0"
        while True:
            answer: Any = await redis.xread({f"stream:{number}": last}, block=15_000)
            for _, entries in answer:
                for last, fields in entries:
                    if "end" in fields:
                        return
                    yield f'id: {last}\ndata: "{fields["token"]}"\n\n'

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            async with contextlib.aclosing(redis):
                await lifespan(receive, send)
            return
        number = number_of(scope)
        if number not in producers:
            producers[number] = asyncio.create_task(produce(number))
        load.arrive()
        response = StreamingResponse(events(number), media_type="text/event-stream")
        await response(scope, receive, send)

    return app
