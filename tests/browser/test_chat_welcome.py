"""The suggestions on the empty page of examples/chat."""

from __future__ import annotations

import pytest
from playwright.async_api import BrowserContext, Locator, Page, expect

from tests.browser.chat_page import SERVER, Chat, chatting, open_page, wait_for
from tests.http.provider import FINISH, delta

pytestmark = [pytest.mark.interop, pytest.mark.timeout(60)]


def suggestions(page: Page) -> Locator:
    return page.get_by_role("list", name="Suggestions").get_by_role("button")


async def test_offline_suggestions_name_written_texts(context: BrowserContext, chat: Chat) -> None:
    """Without a model, the chat answers each suggestion with a text that was written for it."""
    texts: dict[str, str] = {}
    for path in sorted((SERVER.parent / "answers").glob("*.md")):
        question, _, *lines = path.read_text("utf-8").splitlines(keepends=True)
        if path.stem != "reload":
            texts[question.strip()] = "".join(line for line in lines if line[0] != "{")
    await chat.start()
    try:
        page = await open_page(context, chat.url)
        await expect(suggestions(page)).to_have_text(list(texts))
        assert len(texts) == 4
        for question, text in texts.items():
            await page.get_by_role("button", name=question).click()
            await expect(page.locator(".question")).to_have_text(question)
            await page.locator(".answer .text > *:not(.thinking)").first.wait_for()
            stored = await chat.stored(await wait_for(page, "streaming"))
            assert stored.text
            assert text.startswith(stored.text)
            await page.get_by_role("link", name="New chat").click()
            await suggestions(page).first.wait_for()
    finally:
        await chat.kill()


async def test_a_suggestion_asks_at_once(context: BrowserContext, chat: Chat) -> None:
    """The model gets the suggestion once, also after a double click, and the draft stays.

    If the server cannot be reached, the page says so, and another click sends the suggestion.
    """
    async with chatting(chat, delta("Yes."), FINISH) as provider:
        provider.go_on.set()
        page = await open_page(context, chat.url)
        await expect(suggestions(page)).to_have_count(4)
        await page.get_by_label("Message").fill("My own question")
        await page.route("**/api/turns", lambda route: route.abort())
        await suggestions(page).first.click()
        await page.get_by_text("The server cannot be reached.").wait_for()
        await page.unroute("**/api/turns")
        question = await suggestions(page).first.text_content() or ""
        await suggestions(page).first.dblclick()
        await expect(page.locator(".question")).to_have_text(question)
        await wait_for(page, "done", "Yes.")
        await expect(page.get_by_label("Message")).to_be_focused()
        _, body = provider.requests[-1]
        assert [turn["content"] for turn in body["messages"]] == [question]
        assert len(provider.requests) == 1
        await page.get_by_role("link", name="New chat").click()
        await expect(page.get_by_label("Message")).to_have_value("My own question")


async def test_the_empty_page_begins_at_its_top(context: BrowserContext, chat: Chat) -> None:
    """In a low window, the empty page shows its beginning, and not its end."""
    async with chatting(chat):
        page = await open_page(context, chat.url)
        await page.set_viewport_size({"width": 320, "height": 400})
        await page.reload()
        await suggestions(page).last.wait_for()
        await expect(suggestions(page).last).not_to_be_in_viewport()
        await expect(page.get_by_text("What would you like to know?")).to_be_in_viewport(ratio=1)
