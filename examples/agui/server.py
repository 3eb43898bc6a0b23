"""AG-UI on persistent streams, in FastAPI: a run is a stream, a thread is a group.

    python examples/agui/server.py

``POST /agui`` runs, ``GET /agui?threadId=…`` goes on with the thread's running answer. Answers are
scripted, so it runs offline and without a key. There is no login: it listens on this machine alone.
"""

from __future__ import annotations

import argparse
import asyncio
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Annotated, Any

import uvicorn
from fastapi import Depends, FastAPI, Request
from fastapi.responses import HTMLResponse, Response
from pydantic import BaseModel, Field

from inkstream import JSON, PersistentTextStreaming, Result, StreamError, StreamExists
from inkstream.formats import ag_ui

DATABASE = os.environ.get("AGUI_DATABASE", "sqlite:///agui.db")
PAUSE_S = float(os.environ.get("AGUI_PAUSE_S", "0.04"))


class Run(BaseModel):
    """The part of AG-UI's ``RunAgentInput`` that this agent looks at."""

    threadId: str = Field(min_length=1, max_length=200)
    runId: str = Field(min_length=1, max_length=200)
    messages: list[dict[str, Any]]


def current_user() -> str:
    """Return the user, as your own login knows it."""
    return "ada"


User = Annotated[str, Depends(current_user)]

streams = PersistentTextStreaming(DATABASE)
app = FastAPI(lifespan=streams.lifespan)


@app.post("/agui")
async def run(run: Run, request: Request, user: User) -> Response:
    try:
        await streams.create(run.runId, owner=user, group=run.threadId)
    except StreamExists:
        pass  # the client posts again to go on: the run is followed from its last event
    return streams.stream(
        request,
        run.runId,
        lambda: answer(run.messages),
        owner=user,
        group=run.threadId,
        format=ag_ui,
    )


@app.get("/agui")
async def resume(threadId: str, request: Request, user: User) -> Response:
    run = await streams.latest(owner=user, group=threadId)
    if run is None or (run.ended and "last-event-id" not in request.headers):
        return Response(status_code=204)
    return streams.response(request, run.stream_id, owner=user, group=threadId, format=ag_ui)


@app.post("/agui/stop")
async def stop(threadId: str, user: User) -> bool:
    run = await streams.latest(owner=user, group=threadId)
    return run is not None and not run.ended and await streams.cancel(run.stream_id, owner=user)


async def answer(
    messages: Sequence[Mapping[str, Any]],
) -> AsyncIterator[str | Mapping[str, JSON] | Result]:
    """Stand in for an agent: ``tools``, ``error`` and ``long`` in the question say what to show."""
    prompt = str(messages[-1].get("content", "")).lower() if messages else ""
    if "tools" in prompt:
        yield {"type": "start-step"}
        yield {"type": "reasoning-start", "id": "thought"}
        for word in ("I ", "look ", "it ", "up."):
            yield {"type": "reasoning-delta", "id": "thought", "delta": word}
            await asyncio.sleep(PAUSE_S)
        yield {"type": "reasoning-end", "id": "thought"}
        for city, degrees in (("Bern", 21), ("Oslo", 17)):
            call = {"toolCallId": f"call-{city}"}
            yield {"type": "tool-input-start", **call, "toolName": "weather"}
            for piece in ('{"city": ', f'"{city}"', "}"):
                yield {"type": "tool-input-delta", **call, "inputTextDelta": piece}
                await asyncio.sleep(PAUSE_S)
            arguments = {"city": city}
            yield {
                "type": "tool-input-available",
                **call,
                "toolName": "weather",
                "input": arguments,
            }
            yield {"type": "tool-output-available", **call, "output": {"celsius": degrees}}
        yield {"type": "finish-step"}
        text, seconds = "It is 21 °C in Bern and 17 °C in Oslo.", None
    elif "error" in prompt:
        text, seconds = "This answer begins well, and then", None
    elif "long" in prompt:
        text, seconds = "A long answer takes its time, and goes on when you reload. " * 8, 10.0
    else:
        text, seconds = "This run is kept while it is written.", None
    words = text.split(" ")
    for i, word in enumerate(words):
        yield word if i == len(words) - 1 else f"{word} "
        await asyncio.sleep(PAUSE_S if seconds is None else seconds / len(words))
    if "error" in prompt:
        raise StreamError("The model is overloaded. Please try again.", code="overloaded")
    yield Result({"finish_reason": "stop", "model": "scripted"})


@app.get("/", response_class=HTMLResponse)
async def about() -> str:
    return ABOUT


ABOUT = """<!doctype html><title>AG-UI on inkstream</title>
<p>An AG-UI agent: give <code>new HttpAgent({ url: location.origin + "/agui" })</code> its address.
<pre>curl -N localhost:PORT/agui -H 'content-type: application/json' \\
  -d '{"threadId": "t1", "runId": "r1", "messages": [{"role": "user", "content": "tools"}]}'
curl -N 'localhost:PORT/agui?threadId=t1'</pre>"""


def main() -> None:
    parser = argparse.ArgumentParser(description="Run AG-UI's example on this machine.")
    parser.add_argument("--port", type=int, default=8000)
    options = parser.parse_args()
    print(f"AG-UI on inkstream: http://127.0.0.1:{options.port}/agui (Ctrl-C stops it)", flush=True)
    uvicorn.run(app, port=options.port, log_level="warning", timeout_graceful_shutdown=12)


if __name__ == "__main__":
    main()
