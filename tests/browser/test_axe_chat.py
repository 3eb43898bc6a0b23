"""axe finds no moderate, serious or critical violation on the page of examples/chat."""

from __future__ import annotations

import pytest
from playwright.async_api import BrowserContext, Page

from tests.browser import axe
from tests.browser.chat_page import Chat, ask, chatting, open_page, wait_for
from tests.http.provider import delta

pytestmark = [
    pytest.mark.interop,
    pytest.mark.timeout(120),
    pytest.mark.usefixtures("built_chat"),
]

EVERYTHING = """# A title

Some **text**, `code`, a [link](https://example.com/) and mathematics: \\\\(a^2\\\\).

> A quotation.

- [x] a task

| a | b |
|---|---|
| 1 | 2 |

```python
def answer() -> int:
    return 42  # as ever
```
"""


@pytest.fixture(scope="session", autouse=True)
def rules() -> None:
    axe.install()


async def opened(context: BrowserContext, chat: Chat, look: str) -> Page:
    page = await open_page(context, chat.url)
    await page.set_viewport_size({"width": axe.WIDTHS[look], "height": 800})
    return page


@pytest.mark.parametrize("look", axe.WIDTHS)
async def test_a_life(context: BrowserContext, chat: Chat, look: str) -> None:
    async with chatting(chat, delta(EVERYTHING)) as provider:
        page = await opened(context, chat, look)
        await axe.assert_accessible(page, "empty")
        await ask(page, "What is **it**?")
        await wait_for(page, "streaming", "as ever")
        await axe.assert_accessible(page, "an answer is written")
        await page.get_by_label("Message").fill("And then?")
        await page.keyboard.press("Enter")
        await page.get_by_text("An answer is being written.").wait_for()
        await axe.assert_accessible(page, "asked too early")
        await page.get_by_role("button", name="Stop").click()
        await wait_for(page, "cancelled")
        await axe.assert_accessible(page, "stopped")
        provider.status = 401
        provider.go_on.set()
        await page.get_by_role("button", name="Try again").click()
        await wait_for(page, "error")
        await axe.assert_accessible(page, "failed, the second of two versions")
        await page.get_by_label("Message").fill("x" * 20_000)
        await axe.assert_accessible(page, "too long a question")


@pytest.mark.parametrize("look", axe.WIDTHS)
async def test_what_opens(context: BrowserContext, chat: Chat, look: str) -> None:
    # Without a model, the example writes an answer with thoughts and a tool's call.
    await chat.start()
    try:
        page = await opened(context, chat, look)
        await ask(page, "How is the weather?")
        await wait_for(page, "done")
        for summary in await page.locator(".answer summary").all():
            await summary.click()
        await axe.assert_accessible(page, "thoughts and a tool's call")
        await page.get_by_role("button", name="Edit question").click()
        await axe.assert_accessible(page, "a question is edited")
        await page.keyboard.press("Escape")
        if look == "phone":
            await page.get_by_role("button", name="Conversations").click()
            await axe.assert_accessible(page, "the drawer")
        await page.get_by_role("searchbox").fill("weather")
        await axe.assert_accessible(page, "a search")
        await page.get_by_role("searchbox").fill("sunshine")
        await axe.assert_accessible(page, "a search that finds nothing")
        await page.get_by_role("searchbox").fill("")
        await page.get_by_role("button", name="Rename").click()
        await axe.assert_accessible(page, "a title is edited")
        await page.keyboard.press("Enter")
        await page.get_by_role("button", name="Delete").click()
        await page.get_by_role("button", name="Undo").wait_for()
        await axe.assert_accessible(page, "Undo")
    finally:
        await chat.kill()
