"""Versions of a turn, and pages of a long conversation, in examples/chat."""

from __future__ import annotations

import asyncio

import pytest
from playwright.async_api import Browser, BrowserContext, Page, Route, expect

from tests.browser.chat_page import PHONE, Chat, ask, chatting, open_page, wait_for
from tests.http.provider import FINISH, delta

pytestmark = [pytest.mark.interop, pytest.mark.timeout(60)]


async def texts(page: Page, *, questions: list[str], answers: list[str]) -> None:
    await expect(page.locator(".question")).to_have_text(questions)
    await expect(page.locator(".answer .text")).to_have_text(answers)


async def test_an_edited_question_is_a_branch(context: BrowserContext, chat: Chat) -> None:
    """Escape restores an edited question.

    After Enter, the edited question begins a branch, and the old question keeps its later turns.
    """
    async with chatting(chat, delta("One."), FINISH) as provider:
        provider.go_on.set()
        page = await open_page(context, chat.url)
        await ask(page, "First?")
        await wait_for(page, "done", "One.")
        provider.chunks = [delta("Two."), FINISH]
        await ask(page, "Second?")
        await wait_for(page, "done", "Two.")
        other = await open_page(context, page.url)

        edit = page.get_by_role("button", name="Edit question").first
        await edit.focus()
        await page.keyboard.press("Enter")
        editor = page.get_by_label("Question", exact=True)
        await expect(editor).to_be_focused()
        await expect(editor).to_have_value("First?")
        await editor.fill("Never sent")
        await page.keyboard.press("Escape")
        await expect(edit).to_be_focused()
        await texts(page, questions=["First?", "Second?"], answers=["One.", "Two."])

        await page.keyboard.press("Enter")
        await editor.fill("x" * 8001)
        await page.keyboard.press("Enter")
        await page.get_by_text("1 characters too many").wait_for()
        await editor.fill("First, in other words?")
        provider.chunks = [delta("Three."), FINISH]
        await page.keyboard.press("Enter")
        for window in (page, other):
            await texts(window, questions=["First, in other words?"], answers=["Three."])
            await expect(window.get_by_role("group", name="Versions")).to_have_text("2 / 2")
        _, body = provider.requests[-1]
        assert [turn["content"] for turn in body["messages"]] == ["First, in other words?"]

        back = page.get_by_role("button", name="Previous question")
        await back.focus()
        await page.keyboard.press("Enter")
        for window in (page, other):
            await texts(window, questions=["First?", "Second?"], answers=["One.", "Two."])
        await expect(back).to_be_focused()
        await page.reload()
        await texts(page, questions=["First?", "Second?"], answers=["One.", "Two."])
        await expect(page.get_by_role("group", name="Versions")).to_have_text("1 / 2")

        provider.chunks = [delta("Four."), FINISH]
        await ask(page, "Third?")
        await wait_for(page, "done", "Four.")
        _, body = provider.requests[-1]
        said = [turn["content"] for turn in body["messages"]]
        assert said == ["First?", "One.", "Second?", "Two.", "Third?"], "the branch that is shown"


async def test_an_edit_survives_a_reload(context: BrowserContext, chat: Chat) -> None:
    """A reload restores the text of an open editor.

    After Escape or Enter has closed the editor, a reload does not open the editor.
    """
    async with chatting(chat, delta("One."), FINISH) as provider:
        provider.go_on.set()
        page = await open_page(context, chat.url)
        await ask(page, "First?")
        await wait_for(page, "done", "One.")
        edit = page.get_by_role("button", name="Edit question")
        editor = page.get_by_label("Question", exact=True)
        for key, question in (("Escape", "First?"), ("Enter", "Edited")):
            await edit.click()
            await editor.fill("Edited")
            await page.reload()
            await expect(editor).to_have_value("Edited")
            await expect(page.get_by_label("Message")).to_be_focused()
            await page.get_by_role("link", name="New chat").click()
            await page.locator(".empty").wait_for()
            await page.go_back()
            await expect(editor).to_have_value("Edited")
            await editor.press(key)
            await texts(page, questions=[question], answers=["One."])
            await page.reload()
            await texts(page, questions=[question], answers=["One."])


VISIBLE = """element => {
    const { x, y, width, height } = element.getBoundingClientRect();
    return element.contains(document.elementFromPoint(x + width / 2, y + height / 2));
}"""


async def test_a_tap_shows_the_buttons_of_a_question(browser: Browser, chat: Chat) -> None:
    """On a touch screen, only the last question and a tapped question show their buttons.

    A screen reader and the keyboard reach the buttons of each question.
    """
    context = await browser.new_context(viewport=PHONE, has_touch=True, is_mobile=True)
    async with chatting(chat, delta("One."), FINISH) as provider:
        provider.go_on.set()
        page = await open_page(context, chat.url)
        for number, prompt in enumerate(("First?", "Second?", "Third?")):
            await ask(page, prompt)
            await page.locator('.answer[data-status="done"]').nth(number).wait_for()

        async def visible() -> list[bool]:
            buttons = page.get_by_role("button", name="Edit question")
            await expect(buttons).to_have_count(3)
            return [await button.evaluate(VISIBLE) for button in await buttons.all()]

        assert await visible() == [False, False, True]
        await page.locator(".question").first.tap()
        assert await visible() == [True, False, True]
        await page.get_by_role("button", name="Edit question").first.tap()
        await page.get_by_label("Question", exact=True).press("Escape")
        await page.locator(".answer").last.tap()
        assert await visible() == [False, False, True]
        await page.get_by_role("button", name="Copy question").nth(1).focus()
        assert await visible() == [False, True, True]
    await context.close()


async def test_a_regenerated_answer_keeps_the_others(context: BrowserContext, chat: Chat) -> None:
    """A regenerated answer, also to an old question, begins a branch.

    The old answer stays, with the turns that followed the old answer.
    """
    async with chatting(chat, delta("One."), FINISH) as provider:
        provider.go_on.set()
        page = await open_page(context, chat.url)
        await ask(page, "First?")
        await wait_for(page, "done", "One.")
        provider.chunks = [delta("Two."), FINISH]
        await ask(page, "Second?")
        await wait_for(page, "done", "Two.")
        other = await open_page(context, page.url)
        provider.chunks = [delta("Uno."), FINISH]
        await page.get_by_role("button", name="Regenerate").first.click()
        for window in (page, other):
            await texts(window, questions=["First?"], answers=["Uno."])
            versions = window.get_by_role("group", name="Versions of the answer")
            await expect(versions).to_have_text("2 / 2")
        _, body = provider.requests[-1]
        assert [turn["content"] for turn in body["messages"]] == ["First?"]
        await page.get_by_role("button", name="Previous answer").click()
        for window in (page, other):
            await texts(window, questions=["First?", "Second?"], answers=["One.", "Two."])
        await page.reload()
        await texts(page, questions=["First?", "Second?"], answers=["One.", "Two."])


async def test_versions_can_be_read_while_one_is_written(
    context: BrowserContext, chat: Chat
) -> None:
    """G6: while a user reads an older answer, the new answer goes on, and Stop ends the new one."""
    async with chatting(chat, delta("One."), FINISH) as provider:
        provider.go_on.set()
        page = await open_page(context, chat.url)
        await ask(page, "First?")
        await wait_for(page, "done", "One.")
        provider.go_on.clear()
        provider.chunks = [delta("On and on")]
        await page.get_by_role("button", name="Regenerate").click()
        await wait_for(page, "streaming", "On and on")
        await page.get_by_role("button", name="Previous answer").click()
        await texts(page, questions=["First?"], answers=["One."])
        assert await page.get_by_role("button", name="Send").count() == 0
        again = page.get_by_role("button", name="Regenerate")
        await expect(again).to_have_attribute("aria-disabled", "true")
        await page.get_by_role("button", name="Stop").click()
        await page.get_by_role("button", name="Send").wait_for()
        await page.get_by_role("button", name="Next answer").click()
        await wait_for(page, "cancelled", "On and on")


async def test_a_double_click_on_send_stops_nothing(context: BrowserContext, chat: Chat) -> None:
    """After the first click, Stop takes the place of Send. The second click must not press Stop."""
    async with chatting(chat, delta("On and on")) as provider:
        page = await open_page(context, chat.url)
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        await ask(page, "How long?")
        await wait_for(page, "streaming", "On and on")
        place = await page.get_by_role("button", name="Stop").bounding_box()
        assert place is not None
        await page.mouse.move(place["x"] + 10, place["y"] + 10)
        await page.mouse.down(click_count=2)
        await page.mouse.up(click_count=2)
        provider.go_on.set()
        await wait_for(page, "error", "On and on")  # the model closes the connection
        assert not [url for url in asked if url.endswith("/cancel")]


async def test_asking_waits_for_what_was_said(context: BrowserContext, chat: Chat) -> None:
    """The page sends no question before the conversation has loaded.

    Such a question would begin another branch.
    """
    async with chatting(chat, delta("Yes."), FINISH) as provider:
        provider.go_on.set()
        page = await open_page(context, chat.url)
        await ask(page, "First?")
        await wait_for(page, "done", "Yes.")
        loads = asyncio.Event()

        async def hold(route: Route) -> None:
            await loads.wait()
            await route.continue_()

        await page.route("**/api/chats/*/turns", hold)
        await page.reload()
        await page.get_by_label("Message").fill("Second?")
        await page.keyboard.press("Enter")
        await page.get_by_text("still being loaded").wait_for()
        loads.set()
        await wait_for(page, "done", "Yes.")
        await page.keyboard.press("Enter")
        await texts(page, questions=["First?", "Second?"], answers=["Yes.", "Yes."])


TURNS = 500
PLACE = """() => {
    const box = document.querySelector("main").getBoundingClientRect();
    for (const turn of document.querySelectorAll("[data-turn]")) {
        const { top } = turn.getBoundingClientRect();
        if (top > box.top) return [turn.dataset.turn, top];
    }
}"""


async def test_a_long_conversation_comes_in_pages(context: BrowserContext, chat: Chat) -> None:
    """The last page of turns comes first. No visible text moves when earlier turns arrive."""
    async with chatting(chat, delta("An answer."), FINISH) as provider:
        provider.go_on.set()
        page = await open_page(context, chat.url)
        await ask(page, "Question 1")
        stream_id = await wait_for(page, "done", "An answer.")
        chat.add_turns(TURNS)
        await page.reload()
        await expect(page.locator("[data-turn]")).to_have_count(20)
        assert await page.locator("[data-stream]").last.get_attribute("data-stream") == stream_id
        await expect(page.locator(".question").last).to_be_in_viewport()

        # This turns off the browser's own scroll anchoring, which Safari does not have.
        await page.locator("main").evaluate("box => box.style.overflowAnchor = 'none'")
        for shown in (40, 60):
            await page.locator("main").evaluate("box => box.scrollTop = 300")
            turn, top = await page.evaluate(PLACE)
            await expect(page.locator("[data-turn]")).to_have_count(shown)
            place = await page.locator(f"[data-turn='{turn}']").bounding_box()
            assert place is not None
            assert abs(place["y"] - top) < 2
        numbers = [
            int(text.split()[1]) for text in await page.locator(".question").all_text_contents()
        ]
        assert numbers == list(range(TURNS - 59, TURNS + 1))
