"""axe finds nothing serious or moderate on the page of examples/chat."""

from __future__ import annotations

import pytest
from playwright.async_api import BrowserContext

from tests.browser import axe
from tests.browser.chat_page import Chat, ask, chatting, open_page, wait_for
from tests.http.provider import delta

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]
MARKDOWN = "# A title\n\n- [x] done\n\n```python\nprint(1)\n```\n\n| a |\n|---|\n| b |\n"


@pytest.mark.parametrize("look", axe.WIDTHS)
async def test_chat(context: BrowserContext, chat: Chat, look: str) -> None:
    """The page is accessible when empty, during an answer, and after Stop.

    It also is with versions, the editor, the list and Undo.
    """
    axe.install()
    async with chatting(chat, delta(MARKDOWN)):
        page = await open_page(context, chat.url)
        await page.set_viewport_size({"width": axe.WIDTHS[look], "height": 800})
        await axe.assert_accessible(page, "empty")
        await ask(page, "What is it?")
        await wait_for(page, "streaming", "done")
        await axe.assert_accessible(page, "an answer is written")
        await page.get_by_role("button", name="Stop").click()
        await wait_for(page, "cancelled")
        await page.get_by_role("button", name="Try again").click()
        await page.get_by_role("group", name="Versions").wait_for()
        await page.get_by_role("button", name="Stop").click()
        await wait_for(page, "cancelled")
        await axe.assert_accessible(page, "two versions, and stopped")
        await page.get_by_role("button", name="Edit question").click()
        await axe.assert_accessible(page, "the question is edited")
        await page.keyboard.press("Escape")
        if look == "phone":
            await page.get_by_role("button", name="Conversations").click()
            await axe.assert_accessible(page, "the dialog is open")
        await page.get_by_role("button", name="Delete What is it?").click()
        await page.get_by_role("button", name="Undo").wait_for()
        await axe.assert_accessible(page, "a conversation was deleted")
