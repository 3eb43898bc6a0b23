"""examples/agui in a real Chromium, and pages of CopilotKit, TanStack AI and assistant-ui."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import BrowserContext, Page, expect

from tests.browser.conftest import ROOT
from tests.browser.pages import PAGES, ask, pages_of, text_of
from tests.processes import example

pytestmark = [pytest.mark.interop, pytest.mark.timeout(180)]
PICTURES = os.environ.get("INKSTREAM_PICTURES")
START_S = 20.0
TOOLS = "It is 21 °C in Bern and 17 °C in Oslo."


@pytest.fixture(scope="session")
def built() -> None:
    command = [sys.executable, f"{ROOT}/scripts/_javascript.py", "agui"]
    subprocess.run(command, check=True, timeout=300)


@pytest.fixture(scope="session")
def pages(built: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pages_of(
        tmp_path_factory.mktemp("pages"),
        assistant_ui=PAGES / "assistant-ui.tsx",
        copilotkit=PAGES / "copilotkit.tsx",
        tanstack=PAGES / "tanstack.tsx",
    )


@pytest_asyncio.fixture(loop_scope="module")
async def agui(built: None, tmp_path: Path) -> AsyncIterator[str]:
    async with example("agui", tmp_path) as url:
        yield url


async def opened(context: BrowserContext, url: str, thread: str) -> Page:
    page = await context.new_page()
    await page.goto(f"{url}/?thread={thread}")
    await page.locator("form").wait_for()
    return page


async def over(page: Page, status: str = "ready") -> None:
    await page.locator(f"[data-status={status}][data-loaded]").wait_for(timeout=20_000)


async def stored(url: str, thread: str) -> Any:
    async with httpx.AsyncClient(headers={"accept": "application/json"}) as client:
        listed = (await client.get(f"{url}/agui", params={"threadId": thread})).json()
    return [m["parts"][0]["content"] for m in listed["messages"] if m["role"] == "assistant"]


async def picture(page: Page, name: str) -> None:
    if PICTURES:
        await page.bring_to_front()
        await page.screenshot(path=f"{PICTURES}/agui-{name}.png", full_page=True)


async def test_reloaded_in_the_middle(context: BrowserContext, agui: str) -> None:
    """G2: a reload and a second window show reasoning, tools and text once."""
    page = await opened(context, agui, "a")
    await ask(page, "tools")
    await page.locator(".reasoning").wait_for()
    await page.reload()
    second = await opened(context, agui, "a")
    for window in (page, second):
        await expect(window.locator(".tool[data-state=done]")).to_have_count(2)
        await over(window)
        assert await text_of(window) == TOOLS
        assert await window.locator(".reasoning").count() == 1
    await picture(page, "tools")
    await ask(page, "more")
    await expect(page.locator("li.assistant .text").last).to_have_text(re.compile("written.$"))
    assert [await text_of(page)] == ["".join(await stored(agui, "a"))]
    await page.reload()
    await over(page)
    assert await text_of(page) == "".join(await stored(agui, "a"))
    assert await page.locator("li.user").count() == 2


async def test_stopped(context: BrowserContext, agui: str) -> None:
    """G6: Stop in one window ends the answer in both windows, and both show the stored text."""
    page = await opened(context, agui, "b")
    await ask(page, "long")
    await expect(page.locator("li.assistant .text")).to_have_text(re.compile(r"(\S+\s+){3,}"))
    second = await opened(context, agui, "b")
    await expect(second.locator("li.assistant .text")).to_have_text(re.compile(r"(\S+\s+){3,}"))
    await second.get_by_role("button", name="Stop").click()
    for window in (page, second):
        await over(window)
        assert [await text_of(window)] == await stored(agui, "b")
        await expect(window.get_by_text("Stopped.")).to_be_visible()
    await picture(page, "stopped")
    await page.reload()
    await expect(page.get_by_text("Stopped.")).to_be_visible()


async def test_failed(context: BrowserContext, agui: str) -> None:
    """G5: the page shows the public message of the failure."""
    page = await opened(context, agui, "c")
    await ask(page, "error")
    await over(page, "error")
    failed = page.get_by_role("alert")
    await expect(failed).to_have_text("The model is overloaded. Please try again.")
    await picture(page, "failed")


async def asked(page: Page, placeholder: str, text: str) -> None:
    await page.get_by_placeholder(placeholder).fill(text, timeout=30_000)
    await page.keyboard.press("Enter")


async def test_copilotkit(context: BrowserContext, pages: Path, tmp_path: Path) -> None:
    """CopilotKit's own chat works with inkstream's route as its agent, without a CopilotRuntime."""
    async with example("agui", tmp_path, pages=pages) as url:
        page = await context.new_page()
        await page.goto(f"{url}/pages/copilotkit.html")
        await asked(page, "Type a message...", "tools")
        await expect(page.get_by_text(TOOLS)).to_be_visible(timeout=20_000)
        await expect(page.get_by_text("I look it up.")).to_be_attached()
        await picture(page, "copilotkit")


async def test_tanstack(context: BrowserContext, pages: Path, tmp_path: Path) -> None:
    """TanStack AI's page shows an answer with tools, and continues an answer after a reload."""
    async with example("agui", tmp_path, pages=pages) as url:
        page = await context.new_page()
        await page.goto(f"{url}/pages/tanstack.html?thread=t1")
        await asked(page, "Type a message...", "tools")
        await expect(page.get_by_text(TOOLS)).to_be_visible()
        await expect(page.locator("code")).to_have_count(2)
        await picture(page, "tanstack")
        await expect(page.get_by_placeholder("Type a message...")).to_be_enabled()
        await asked(page, "Type a message...", "long")
        answer = page.locator(".assistant p").last
        await expect(answer).to_have_text(re.compile("^A long answer"))
        await page.reload()
        await expect(page.locator(".user")).to_have_count(2)
        await expect(page.get_by_placeholder("Type a message...")).to_be_enabled(timeout=20_000)
        assert await answer.text_content() == (await stored(url, "t1"))[-1]
        assert await page.locator(".assistant").count() == 2


async def test_assistant_ui(context: BrowserContext, pages: Path, tmp_path: Path) -> None:
    """assistant-ui's page, which runs version 7 of the AI SDK, shows an answer."""
    async with example("usechat", tmp_path, pages=pages) as url:
        page = await context.new_page()
        await page.goto(f"{url}/pages/assistant_ui.html")
        await asked(page, "Write a message...", "tools")
        await expect(page.get_by_text("Bern is warmer today.")).to_be_visible(timeout=20_000)
        await picture(page, "assistant-ui")
