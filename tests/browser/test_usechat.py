"""examples/usechat in a real Chromium, with versions 6 and 7 of the AI SDK's own hook."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import BrowserContext, Page, expect

from tests.browser.conftest import ROOT
from tests.browser.pages import USECHAT, ask, pages_of, text_of
from tests.http.servers import free_port
from tests.processes import start_example

pytestmark = [pytest.mark.interop, pytest.mark.timeout(90)]
PICTURES = os.environ.get("INKSTREAM_PICTURES")
START_S = 20.0


@pytest.fixture(scope="session", params=["ai-6", "ai-7"])
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path | None:
    """Build the example's page with the commands of its README, which use version 6.

    For version 7, also bundle the page's sources, and return the folder of the bundle.
    """
    command = [sys.executable, f"{ROOT}/scripts/_javascript.py", "usechat"]
    subprocess.run(command, check=True, timeout=300)
    if request.param == "ai-6":
        return None
    return pages_of(tmp_path_factory.mktemp("ai-7"), use_chat=USECHAT / "main.tsx")


class Site:
    """The example's server. It can be killed and started again on the same port and database."""

    def __init__(self, directory: Path, pages: Path | None) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.page = self.url if pages is None else f"{self.url}/pages/use_chat.html"
        self.version = 6 if pages is None else 7
        self._directory = directory
        self._pages = pages
        self._process: Process | None = None

    async def start(self) -> None:
        self._process = await start_example(
            "usechat", self._directory, self.port, pages=self._pages
        )

    async def kill(self) -> None:
        assert self._process is not None
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()

    async def messages(self, chat: str) -> Any:
        async with httpx.AsyncClient() as client:
            return (await client.get(f"{self.url}/api/chat/{chat}/messages")).json()


@pytest_asyncio.fixture(loop_scope="module")
async def site(tmp_path: Path, built: Path | None) -> AsyncIterator[Site]:
    site = Site(tmp_path, built)
    await site.start()
    yield site
    await site.kill()


async def opened(context: BrowserContext, site: Site, chat: str) -> Page:
    page = await context.new_page()
    await page.goto(f"{site.page}?chat={chat}")
    await page.locator("form").wait_for()
    return page


async def over(page: Page, status: str = "ready") -> None:
    await page.locator(f"[data-status={status}]").wait_for(timeout=20_000)
    await expect(page.get_by_role("button", name="Ask")).to_be_enabled()


def text_in(messages: Any) -> str:
    return "".join(
        part["text"]
        for message in messages
        if message["role"] == "assistant"
        for part in message["parts"]
        if part["type"] == "text"
    )


async def picture(page: Page, site: Site, name: str) -> None:
    if PICTURES:
        await page.bring_to_front()
        path = f"{PICTURES}/usechat-{site.version}-{name}.png"
        await page.screenshot(path=path, full_page=True)


async def begun(page: Page, words: int = 3) -> None:
    """Wait until the last answer on the page has at least ``words`` words."""
    await expect(page.locator("li.assistant .text").last).to_have_text(
        re.compile(rf"(\S+\s+){{{words},}}")
    )


async def test_tools_reloaded_and_opened_twice(context: BrowserContext, site: Site) -> None:
    """G2: a reload and a second window during an answer show each part once."""
    page = await opened(context, site, "a")
    await ask(page, "tools")
    await page.locator(".reasoning").wait_for()
    await page.reload()
    second = await opened(context, site, "a")
    await picture(second, site, "tools-live")
    for window in (page, second):
        await expect(window.locator("[data-state=output-available]")).to_have_count(2)
        await window.locator(".source").wait_for()
        await over(window)
        assert await window.locator("li.assistant").count() == 1
        assert await window.locator(".reasoning").count() == 1
        assert await text_of(window) == text_in(await site.messages("a"))
    await picture(page, site, "tools")


async def test_server_killed(context: BrowserContext, site: Site) -> None:
    """G1, G5: the page reconnects after ``kill -9`` and shows the stored text."""
    page = await opened(context, site, "b")
    await ask(page, "long")
    await begun(page)
    await site.kill()
    seen = await text_of(page)
    await site.start()
    await over(page, "error")
    stored = text_in(await site.messages("b"))
    assert stored.startswith(seen)
    assert await text_of(page) == stored
    await picture(page, site, "killed")
    await page.reload()
    await expect(page.locator("li.assistant .text")).to_have_text(stored.strip())


async def test_stopped_in_both_windows(context: BrowserContext, site: Site) -> None:
    """G6: Stop in one window ends the answer in both windows, and both show the stored text."""
    page = await opened(context, site, "c")
    await ask(page, "long")
    await begun(page)
    second = await opened(context, site, "c")
    await begun(second)
    await second.get_by_role("button", name="Stop").click()
    for window in (page, second):
        await over(window)
        assert await text_of(window) == text_in(await site.messages("c"))
    assert (await site.messages("c"))[1]["metadata"]["inkstream"]["status"] == "cancelled"
    await picture(second, site, "stopped")


async def test_stopped_while_offline(context: BrowserContext, site: Site) -> None:
    """G6: a Stop that was pressed offline reaches the server later."""
    page = await opened(context, site, "d")
    await ask(page, "long")
    await begun(page)
    await context.set_offline(True)
    await page.get_by_role("button", name="Stop").click()
    await expect(page.get_by_role("button", name="Stopping…")).to_be_visible()
    await picture(page, site, "offline")
    await context.set_offline(False)
    await over(page)
    messages = await site.messages("d")
    assert messages[1]["metadata"]["inkstream"]["status"] == "cancelled"
    assert await text_of(page) == text_in(messages)


async def test_connection_cut(context: BrowserContext, site: Site) -> None:
    """G2: after its connection breaks, the page reconnects by itself and shows the answer once."""
    page = await opened(context, site, "h")
    await ask(page, "long")
    await begun(page)
    async with page.expect_request(lambda r: r.url.endswith("/api/chat/h/stream")):
        await context.set_offline(True)
        seen = await text_of(page)
        await context.set_offline(False)
    await expect(page.locator("li.assistant .text").last).not_to_have_text(seen)
    await over(page)
    assert await text_of(page) == text_in(await site.messages("h"))
    assert await page.locator("li.assistant").count() == 1


async def test_left_and_back(context: BrowserContext, site: Site) -> None:
    """G6: closing the window does not stop the answer. The next window shows the whole answer."""
    page = await opened(context, site, "e")
    await ask(page, "hello")
    await begun(page)
    await page.close()
    again = await opened(context, site, "e")
    await over(again)
    await expect(again.locator("li.assistant .text")).to_contain_text("of the database.")


async def test_failure_is_shown(context: BrowserContext, site: Site) -> None:
    """G5: the page shows the public error message, live and after a reload."""
    page = await opened(context, site, "f")
    await ask(page, "error")
    await over(page, "error")
    await expect(page.get_by_role("alert")).to_have_text(
        "The model is overloaded. Please try again."
    )
    await expect(page.locator("li.assistant .text")).to_have_text(
        "This answer begins well, and then"
    )
    await picture(page, site, "failed")
    async with page.expect_response(lambda r: r.url.endswith("/api/chat/f/stream")) as resumed:
        await page.reload()
    assert (await resumed.value).status == 204
    await expect(page.locator(".ending")).to_have_text("The model is overloaded. Please try again.")
    await over(page)
    await expect(page.get_by_role("alert")).to_have_count(0)
    await picture(page, site, "failed-reloaded")


async def test_a_tool_of_the_page(context: BrowserContext, site: Site) -> None:
    """G2: the answer continues in the same message after the page has run a tool."""
    page = await opened(context, site, "g")
    await ask(page, "where am I?")
    await expect(page.locator("li.assistant")).to_contain_text("Your browser says:")
    await over(page)
    await expect(page.locator("li.assistant")).to_contain_text("Your browser says: UTC.")
    whole = await page.locator("li.assistant").inner_text()
    assert await page.locator("li.assistant").count() == 1
    await picture(page, site, "page-tool")
    await page.reload()
    await over(page)
    await expect(page.locator("li.assistant")).to_have_count(1)
    await expect(page.locator("li.assistant")).to_contain_text("Your browser says: UTC.")
    assert await page.locator("li.assistant").inner_text() == whole
    await ask(page, "tools")
    await page.locator(".source").wait_for()
    assert await page.locator("li.assistant").count() == 2
