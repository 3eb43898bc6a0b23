"""A chat whose answers are persistent streams: FastAPI, two tables, and a page in React.

The tables, the streams and the feed that all windows follow are in one SQLite file. One transaction
changes them together. So no window shows a question that is not stored, and no window misses a
stored question. The server has no login, so it listens only on this machine.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import re
import socket
import sqlite3
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import uvicorn
from fastapi import APIRouter, Body, Depends, FastAPI, HTTPException, Request
from fastapi.responses import FileResponse
from pydantic import StringConstraints
from starlette.staticfiles import StaticFiles

from inkstream import (
    InkstreamError,
    Limits,
    PersistentTextStreaming,
    Result,
    StreamBody,
    StreamExists,
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
KEY = os.environ.get("OPENAI_API_KEY", "").strip()
MODEL = os.environ.get("OPENAI_MODEL") or "gpt-4.1-mini"
BASE_URL = os.environ.get("OPENAI_BASE_URL") or "https://api.openai.com/v1"
NAME = f"{MODEL} at {urlsplit(BASE_URL).hostname or BASE_URL}" if KEY else "a few written texts"
PROMPT_CHARACTERS, TITLE_CHARACTERS, PAGE_TURNS = 8000, 80, 20
TYPING_S = 0.04
# The first line of a text is the question that the text answers. A question that names no text gets
# the text "reload".
TEXTS = {path.stem: path.read_text("utf-8") for path in sorted((HERE / "answers").glob("*.md"))}
QUESTIONS = [text.splitlines()[0] for name, text in TEXTS.items() if not KEY and name != "reload"]

# A turn is a question and its answer, and never changes. An edited question, or another answer to a
# question, is a new turn below the same parent (0 at the beginning of a chat). If a parent has
# several turns, the page shows the turn that the user chose last.
SCHEMA = """
CREATE TABLE IF NOT EXISTS chats (id TEXT PRIMARY KEY, title TEXT, changed_at REAL);
CREATE TABLE IF NOT EXISTS turns (
    id INTEGER PRIMARY KEY AUTOINCREMENT, chat_id TEXT, parent_id INTEGER, prompt TEXT,
    stream_id TEXT, asked_at REAL, chosen INTEGER,
    again INTEGER, question_id AS (coalesce(again, id))); -- again: the turn that asked this first
CREATE INDEX IF NOT EXISTS turns_by_parent ON turns (chat_id, parent_id);
"""
SHOWN = """
WITH RECURSIVE best AS (
    SELECT *, max(chosen) FROM turns WHERE chat_id = :chat_id GROUP BY parent_id
), shown AS (
    SELECT * FROM best WHERE parent_id = 0
    UNION ALL SELECT best.* FROM shown JOIN best ON best.parent_id = shown.id
)
SELECT id, parent_id, prompt, stream_id, asked_at,
    (SELECT json_group_array(id) FROM (SELECT id, max(chosen) FROM turns
        WHERE chat_id = shown.chat_id AND parent_id = shown.parent_id
        GROUP BY question_id ORDER BY question_id)) AS questions,
    (SELECT json_group_array(id) FROM (SELECT id FROM turns
        WHERE chat_id = shown.chat_id AND parent_id = shown.parent_id
        AND question_id = shown.question_id ORDER BY id)) AS answers
FROM shown WHERE id > :after AND id < :before ORDER BY id DESC LIMIT iif(:after < 0, :page, -1)
"""
SAID = """
WITH RECURSIVE said AS (
    SELECT * FROM turns WHERE id = ?
    UNION ALL SELECT turns.* FROM said JOIN turns
    ON turns.id = said.parent_id AND turns.chat_id = said.chat_id
)
SELECT prompt, stream_id FROM said ORDER BY id
"""
ADD = """
INSERT INTO turns (chat_id, parent_id, prompt, stream_id, asked_at, again, chosen)
VALUES (?, ?, ?, ?, ?, ?, (SELECT coalesce(max(chosen), 0) + 1 FROM turns)) RETURNING id
"""
TOUCH = "UPDATE chats SET changed_at = ? WHERE id = ? RETURNING *"
RENAME = "UPDATE chats SET title = :title WHERE id = :id RETURNING id"
CHOOSE = """
UPDATE turns SET chosen = (SELECT max(chosen) + 1 FROM turns)
WHERE id = ? RETURNING chat_id, parent_id
"""


async def tell_end(body: StreamBody) -> None:
    await streams.post(FEED, {"ended": body.stream_id})


# The request that creates an answer also starts the answer. If an answer is pending for 10 s, the
# server died before the start. An answer's owner is its chat, which has at most one live answer.
streams = PersistentTextStreaming(
    f"sqlite:///{FILE}",
    on_end=tell_end,
    limits=Limits(live_streams_per_owner=1),
    timing=Timing(start_within_s=10.0),
)
model = ChatCompletions(MODEL, api_key=KEY, base_url=BASE_URL) if KEY else None
writing = asyncio.Lock()


@contextlib.asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with streams:
        async with database() as connection:
            connection.executescript(SCHEMA)
        with contextlib.suppress(StreamExists):
            await streams.create(FEED, kind="log")
        yield


@contextlib.asynccontextmanager
async def database() -> AsyncIterator[sqlite3.Connection]:
    """Open the file for one transaction at a time.

    A second transaction would block the event loop while it waits for the first, and the first
    needs the event loop to end.
    """
    async with writing:
        with contextlib.closing(sqlite3.connect(FILE, timeout=5)) as connection, connection:
            connection.row_factory = sqlite3.Row
            yield connection


def found(rows: sqlite3.Cursor) -> Any:
    """Return the row that was changed. Answer 404 if another window has deleted the row."""
    if row := rows.fetchone():
        return row
    raise HTTPException(404, "This conversation was deleted.")


def from_here(request: Request) -> None:
    """Refuse requests from pages of other origins, because such a page could use the API key."""
    if request.headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
        raise HTTPException(403, "Another origin sent this.")


async def typed(prompt: str) -> AsyncIterator[Any]:
    """Type the prepared answer that the prompt names. A line of JSON in the answer is a part."""
    words = re.findall(r"\w+", prompt.lower())
    text = next((TEXTS[word] for word in words if word in TEXTS), TEXTS["reload"])
    for line in text.splitlines(keepends=True)[2:]:
        part = json.loads(line) if line.startswith('{"type": ') else None
        for word in re.findall(r"\s*\S+\s*|\s+", part.get("delta", "-") if part else line):
            await asyncio.sleep(TYPING_S)
            yield word if part is None else part | ({"delta": word} if "delta" in part else {})
    yield Result({"finish_reason": "stop"})


Words = StringConstraints(strip_whitespace=True, min_length=1, max_length=PROMPT_CHARACTERS)
Text = Annotated[str, Words, Body(embed=True)]
api = APIRouter(prefix="/api", dependencies=[Depends(from_here)])


@api.get("/chats")
async def chats() -> dict[str, Any]:
    """Return the chats, each with its live answer, and the offset from which to follow the feed."""
    # The offset is read before the list, so that no change between the two reads is lost. The page
    # may get such a change twice, which does no harm.
    offset = (await streams.read(FEED)).offset
    async with database() as connection:
        rows = connection.execute("SELECT * FROM chats").fetchall()
    live = {
        state.owner: state.stream_id
        for status in ("pending", "streaming")
        for state in (await streams.list(status=status)).streams
    }
    listed = [dict(row) | {"live": live.get(row["id"])} for row in rows]
    about = {"name": NAME, "prompt_characters": PROMPT_CHARACTERS, "questions": QUESTIONS}
    return {"chats": listed, "offset": offset, "about": about}


@api.get("/chats/{chat_id}/turns")
async def turns(chat_id: str, before: int = 2**62, after: int = -1) -> list[dict[str, Any]]:
    """Return the shown turns after turn ``after``, or a page of turns before turn ``before``."""
    wanted = {"chat_id": chat_id, "before": before, "after": after, "page": PAGE_TURNS}
    async with database() as connection:
        shown = [dict(row) for row in reversed(connection.execute(SHOWN, wanted).fetchall())]
    bodies = await streams.read_many([turn["stream_id"] for turn in shown])
    for turn in shown:
        turn |= {name: json.loads(turn[name]) for name in ("questions", "answers")}
        if body := bodies.get(turn["stream_id"]):
            turn |= {"offset": body.offset, "parts": body.parts, "end": body.end}
    return shown


@api.post("/turns", status_code=202)
async def ask(
    prompt: Text,
    chat_id: Annotated[str | None, Body()] = None,
    parent_id: Annotated[int, Body()] = 0,
    again: Annotated[int | None, Body()] = None,
) -> dict[str, str]:
    """Store a turn below another turn (or begin a chat), tell all windows, and start the answer."""
    now = time.time()
    async with database() as connection:
        if chat_id is None:
            chat_id, title = uuid.uuid4().hex, " ".join(prompt.split())[:TITLE_CHARACTERS]
            connection.execute("INSERT INTO chats VALUES (?, ?, ?)", (chat_id, title, now))
        chat = dict(found(connection.execute(TOUCH, (now, chat_id))))
        stream_id = await streams.create(owner=chat_id, connection=connection)
        row = (chat_id, parent_id, prompt, stream_id, now, again)
        (turn_id,) = connection.execute(ADD, row).fetchone()
        told: dict[str, Any] = {"chat": chat | {"live": stream_id}, "after": parent_id}
        await streams.post(FEED, told, connection=connection)
        said = connection.execute(SAID, (turn_id,)).fetchall()
    answers = await streams.read_many([turn["stream_id"] for turn in said])
    messages = []
    for turn in said:
        messages.append({"role": "user", "content": turn["prompt"]})
        if text := answers[turn["stream_id"]].text:
            messages.append({"role": "assistant", "content": text})
    streams.start(stream_id, model.answer(messages) if model else typed(prompt))
    return {"chat_id": chat_id}


@api.post("/turns/{turn_id}/choose")
async def choose(turn_id: int) -> None:
    """Show this turn instead of the other turns below its parent, in all windows."""
    async with database() as connection:
        chat_id, parent_id = found(connection.execute(CHOOSE, (turn_id,)))
        told = {"chat": {"id": chat_id}, "after": parent_id}
        await streams.post(FEED, told, connection=connection)


@api.patch("/chats/{chat_id}")
async def rename(chat_id: str, title: Text) -> None:
    async with database() as connection:
        chat = {"id": chat_id, "title": title[:TITLE_CHARACTERS]}
        found(connection.execute(RENAME, chat))
        await streams.post(FEED, {"chat": chat}, connection=connection)


@api.delete("/chats/{chat_id}")
async def delete(chat_id: str) -> None:
    """Delete a chat with its answers. An answer that is still being written is stopped."""
    async with database() as connection:
        connection.execute("DELETE FROM turns WHERE chat_id = ?", (chat_id,))
        connection.execute("DELETE FROM chats WHERE id = ?", (chat_id,))
        await streams.delete_all(owner=chat_id, connection=connection)
        await streams.post(FEED, {"deleted": chat_id}, connection=connection)


app = FastAPI(title="inkstream chat", lifespan=lifespan)
app.add_exception_handler(InkstreamError, problem_handler)
app.include_router(api)
app.include_router(streams.router(allow_anonymous=True), prefix="/api/streams")


@app.get("/", include_in_schema=False)
@app.get("/c/{chat_id}", include_in_schema=False)
async def page() -> FileResponse:
    headers = {"content-security-policy": POLICY, "cache-control": "no-cache"}
    return FileResponse(PAGE / "index.html", headers=headers)


app.mount("/", StaticFiles(directory=PAGE, check_dir=False))


def main() -> None:
    parser = argparse.ArgumentParser(description="Run the chat on this machine.")
    parser.add_argument("--port", type=int, default=8000, help="0 takes a free port")
    port = parser.parse_args().port
    try:
        listener = socket.create_server(("127.0.0.1", port), backlog=2048)
    except OSError as exc:
        parser.error(f"port {port} cannot be used ({exc.strerror}): try another --port")
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
    print(
        f"inkstream chat: {url} (two windows side by side: {url}two.html)\n"
        f"answers from {NAME}, kept in {FILE}\n"
        f"try `kill -9 {os.getpid()}` in the middle of an answer, and start it again",
        flush=True,
    )
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=12)
    with listener, contextlib.suppress(KeyboardInterrupt):
        uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
