"""AG-UI on persistent streams, in FastAPI: a run is a stream, a thread is a group.

    python examples/agui/server.py

``POST /agui`` starts a run, or follows the run if its id exists. ``GET /agui?threadId=…`` follows
the thread's running answer, or returns the thread as JSON if the page accepts JSON. The answers are
scripted, so the server needs no network and no key. It has no login, so it listens only on this
machine.
"""

from __future__ import annotations

import argparse
import asyncio
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import uvicorn
from fastapi import Depends, FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, Field

from inkstream import JSON, PersistentTextStreaming, Result, StreamError, StreamExists
from inkstream.formats import ag_ui

PAGE = Path(__file__).parent / "page" / "dist"
DATABASE = os.environ.get("AGUI_DATABASE", "sqlite:///agui.db")
PAUSE_S = float(os.environ.get("AGUI_PAUSE_S", "0.04"))


class Run(BaseModel):
    """The fields of AG-UI's ``RunAgentInput`` that this agent reads."""

    threadId: str = Field(min_length=1, max_length=200)
    runId: str = Field(min_length=1, max_length=200)
    messages: list[dict[str, Any]]


def current_user() -> str:
    """Return the user. Replace this by your own login."""
    return "ada"


User = Annotated[str, Depends(current_user)]

streams = PersistentTextStreaming(DATABASE)
app = FastAPI(lifespan=streams.lifespan)


@app.post("/agui")
async def run(run: Run, request: Request, user: User) -> Response:
    question = run.messages[-1] if run.messages else {}
    try:
        await streams.create(
            run.runId, owner=user, group=run.threadId, metadata={"question": question}
        )
    except StreamExists:
        pass  # the client repeats the POST to reconnect, and gets what follows its last event
    return streams.stream(
        request,
        run.runId,
        lambda: answer(run.messages),
        owner=user,
        group=run.threadId,
        format=ag_ui,
    )


@app.get("/agui")
async def resume(
    request: Request, user: User, threadId: str | None = None, runId: str | None = None
) -> Response:
    if runId is not None:  # TanStack AI asks for a run by the run's id
        return streams.response(request, runId, owner=user, format=ag_ui)
    if threadId is None:
        return JSONResponse({"detail": "threadId or runId is missing"}, 422)
    if "application/json" in request.headers.get("accept", ""):
        return JSONResponse(await thread(threadId, user))
    run = await streams.latest(owner=user, group=threadId)
    if run is None or (run.ended and "last-event-id" not in request.headers):
        return Response(status_code=204)
    return streams.response(request, run.stream_id, owner=user, group=threadId, format=ag_ui)


async def thread(thread_id: str, user: str) -> dict[str, Any]:
    """Return a thread for a reloaded page: its runs, and its messages in TanStack AI's shape."""
    states = (await streams.list(owner=user, group=thread_id)).streams[::-1]
    bodies = await streams.read_many([s.stream_id for s in states if s.ended], owner=user)
    messages = []
    for state in states:
        question: Any = state.metadata["question"]
        texts = [(question.get("id", state.stream_id), "user", question.get("content", ""))]
        if state.ended:
            texts.append((f"{state.stream_id}.0", "assistant", bodies[state.stream_id].text))
        for name, role, text in texts:
            parts = [{"type": "text", "content": text}]
            messages.append({"id": name, "role": role, "parts": parts})
    running = next((s.stream_id for s in states if not s.ended), None)
    return {
        "messages": messages,
        "activeRun": None if running is None else {"runId": running},
        "runs": [{"runId": s.stream_id, "question": s.metadata["question"]} for s in states],
    }


@app.post("/agui/stop")
async def stop(threadId: str, user: User) -> bool:
    run = await streams.latest(owner=user, group=threadId)
    return run is not None and not run.ended and await streams.cancel(run.stream_id, owner=user)


async def answer(
    messages: Sequence[Mapping[str, Any]],
) -> AsyncIterator[str | Mapping[str, JSON] | Result]:
    """Yield a scripted answer, chosen by ``tools``, ``error`` or ``long`` in the question."""
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
async def page() -> str:
    built = PAGE / "index.html"
    return built.read_text() if built.exists() else NOT_BUILT


NOT_BUILT = """<!doctype html><title>AG-UI on inkstream</title>
<p>The page is not built. Build it from the root of the repository:
<pre>python scripts/_javascript.py agui</pre>
<p>The agent works without it:
<pre>curl -N localhost:PORT/agui -H 'content-type: application/json' \\
  -d '{"threadId": "t1", "runId": "r1", "messages": [{"role": "user", "content": "tools"}]}'
curl -N 'localhost:PORT/agui?threadId=t1'</pre>"""

app.mount("/", StaticFiles(directory=PAGE, check_dir=False))


def main() -> None:
    parser = argparse.ArgumentParser(description="Run AG-UI's example on this machine.")
    parser.add_argument("--port", type=int, default=8000)
    options = parser.parse_args()
    print(f"AG-UI on inkstream: http://127.0.0.1:{options.port}/ (Ctrl-C stops it)", flush=True)
    uvicorn.run(app, port=options.port, log_level="warning", timeout_graceful_shutdown=12)


if __name__ == "__main__":
    main()
