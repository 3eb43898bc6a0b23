"""The AI SDK's useChat on persistent streams: ask, resume, stop and history, in FastAPI.

    python examples/usechat/server.py

The answers are scripted (answers.py), so the server needs no network and no key. It has no login,
so it listens only on this machine.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Annotated, Any

import uvicorn
from answers import answer
from fastapi import Body, Depends, FastAPI, Request
from fastapi.responses import HTMLResponse, Response
from fastapi.staticfiles import StaticFiles

from inkstream import PersistentTextStreaming
from inkstream.ai_sdk import UIMessageChat

PAGE = Path(__file__).parent / "page" / "dist"
DATABASE = os.environ.get("USECHAT_DATABASE", "sqlite:///usechat.db")


def current_user() -> str:
    """Return the user. Replace this by your own login."""
    return "ada"


User = Annotated[str, Depends(current_user)]

# useChat needs twelve lines; tests/formats/test_twelve_lines.py counts the lines marked with +.
streams = PersistentTextStreaming(DATABASE)  # +
chat = UIMessageChat(streams)  # +
app = FastAPI(lifespan=streams.lifespan)


@app.post("/api/chat")
async def ask(body: Annotated[dict[str, Any], Body()], request: Request, user: User) -> Response:
    return await chat.reply(request, body, lambda: answer(body["messages"]), owner=user)  # +


@app.get("/api/chat/{chat_id}/stream")  # +
async def resume(chat_id: str, request: Request, user: User) -> Response:  # +
    return await chat.resume(request, chat_id, owner=user)  # +


@app.post("/api/chat/{chat_id}/stop")  # +
async def stop(chat_id: str, user: User, body: dict[str, Any] | None = None) -> bool:  # +
    return await chat.stop(chat_id, body, owner=user)  # +


@app.get("/api/chat/{chat_id}/messages")  # +
async def messages(chat_id: str, user: User) -> list[dict[str, Any]]:  # +
    return await chat.messages(chat_id, owner=user)  # +


@app.get("/", response_class=HTMLResponse)
async def page() -> str:
    built = PAGE / "index.html"
    return built.read_text() if built.exists() else NOT_BUILT


NOT_BUILT = """<!doctype html><title>useChat on inkstream</title>
<p>The page is not built. Build it from the root of the repository:
<pre>python scripts/_javascript.py usechat</pre>
<p>The API works without it:
<pre>curl -N localhost:PORT/api/chat -H 'content-type: application/json' -d '{"id": "c1",
  "messages": [{"id": "u1", "role": "user", "parts": [{"type": "text", "text": "tools"}]}]}'
curl localhost:PORT/api/chat/c1/messages</pre>"""

app.mount("/", StaticFiles(directory=PAGE, check_dir=False))


def main() -> None:
    parser = argparse.ArgumentParser(description="Run useChat's example on this machine.")
    parser.add_argument("--port", type=int, default=8000)
    options = parser.parse_args()
    print(f"useChat on inkstream: http://127.0.0.1:{options.port}/ (Ctrl-C stops it)", flush=True)
    uvicorn.run(app, port=options.port, log_level="warning", timeout_graceful_shutdown=12)


if __name__ == "__main__":
    main()
