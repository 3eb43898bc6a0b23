"""The search among the titles of the conversations of examples/chat."""

from __future__ import annotations

import pytest
from playwright.async_api import BrowserContext, expect

from tests.browser.chat_page import PHONE, Chat, ask, chatting, open_page, titles, wait_for
from tests.http.provider import delta

pytestmark = [pytest.mark.interop, pytest.mark.timeout(60)]


async def test_a_search_filters_the_titles(context: BrowserContext, chat: Chat) -> None:
    """A search finds titles that contain each typed word, in any case, with or without accents.

    Enter opens the first conversation. Escape clears the search, and does not stop an answer.
    """
    async with chatting(chat, delta("On and on")):
        page = await open_page(context, chat.url)
        await ask(page, "Tea or coffee?")
        await wait_for(page, "streaming", "On and on")
        chat.add_chats(("A café in Łódź", 3e8), ("Coffee", 2e8), ("Iced tea, no coffee", 1e8))
        url = page.url
        await page.reload()
        await wait_for(page, "streaming", "On and on")
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        search = page.get_by_role("searchbox", name="Search conversations")
        heard = page.locator("nav [aria-live=polite]")
        for typed, found in (
            ("coffee TEA", ["Tea or coffee?", "Iced tea, no coffee"]),
            ("cafe", ["A café in Łódź"]),
            ("CAFÉ", ["A café in Łódź"]),
            ("coffee", ["Tea or coffee?", "Coffee", "Iced tea, no coffee"]),
            ("cocoa", []),
        ):
            await search.fill("")
            await search.press_sequentially(typed)
            await expect(titles(page)).to_have_text(found)
            await expect(heard).to_have_text(f"{len(found)} found" if found else "Nothing found.")
        await search.press("Escape")
        await expect(search).to_have_value("")
        await expect(search).to_be_focused()
        await expect(heard).to_have_text("")
        await expect(titles(page)).to_have_count(4)
        await search.press("Escape")
        await page.get_by_role("link", name="New chat").click()
        await page.locator(".empty").wait_for()
        await search.fill("coffee")
        await search.press("Enter")
        await page.wait_for_url(url)
        await wait_for(page, "streaming", "On and on")
        assert not [url for url in asked if url.endswith("/cancel")]


async def test_a_search_on_a_phone(context: BrowserContext, chat: Chat) -> None:
    """In the dialog, the first Escape clears the search and the second closes the dialog."""
    await chat.start()
    try:
        page = await open_page(context, chat.url)
        await page.set_viewport_size(PHONE)
        chat.add_chats(("Tea", 2e8), ("Coffee", 1e8))
        await page.reload()
        opener = page.get_by_role("button", name="Conversations")
        await opener.click()
        search = page.get_by_role("dialog").get_by_role("searchbox")
        await search.fill("tea")
        await expect(titles(page)).to_have_text(["Tea"])
        await search.press("Escape")
        await expect(titles(page)).to_have_text(["Tea", "Coffee"])
        await search.press("Escape")
        await expect(page.get_by_role("dialog")).to_have_count(0)
        await expect(opener).to_be_focused()
        await opener.click()
        await search.fill("coffee")
        await search.press("Enter")
        await page.wait_for_url("**/c/added-Coffee")
        await expect(page.get_by_role("dialog")).to_have_count(0)
    finally:
        await chat.kill()
