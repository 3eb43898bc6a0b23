"""Each conversation of examples/chat has an address, and a list shows all conversations."""

from __future__ import annotations

import re
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from playwright.async_api import Browser, BrowserContext, Page, expect

from tests.browser.chat_page import (
    PHONE,
    Chat,
    ask,
    chatting,
    open_page,
    remove,
    titles,
    wait_for,
)
from tests.http.provider import FINISH, delta

pytestmark = [pytest.mark.interop, pytest.mark.timeout(60)]

# This script records each text that a window paints, even for a single frame.
WATCH = """() => {
    window.painted = new Set();
    const look = () => { painted.add(document.body.innerText); requestAnimationFrame(look); };
    look();
}"""


async def test_each_conversation_has_an_address(context: BrowserContext, chat: Chat) -> None:
    """Back, forward, a reload and the address each show the right conversation."""
    async with chatting(chat, delta("Yes."), FINISH) as provider:
        provider.go_on.set()
        page = await open_page(context, chat.url)
        await ask(page, "Is  the first\none good?")
        await wait_for(page, "done", "Yes.")
        first = page.url
        await page.get_by_role("link", name="New chat").click()
        await page.locator(".empty").wait_for()
        assert page.url == chat.url
        await ask(page, "And the second?")
        await wait_for(page, "done", "Yes.")
        second = page.url
        await expect(titles(page)).to_have_text(["And the second?", "Is the first one good?"])
        await expect(page).to_have_title("And the second? – inkstream chat")
        await page.go_back()
        await page.locator(".empty").wait_for()
        await page.go_back()
        await expect(page.locator(".question")).to_have_text("Is  the first\none good?")
        assert page.url == first
        await page.go_forward()
        await page.go_forward()
        await expect(page.locator(".question")).to_have_text("And the second?")
        await page.reload()
        await expect(page.locator(".question")).to_have_text("And the second?")
        current = page.locator("nav [aria-current=page]")
        await expect(current).to_have_text("And the second?")
        await page.goto(first)
        await expect(page.locator(".question")).to_have_text("Is  the first\none good?")
        await page.get_by_role("link", name="And the second?").click()
        await page.wait_for_url(second)
        await page.goto(f"{chat.url}c/none")
        await page.get_by_text("does not exist, or was deleted").wait_for()


async def test_the_list_shows_what_is_being_written(context: BrowserContext, chat: Chat) -> None:
    """Each window's list marks a conversation until its answer ends."""
    async with chatting(chat, delta("On and on")):
        one = await open_page(context, chat.url)
        two = await open_page(context, chat.url)
        await ask(one, "How long?")
        for page in (one, two):
            await page.get_by_role("img", name="Is being answered").wait_for()
        await two.reload()
        await two.get_by_role("img", name="Is being answered").wait_for()
        await chat.kill()
        await chat.start()
        for page in (one, two):
            await page.get_by_role("img", name="Is being answered").wait_for(state="detached")


async def test_two_conversations_are_written_at_once(context: BrowserContext, chat: Chat) -> None:
    """Stop ends only the answer that the window shows. The other answer continues."""
    async with chatting(chat, delta("On and on")) as provider:
        page = await open_page(context, chat.url)
        await ask(page, "First?")
        await wait_for(page, "streaming", "On and on")
        await page.get_by_role("link", name="New chat").click()
        await page.locator(".empty").wait_for()
        await ask(page, "Second?")
        await wait_for(page, "streaming", "On and on")
        await expect(page.get_by_role("img", name="Is being answered")).to_have_count(2)
        await page.get_by_role("button", name="Stop").click()
        await wait_for(page, "cancelled")
        await expect(page.get_by_role("img", name="Is being answered")).to_have_count(1)
        await page.get_by_role("link", name="First?").click()
        await wait_for(page, "streaming", "On and on")
        provider.go_on.set()
        await wait_for(page, "error", "On and on")  # the model closes the connection


async def test_deleting_can_be_undone(context: BrowserContext, chat: Chat) -> None:
    """Undo gets the focus and restores the conversation.

    If the user leaves the page instead, the conversation is deleted immediately.
    """
    async with chatting(chat, delta("Kept."), FINISH) as provider:
        provider.go_on.set()
        page = await open_page(context, chat.url)
        await ask(page, "Keep this.")
        await wait_for(page, "done", "Kept.")
        await page.get_by_role("button", name="Delete Keep this.").click()
        await page.locator(".empty").wait_for()
        await expect(titles(page)).to_have_count(0)
        await expect(page.get_by_role("button", name="Undo")).to_be_focused()
        await page.keyboard.press("Enter")
        await page.get_by_role("link", name="Keep this.").click()
        await wait_for(page, "done", "Kept.")
        await page.reload()
        await wait_for(page, "done", "Kept.")
        other = await open_page(context, chat.url)
        await page.get_by_role("button", name="Delete Keep this.").click()
        await page.goto("about:blank")
        await expect(titles(other)).to_have_count(0)


async def test_deleting_a_live_answer_flashes_nothing(context: BrowserContext, chat: Chat) -> None:
    """A window says that its conversation was deleted. It shows no stream id and no error."""
    async with chatting(chat, delta("On and on")):
        one = await open_page(context, chat.url)
        await ask(one, "How long?")
        two = await open_page(context, one.url)
        stream_id = await wait_for(two, "streaming", "On and on")
        await two.evaluate(WATCH)
        await remove(one, "How long?")
        await two.get_by_text("does not exist, or was deleted").wait_for()
        await expect(titles(two)).to_have_count(0)
        painted = "\n".join(await two.evaluate("[...painted]"))
        assert "On and on" in painted
        assert stream_id not in painted
        assert "No connection" not in painted


async def test_a_conversation_is_renamed(context: BrowserContext, chat: Chat) -> None:
    """Enter renames a conversation in all windows, and Escape does not."""
    async with chatting(chat, delta("Yes."), FINISH) as provider:
        provider.go_on.set()
        one = await open_page(context, chat.url)
        await ask(one, "Draft")
        await wait_for(one, "done", "Yes.")
        two = await open_page(context, one.url)
        for key, title in (("Escape", "Draft"), ("Enter", "Better")):
            await one.get_by_role("button", name="Rename Draft").focus()
            await one.keyboard.press("Enter")
            await expect(one.get_by_label("Title")).to_be_focused()
            await one.keyboard.type("Better")
            await one.keyboard.press(key)
            await expect(one.get_by_role("button", name=f"Rename {title}")).to_be_focused()
        for page in (one, two):
            await expect(titles(page)).to_have_text("Better")
            await expect(page).to_have_title("Better – inkstream chat")


ZONE = "America/New_York"


def at(*local: int) -> datetime:
    """Return a time in New York, where 2026-03-08 has only 23 hours."""
    return datetime(*local, tzinfo=ZoneInfo(ZONE))  # type: ignore[arg-type,misc]


async def listed(page: Page) -> list[str]:
    return await page.locator(".days :is(h2, a)").all_text_contents()


async def test_the_list_is_grouped_by_day(browser: Browser, chat: Chat) -> None:
    """Each conversation is below its day in the browser's time zone, also after midnight."""
    context = await browser.new_context(timezone_id=ZONE)
    await chat.start()
    try:
        page = await context.new_page()
        await page.clock.install(time=at(2026, 3, 8, 23, 59, 45))
        await page.goto(chat.url)
        chat.add_chats(
            ("a", at(2025, 12, 31, 23, 50).timestamp()),
            ("b", at(2026, 2, 28, 12).timestamp()),
            ("c", at(2026, 3, 1, 0, 10).timestamp()),
            ("d", at(2026, 3, 1, 23, 50).timestamp()),
            ("e", at(2026, 3, 2, 0, 10).timestamp()),
            ("f", at(2026, 3, 7, 23, 50).timestamp()),
            ("g", at(2026, 3, 8, 0, 10).timestamp()),
            ("h", at(2026, 3, 8, 23, 50).timestamp()),
        )
        await page.reload()
        await expect(page.locator(".days h2").first).to_have_text("Today")
        week, older = ["Previous 7 days", "f", "e"], ["February", "b", "December 2025", "a"]
        sunday = ["Today", "h", "g", "Yesterday", "f", "Previous 7 days", "e", "d", "c", *older]
        assert await listed(page) == sunday
        await page.clock.fast_forward(15_000)
        await expect(page.locator(".days h2").first).to_have_text("Yesterday")
        assert await listed(page) == ["Yesterday", "h", "g", *week, "March", "d", "c", *older]
    finally:
        await context.close()
        await chat.kill()


async def test_a_question_moves_its_conversation_to_today(
    context: BrowserContext, chat: Chat
) -> None:
    """A question moves its old conversation to the top. A half-typed title stays in its field."""
    async with chatting(chat, delta("Yes."), FINISH) as provider:
        provider.go_on.set()
        one = await open_page(context, chat.url)
        await ask(one, "Old?")
        await wait_for(one, "done", "Yes.")
        chat.make_older(days=3)
        chat.add_chats(("Older", 86400 * 365))
        two = await open_page(context, one.url)
        await one.reload()
        await wait_for(one, "done", "Yes.")
        before = ["Previous 7 days", "Old?", "January 1971", "Older"]
        assert await listed(one) == before
        await one.get_by_role("button", name="Rename Old?").click()
        await one.keyboard.type("Half a ti")
        await ask(two, "And now?")
        await expect(two.locator(".days h2").first).to_have_text("Today")
        assert await listed(two) == ["Today", "Old?", *before[2:]]
        await expect(one.locator(".days h2").first).to_have_text("Today")
        await expect(one.get_by_label("Title")).to_be_focused()
        await one.keyboard.type("tle")
        await expect(one.get_by_label("Title")).to_have_value("Half a title")


# React stores the props of an element in a field of the element. Each render stores a new object,
# so a new object shows that React has rendered the list.
RENDERED = """() => {
    const list = document.querySelector(".days ul");
    const props = list[Object.keys(list).find((key) => key.startsWith("__reactProps$"))];
    const rendered = window.props !== undefined && window.props !== props;
    window.props = props;
    return rendered;
}"""


async def test_a_token_does_not_render_the_list(context: BrowserContext, chat: Chat) -> None:
    """With 500 conversations, neither a token nor a typed letter renders the list again."""
    words = [delta(f"word {number} ") for number in range(50)]
    async with chatting(chat, *words, delta("half")) as provider:
        provider.pace_s = 0.02
        page = await open_page(context, chat.url)
        await ask(page, "How long?")
        await wait_for(page, "streaming", "half")
        chat.add_chats(*((f"Number {number}", number + 2e9) for number in range(500)))
        await page.reload()
        await wait_for(page, "streaming", "half")
        await expect(titles(page)).to_have_count(501)
        await expect(page.get_by_role("link", name="How long?")).to_be_in_viewport()
        await page.get_by_role("button", name="Stop").click()
        await wait_for(page, "cancelled")
        await page.get_by_role("button", name="Try again").click()
        await wait_for(page, "streaming", "word 1 ")
        await page.get_by_role("img", name="Is being answered").wait_for()
        await page.evaluate(RENDERED)
        await page.get_by_label("Message").press_sequentially("typed")
        await wait_for(page, "streaming", "word 40 ")
        assert not await page.evaluate(RENDERED)
        await page.get_by_role("button", name="Stop").click()
        await page.get_by_role("img", name="Is being answered").wait_for(state="detached")
        assert await page.evaluate(RENDERED), "the end of the answer is shown in the list"


async def test_a_phone_has_the_list_in_a_dialog(context: BrowserContext, chat: Chat) -> None:
    """On a phone, the list is a dialog that keeps the focus.

    Escape closes the dialog, and does not stop the answer.
    """
    async with chatting(chat, delta("On and on")):
        page = await open_page(context, chat.url)
        await page.set_viewport_size(PHONE)
        await ask(page, "A question that has many words, more than a phone has room for. " * 3)
        await wait_for(page, "streaming", "On and on")
        header = await page.locator("header").bounding_box()
        assert header is not None
        assert header["height"] < 60
        wide = "document.documentElement.scrollWidth > innerWidth"
        assert not await page.evaluate(wide), "the page must not be wider than the screen"

        opener = page.get_by_role("button", name="Conversations")
        await opener.focus()
        await page.keyboard.press("Enter")
        await page.get_by_role("dialog").wait_for()
        for _ in range(8):
            await page.keyboard.press("Tab")
            inside = "['BODY', 'HTML'].includes(document.activeElement.tagName)"
            inside += " || !!document.activeElement.closest('dialog')"
            assert await page.evaluate(inside), "the focus left the dialog"
        await page.keyboard.press("Escape")
        await page.get_by_role("dialog").wait_for(state="detached")
        await expect(opener).to_be_focused()
        await wait_for(page, "streaming", "On and on")

        await opener.click()
        await page.get_by_role("dialog").get_by_role("link", name="New chat").click()
        await page.locator(".empty").wait_for()
        await expect(page.get_by_role("dialog")).to_have_count(0)
        await page.go_back()
        await page.wait_for_url(re.compile("/c/"))
        await wait_for(page, "streaming", "On and on")


async def test_a_phone_can_undo(context: BrowserContext, chat: Chat) -> None:
    """On a phone, the button Delete closes the dialog, and Undo gets the focus."""
    async with chatting(chat, delta("Kept."), FINISH) as provider:
        provider.go_on.set()
        page = await open_page(context, chat.url)
        await page.set_viewport_size(PHONE)
        await ask(page, "Keep this.")
        await wait_for(page, "done", "Kept.")
        await page.get_by_role("link", name="New chat").click()
        await page.locator(".empty").wait_for()
        opener = page.get_by_role("button", name="Conversations")
        await opener.click()
        await page.get_by_role("button", name="Delete Keep this.").click()
        await expect(page.get_by_role("dialog")).to_have_count(0)
        await expect(page.get_by_role("button", name="Undo")).to_be_focused()
        await page.keyboard.press("Enter")
        await opener.click()
        await page.get_by_role("dialog").get_by_role("link", name="Keep this.").wait_for()
