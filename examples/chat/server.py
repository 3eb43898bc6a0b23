"""A chat whose answers are persistent streams: FastAPI, one table, and a page in React.

The table, the streams and the list of messages that windows follow are in one SQLite file, and
change in one transaction: no window hears of a message that is not stored, and none misses one.
There is no login, so it listens on this machine alone.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import json
import os
import re
import socket
import sqlite3
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import uvicorn
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request
from fastapi.responses import FileResponse
from pydantic import BaseModel, StringConstraints
from starlette.staticfiles import StaticFiles

from inkstream import (
    InkstreamError,
    PersistentTextStreaming,
    Result,
    StreamBody,
    StreamExists,
    StreamResponse,
    Timing,
    problem_handler,
)
from inkstream.sources import ChatCompletions

HERE = Path(__file__).parent
FILE = os.environ.get("CHAT_DATABASE", "chat.db")
PAGE = HERE / "page" / "dist"
POLICY = (
    "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'self'"
)
FEED = "chat-feed"
GROUP = "chat"
KEY = os.environ.get("OPENAI_API_KEY", "").strip()
MODEL = os.environ.get("OPENAI_MODEL") or "gpt-4.1-mini"
BASE_URL = os.environ.get("OPENAI_BASE_URL") or "https://api.openai.com/v1"
NAME = f"{MODEL} at {urlsplit(BASE_URL).hostname or BASE_URL}" if KEY else "a few written texts"
NOTE = "" if KEY else "Offline: written answers. Set OPENAI_API_KEY to have a model answer."
PROMPT_CHARACTERS = 8000
TYPING_S = 0.04

Turns = list[dict[str, str]]

# An answer is started by the request that makes it: one that is pending for longer belongs to a
# server that died between the two.
streams = PersistentTextStreaming(f"sqlite:///{FILE}", timing=Timing(start_within_s=10.0))
model = ChatCompletions(MODEL, api_key=KEY, base_url=BASE_URL) if KEY else None
asking = asyncio.Lock()


@contextlib.asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with streams:
        with database() as connection:
            connection.execute(
                "CREATE TABLE IF NOT EXISTS messages (id INTEGER PRIMARY KEY AUTOINCREMENT,"
                " prompt TEXT NOT NULL, stream_id TEXT NOT NULL, asked_at REAL NOT NULL)"
            )
        with contextlib.suppress(StreamExists):
            await streams.create(FEED, kind="log")
        yield


@contextlib.contextmanager
def database() -> Iterator[sqlite3.Connection]:
    """Open the file for one transaction."""
    with contextlib.closing(sqlite3.connect(FILE, timeout=5)) as connection:
        connection.row_factory = sqlite3.Row
        with connection:
            yield connection


def from_here(request: Request) -> None:
    """Refuse what another site's page sends: it would spend the API key."""
    if request.headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
        raise HTTPException(403, "Another site sent this.")


def answer(turns: Turns) -> AsyncIterator[Any]:
    """Answer the last turn: by the model, or without a key by a written text."""
    return model.answer(turns) if model else typed(turns[-1]["content"])


async def typed(prompt: str) -> AsyncIterator[Any]:
    """Type the written answer that the prompt names, at a typist's pace.

    A line of JSON in it is a part: a thought, a tool call, a tool's output.
    """
    written = {path.stem: path for path in sorted((HERE / "answers").glob("*.md"))}
    words = re.findall(r"\w+", prompt.lower())
    path = next((written[word] for word in words if word in written), written["reload"])
    for line in path.read_text("utf-8").splitlines(keepends=True):
        part = json.loads(line) if line.startswith('{"type": ') else None
        for word in re.findall(r"\s*\S+\s*|\s+", part.get("delta", "-") if part else line):
            await asyncio.sleep(TYPING_S)
            yield word if part is None else part | ({"delta": word} if "delta" in part else {})
    yield Result({"finish_reason": "stop"})


class Ask(BaseModel):
    prompt: Annotated[
        str, StringConstraints(strip_whitespace=True, min_length=1, max_length=PROMPT_CHARACTERS)
    ]


api = APIRouter(prefix="/api")
changes = [Depends(from_here)]


@api.get("/about")
async def about() -> dict[str, str | int]:
    """Name what answers, and the limit of a prompt."""
    return {"name": NAME, "note": NOTE, "prompt_characters": PROMPT_CHARACTERS}


@api.get("/messages")
async def history() -> dict[str, Any]:
    """Return the messages with their answers so far, and where to follow the list from."""
    # In this order: what changes in between is in both, and taking it twice changes nothing.
    offset = (await streams.read(FEED)).offset
    with database() as connection:
        rows = connection.execute("SELECT * FROM messages ORDER BY id").fetchall()
    answers = await streams.read_many([row["stream_id"] for row in rows])
    messages = [dict(row) | {"initial": initial(answers.get(row["stream_id"]))} for row in rows]
    return {"messages": messages, "offset": offset}


def initial(answer: StreamBody | None) -> dict[str, Any] | None:
    """Return what `useStream` need not fetch again."""
    if answer is None:
        return None
    end = answer.end
    failed = end is not None and end.status in ("error", "timeout")
    return {
        "offset": answer.offset,
        "parts": answer.parts,
        "status": answer.status,
        "error": {"code": end.code, "message": end.message} if end and failed else None,
        "result": end and end.result,
    }


@api.get("/feed", response_class=StreamResponse)
async def feed(request: Request) -> StreamResponse:
    """Follow the list of messages."""
    return streams.response(request, FEED)


@api.post("/messages", status_code=202, dependencies=changes)
async def ask(body: Ask) -> dict[str, Any]:
    """Store a prompt, and start its answer."""
    async with asking:
        turns = await conversation()
        with database() as connection:
            stream_id = await streams.create(group=GROUP, connection=connection)
            now = time.time()
            message_id = connection.execute(
                "INSERT INTO messages (prompt, stream_id, asked_at) VALUES (?, ?, ?)",
                (body.prompt, stream_id, now),
            ).lastrowid
            message = {
                "id": message_id,
                "prompt": body.prompt,
                "stream_id": stream_id,
                "asked_at": now,
            }
            await streams.post(FEED, {"message": message}, connection=connection)
    start(stream_id, [*turns, turn("user", body.prompt)])
    return message


@api.post("/messages/{message_id}/regenerate", status_code=202, dependencies=changes)
async def regenerate(message_id: int) -> dict[str, Any]:
    """Have a message answered again: a new stream, to which the message points from now on."""
    async with asking:
        turns = await conversation(before=message_id)
        with database() as connection:
            stream_id = await streams.create(group=GROUP, connection=connection)
            row = connection.execute(
                "UPDATE messages SET stream_id = ? WHERE id = ?"
                " AND id = (SELECT max(id) FROM messages) RETURNING *",
                (stream_id, message_id),
            ).fetchone()
            if row is None:  # what was said later would rest on an answer that is gone
                raise HTTPException(409, "Only the last answer can be made again.")
            message = dict(row)
            await streams.post(FEED, {"message": message}, connection=connection)
    start(stream_id, [*turns, turn("user", message["prompt"])])
    return message


@api.delete("/messages", status_code=204, dependencies=changes)
async def clear() -> None:
    """Delete all messages and their answers; one that is being written is stopped."""
    async with asking:
        with database() as connection:
            row = connection.execute("SELECT max(id) AS through FROM messages").fetchone()
            connection.execute("DELETE FROM messages")
            cleared = {"cleared": row["through"] or 0}
            await streams.post(FEED, cleared, connection=connection)
        await streams.delete_all(group=GROUP)


async def conversation(before: int | None = None) -> Turns:
    """Return what was said so far.

    Raises:
        HTTPException: An answer is still being written.
    """
    with database() as connection:
        rows = connection.execute("SELECT * FROM messages ORDER BY id").fetchall()
    answers = await streams.read_many([row["stream_id"] for row in rows])
    if any(not answer.status.ended for answer in answers.values()):
        raise HTTPException(409, "The last answer is still being written.")
    turns = []
    for row in rows:
        if before is not None and row["id"] >= before:
            break
        turns.append(turn("user", row["prompt"]))
        answer = answers.get(row["stream_id"])
        if answer is not None and answer.text:
            turns.append(turn("assistant", answer.text))
    return turns


def turn(role: str, text: str) -> dict[str, str]:
    return {"role": role, "content": text}


def start(stream_id: str, turns: Turns) -> None:
    streams.start(stream_id, functools.partial(answer, turns))


app = FastAPI(title="inkstream chat", lifespan=lifespan)
app.add_exception_handler(InkstreamError, problem_handler)
app.include_router(api)
app.include_router(streams.router(allow_anonymous=True), prefix="/api/streams")


@app.get("/", include_in_schema=False)
async def page() -> FileResponse:
    headers = {"content-security-policy": POLICY, "cache-control": "no-cache"}
    return FileResponse(PAGE / "index.html", headers=headers)


app.mount("/", StaticFiles(directory=PAGE, check_dir=False))


def main() -> None:
    parser = argparse.ArgumentParser(description="Run the chat on this machine.")
    parser.add_argument("--port", type=int, default=8000, help="0 takes a free one")
    parser.add_argument("--json", action="store_true", help="say where it is as JSON")
    options = parser.parse_args()
    with socket.socket() as listener:
        # A server that was killed a moment ago leaves connections behind that hold the port.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", options.port))
        except OSError as exc:
            sys.exit(f"port {options.port} cannot be used ({exc.strerror}): try another --port")
        listener.listen(2048)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        told = {"url": url, "database": FILE, "answers": NAME, "pid": os.getpid()}
        if options.json:
            print(json.dumps(told), flush=True)
        else:
            print(
                f"inkstream chat: {url} (two windows side by side: {url}two.html)\n"
                f"answers from {NAME}, kept in {FILE}\n"
                f"try `kill -9 {os.getpid()}` in the middle of an answer, and start it again\n"
                "Ctrl-C stops it",
                flush=True,
            )
        config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=12)
        with contextlib.suppress(KeyboardInterrupt):
            uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
