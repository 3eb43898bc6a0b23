"""The server of examples/chat, and actions on its page for tests."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from pathlib import Path

from playwright.async_api import BrowserContext, Locator, Page, ViewportSize

from inkstream import PersistentTextStreaming, StreamBody
from tests.http.provider import Provider, playing_provider

PHONE: ViewportSize = {"width": 390, "height": 760}
SERVER = Path(__file__).parents[2] / "examples/chat/server.py"


class Chat:
    """The chat's server. It can be killed and started again on the same port and database."""

    def __init__(self, directory: Path) -> None:
        self.url = ""
        self.environment: dict[str, str] = {}
        self._file = directory / "chat.db"
        self._process: Process | None = None
        self._database = PersistentTextStreaming(f"sqlite:///{self._file}")

    async def start(self) -> None:
        """Start the server. When this method returns, the server answers at ``url``."""
        port = self.url.rstrip("/").rpartition(":")[2] or "0"
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, SERVER, "--port", port),
            stdin=DEVNULL,
            stdout=PIPE,
            env=os.environ | self.environment | {"CHAT_DATABASE": str(self._file)},
        )
        assert self._process.stdout is not None
        # The first line is like "inkstream chat: http://… (…".
        told = (await self._process.stdout.readline()).decode()
        self.url = told.split()[2]

    async def kill(self) -> None:
        assert self._process is not None
        if self._process.returncode is None:
            self._process.kill()
        await self._process.communicate()

    def add_turns(self, count: int) -> None:
        """Append turns to a conversation of one turn, until the conversation has ``count`` turns.

        All turns share the answer of the first turn.
        """
        with contextlib.closing(sqlite3.connect(self._file)) as connection, connection:
            for _ in range(count - 1):
                connection.execute(
                    "INSERT INTO turns (chat_id, parent_id, prompt, stream_id, asked_at, chosen)"
                    " SELECT chat_id, id, 'Question ' || (id + 1), stream_id, asked_at, id + 1"
                    " FROM turns ORDER BY id DESC LIMIT 1"
                )

    def add_chats(self, *chats: tuple[str, float]) -> None:
        """Add conversations without turns. Each chat is a title and the time of its last change."""
        rows = [(f"added-{title}", title, changed_at) for title, changed_at in chats]
        with contextlib.closing(sqlite3.connect(self._file)) as connection, connection:
            connection.executemany("INSERT INTO chats VALUES (?, ?, ?)", rows)

    def make_older(self, days: float) -> None:
        with contextlib.closing(sqlite3.connect(self._file)) as connection, connection:
            connection.execute("UPDATE chats SET changed_at = changed_at - ?", (days * 86400,))

    async def stored(self, stream_id: str) -> StreamBody:
        """Read a stream from the database, without a request to the server."""
        async with self._database as streams:
            return await streams.read(stream_id)


@contextlib.asynccontextmanager
async def chatting(chat: Chat, *chunks: bytes, model: str = "small") -> AsyncIterator[Provider]:
    """Run the chat with a model that sends these chunks, and then waits until ``go_on`` is set."""
    async with playing_provider(*chunks) as provider:
        chat.environment = provider.environment | {"OPENAI_MODEL": model}
        await chat.start()
        try:
            yield provider
        finally:
            await chat.kill()


async def open_page(context: BrowserContext, url: str) -> Page:
    page = await context.new_page()
    await page.goto(url)
    await page.get_by_label("Message").wait_for()
    return page


async def ask(page: Page, prompt: str) -> None:
    """Ask a question, and wait until the conversation has an address."""
    await page.get_by_label("Message").fill(prompt)
    await page.get_by_role("button", name="Send").click()
    await page.wait_for_url("**/c/*")


async def wait_for(page: Page, status: str, text: str = "") -> str:
    """Wait until the last answer has this status and contains this text. Return its stream's id."""
    answer = page.locator(f'.answer[data-status="{status}"]', has_text=text).last
    await answer.wait_for()
    return await answer.get_attribute("data-stream") or ""


async def remove(page: Page, title: str) -> None:
    """Delete a conversation, and wait until it can no longer be restored."""
    await page.get_by_role("button", name=f"Delete {title}").click()
    await page.get_by_role("button", name="Undo").wait_for(state="detached", timeout=20_000)


def titles(page: Page) -> Locator:
    return page.get_by_role("navigation", name="Conversations").get_by_role("listitem")


async def shown(page: Page) -> str:
    return await page.locator(".answer .text").last.text_content() or ""


async def assert_told_truly(chat: Chat, *pages: Page) -> StreamBody:
    """Fail if a page's last answer has not ended, or differs from the stored answer."""
    stored = None
    for page in pages:
        stream_id = await page.locator(".answer").last.get_attribute("data-stream") or ""
        stored = await chat.stored(stream_id)
        assert stored.status.ended
        await wait_for(page, stored.status)
        assert await shown(page) == stored.text
    assert stored is not None
    return stored
