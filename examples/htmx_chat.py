"""Answers that survive a reload, with htmx and no script of your own: `uvicorn htmx_chat:app`."""

import asyncio
import html
import uuid
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, FastAPI, Form, Request, Response
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles

from inkstream import PersistentTextStreaming, StreamState, browser_files

PAGE = """<!doctype html><title>Chat</title>
<script src="/htmx/htmx.min.js"></script>
<script src="/inkstream/inkstream.min.js" defer></script>
<form hx-post="/ask" hx-target="#answers" hx-swap="beforeend">
  <input name="prompt"> <button>Ask</button></form> <div id="answers">{}</div>"""
streams = PersistentTextStreaming("sqlite:///inkstream.db")
app = FastAPI(lifespan=streams.lifespan)
app.mount("/inkstream", browser_files())
app.mount("/htmx", StaticFiles(directory="node_modules/htmx.org/dist"))


def login(request: Request, response: Response) -> str:  # stands for your login
    user = request.cookies.get("user") or uuid.uuid4().hex
    response.set_cookie("user", user, httponly=True, samesite="lax")
    return user


async def mine(request: Request, stream: StreamState, action: str) -> bool:
    return stream.owner == request.cookies.get("user", "")  # False if the stream has no owner


User = Annotated[str, Depends(login)]
app.include_router(streams.router(authorize=mine), prefix="/streams")


def shown(stream_id: str, prompt: object) -> str:
    return f'<p>{html.escape(str(prompt))} <ink-stream src="/streams/{stream_id}"></ink-stream></p>'


@app.get("/", response_class=HTMLResponse)
async def page(user: User) -> str:
    newest_first = (await streams.list(owner=user)).streams
    asked = [shown(each.stream_id, each.metadata["prompt"]) for each in reversed(newest_first)]
    return PAGE.format("".join(asked))


@app.post("/ask", response_class=HTMLResponse)
async def ask(user: User, prompt: Annotated[str, Form()]) -> str:
    async def answer() -> AsyncIterator[str]:  # continues even if the browser disconnects
        for word in f"You asked: {prompt} Here is a thought about it.".split():
            yield word + " "
            await asyncio.sleep(0.1)

    stream_id = await streams.create(owner=user, metadata={"prompt": prompt})
    streams.start(stream_id, answer)
    return shown(stream_id, prompt)
