"""The page of examples/chat in a real Chromium."""

from __future__ import annotations

import io
import os
import time
from pathlib import Path

import pytest
from PIL import Image
from playwright.async_api import BrowserContext, Page

from tests.browser.chat_page import (
    Chat,
    ask,
    assert_told_truly,
    chatting,
    open_page,
    remove,
    shown,
    wait_for,
)
from tests.browser.conftest import HIDE, ROOT, SHOW_AGAIN
from tests.http.provider import FINISH, delta

pytestmark = [pytest.mark.interop, pytest.mark.timeout(60)]
PICTURES = os.environ.get("INKSTREAM_PICTURES")


async def test_g1_g2_windows_agree_through_reload_kill_and_stop(
    context: BrowserContext, chat: Chat
) -> None:
    words = [f"word {number} " for number in range(30)]
    async with chatting(chat, *map(delta, [*words, "until here"])) as provider:
        one = await open_page(context, chat.url)
        await ask(one, "Go on for ever.")
        two = await open_page(context, one.url)
        for page in (one, two):
            await wait_for(page, "streaming", "until here")
        await two.reload()
        await wait_for(two, "streaming", "until here")
        late = await open_page(context, one.url)
        await wait_for(late, "streaming", "until here")
        await late.close()
        await chat.kill()
        await chat.start()
        for page in (one, two):
            await wait_for(page, "timeout", "until here")
        killed = await assert_told_truly(chat, one, two)
        assert killed.text == "".join([*words, "until here"])

        await two.get_by_role("button", name="Try again").click()
        for page in (one, two):
            again = await wait_for(page, "streaming", "until here")
            assert again != killed.stream_id
        await two.get_by_role("button", name="Stop").click()
        for page in (one, two):
            await wait_for(page, "cancelled")
        await assert_told_truly(chat, one, two)
        assert await one.locator(".question").count() == 1, "Try again must not repeat the question"

        provider.go_on.set()
        provider.chunks = [delta("Done."), FINISH]
        await ask(two, "And now?")
        for page in (one, two):
            await wait_for(page, "done", "Done.")
        _, body = provider.requests[-1]
        assert [turn["role"] for turn in body["messages"]] == ["user", "assistant", "user"]

        await remove(one, "Go on for ever.")
        for page in (one, two):
            await page.get_by_label("Conversations").get_by_text("Go on").wait_for(state="detached")
        await two.get_by_text("does not exist, or was deleted").wait_for()
        await two.reload()
        await two.get_by_text("does not exist, or was deleted").wait_for()


HOSTILE = """
<img src=x onerror="document.title='broken'"> <script>document.title='broken'</script>

[one](javascript:document.title='broken') [two](JaVaScRiPt:alert(1)) [three](data:text/html,x)
[four](//evil.example/) [good](https://example.com/ "title")

![pixel](https://evil.example/pixel.png?secret) <a href="javascript:alert(1)">raw</a>

<javascript:alert(1)> [ref]: javascript:alert(1)
"""


async def test_a_hostile_answer_does_nothing(context: BrowserContext, chat: Chat) -> None:
    """The page shows an answer's markup as text, links only safe addresses, and loads no image."""
    pieces = [HOSTILE[at : at + 7] for at in range(0, len(HOSTILE), 7)]
    async with chatting(chat, *map(delta, pieces), FINISH) as provider:
        provider.go_on.set()
        page = await open_page(context, chat.url)
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        await ask(page, "<b onclick=alert(1)>bold</b>")
        await wait_for(page, "done")
        links = await page.locator(".answer a").evaluate_all("links => links.map(a => a.href)")
        assert links == ["https://example.com/"]
        assert await page.locator(".answer :is(img, script, iframe, [onerror])").count() == 0
        assert "<img src=x onerror=" in await shown(page), "the page must show markup as text"
        assert await page.locator(".question").text_content() == "<b onclick=alert(1)>bold</b>"
        assert await page.title() == "<b onclick=alert(1)>bold</b> – inkstream chat"
        assert not [url for url in asked if not url.startswith(chat.url)]
        stream_id = await page.locator(".answer").get_attribute("data-stream") or ""
        assert (await chat.stored(stream_id)).text == HOSTILE


async def test_a_wrong_key_is_explained(context: BrowserContext, chat: Chat) -> None:
    """After a wrong key, the page shows the reason, and Try again answers the same question."""
    async with chatting(chat) as provider:
        provider.status = 401
        provider.go_on.set()
        page = await open_page(context, chat.url)
        await ask(page, "Why?")
        await wait_for(page, "error")
        told = await page.locator(".answer [role=alert]").first.text_content()
        assert told is not None
        assert "OPENAI_API_KEY" in told
        provider.status, provider.chunks = 200, [delta("Because."), FINISH]
        await page.get_by_role("button", name="Try again").click()
        await wait_for(page, "done", "Because.")
        await assert_told_truly(chat, page)


async def test_a_hidden_window_disconnects_and_catches_up(
    context: BrowserContext, chat: Chat
) -> None:
    """A hidden window closes its connections, and shows missed text when it is visible again."""
    async with chatting(chat, delta("While "), delta("nobody")) as provider:
        one = await open_page(context, chat.url)
        await ask(one, "What is missed?")
        two = await open_page(context, one.url)
        await wait_for(two, "streaming", "nobody")
        async with two.expect_event("requestfailed", lambda request: "/streams/" in request.url):
            await two.evaluate(HIDE)
        assert await shown(two) == "While nobody", "the earlier text must stay"
        provider.chunks = [delta("looked."), FINISH]
        await one.get_by_role("button", name="Stop").click()
        await wait_for(one, "cancelled")
        provider.go_on.set()
        await ask(one, "And then?")
        await wait_for(one, "done", "looked.")
        assert await two.locator(".question").count() == 1
        await two.evaluate(SHOW_AGAIN)
        await wait_for(two, "done", "looked.")
        await assert_told_truly(chat, one, two)
        texts = [await page.locator(".answer .text").all_text_contents() for page in (one, two)]
        assert texts[0] == texts[1] == ["While nobody", "looked."]


async def test_g6_stop_works_with_five_windows(context: BrowserContext, chat: Chat) -> None:
    """G6: of a browser's six connections to a server, five windows leave a connection for Stop."""
    async with chatting(chat, delta("On and "), delta("on")):
        first = await open_page(context, chat.url)
        await ask(first, "How long?")
        windows = [first, *[await open_page(context, first.url) for _ in range(4)]]
        for window in windows:
            await wait_for(window, "streaming", "on")
        await windows[-1].get_by_role("button", name="Stop").click()
        for window in windows:
            await wait_for(window, "cancelled")
        await assert_told_truly(chat, *windows)


RICH = """Bold [before][there] its address.

| a | b |
|---|---|
| ~~1~~ | \\(x^2\\) |

- [x] done

It costs $5 or $6.

```python
print("hello")
```

<b>raw</b> ![pixel](https://evil.example/pixel.png)

[there]: https://example.com/
"""


async def test_markdown_is_shown_block_by_block(context: BrowserContext, chat: Chat) -> None:
    """Each block of Markdown is parsed alone, but a link may have its address in another block."""
    pieces = [RICH[at : at + 7] for at in range(0, len(RICH), 7)]
    async with chatting(chat, *map(delta, pieces), FINISH) as provider:
        provider.go_on.set()
        page = await open_page(context, chat.url)
        await ask(page, "Show me.")
        await wait_for(page, "done")
        answer = page.locator(".answer")
        await answer.locator("a[href='https://example.com/']", has_text="before").wait_for()
        await answer.locator("td del", has_text="1").wait_for()
        await answer.locator("td math").wait_for()
        await answer.locator("input[type=checkbox]:checked").wait_for()
        await answer.locator("pre .hljs-string", has_text="hello").wait_for()
        assert await answer.locator("[data-language=python]").count() == 1
        assert await answer.locator("math").count() == 1, "money is no mathematics"
        assert await answer.locator("b, img").count() == 0


async def test_stop_by_keyboard_keeps_the_focus(context: BrowserContext, chat: Chat) -> None:
    """G6: Escape and the button both stop the answer, and the draft stays.

    The page tells screen readers that the answer began, and that the answer was stopped.
    """
    async with chatting(chat, delta("On and on")):
        page = await open_page(context, chat.url)
        await ask(page, "How long?")
        await wait_for(page, "streaming", "on")
        heard = page.get_by_role("status")
        assert await heard.text_content() == "The answer began."
        await page.get_by_label("Message").fill("And then?")
        await page.keyboard.press("Enter")
        await page.get_by_text("An answer is being written.").wait_for()
        await page.get_by_role("button", name="Stop").focus()
        await page.keyboard.press("Enter")
        await wait_for(page, "cancelled")
        await page.locator("textarea:focus").wait_for()
        assert await heard.text_content() == "Stopped."
        assert await page.get_by_text("An answer is being written.").count() == 0
        await page.reload()
        assert await page.get_by_label("Message").input_value() == "And then?", "the draft"
        await wait_for(page, "cancelled")
        await page.get_by_label("Message").focus()
        await page.keyboard.press("Enter")
        await wait_for(page, "streaming", "on")
        await page.keyboard.press("Escape")
        await page.locator('.answer[data-status="cancelled"] >> nth=1').wait_for()
        await assert_told_truly(chat, page)


MARKDOWN = """A reload is **no special case**: everybody reads the same log at an offset,

- the window that asked,
- a second window, or another user,
- you, tomorrow.

```python
async for piece in streams.follow(id):
    print(piece)
```

Nothing is shown before it is saved, so the screen and the database never disagree, \
not even when the server is killed in the middle of a sentence."""


@pytest.mark.timeout(120)
async def draw_two_windows(context: BrowserContext, chat: Chat) -> None:
    """Draw docs/images/chat.png and chat.webp. One of two windows is reloaded during an answer."""
    pieces = [MARKDOWN[at : at + 5] for at in range(0, len(MARKDOWN), 5)]
    async with chatting(chat, *map(delta, pieces), FINISH, model="a model") as provider:
        provider.pace_s = 0.1
        provider.go_on.set()
        page = await context.new_page()
        await page.set_viewport_size({"width": 1180, "height": 600})
        await page.goto(f"{chat.url}two.html")
        left, right = [page.frame_locator(f"iframe >> nth={number}") for number in (0, 1)]
        for window in (left, right):
            await window.locator(".empty").wait_for()
        frames = Frames(page)
        await frames.take()
        await left.get_by_label("Message").fill("What happens when I reload the page?")
        await frames.take()
        await left.get_by_role("button", name="Send").click()
        await left.locator(".question").wait_for()
        address = page.frames[1].url
        await page.frames[2].goto(address)
        reloaded = False
        while not await left.locator('.answer[data-status="done"]').count():
            await frames.take()
            text = await left.locator(".answer .text").text_content() or ""
            if not reloaded and "tomorrow" in text:
                # A reload would be over before the next picture, so leave the page for a while.
                await page.frames[2].goto("about:blank")
                for _ in range(6):
                    await frames.take()
                await page.frames[2].goto(address)
                reloaded = True
            if reloaded and "never" not in text and "saved" in text:
                await page.screenshot(path=ROOT / "docs/images/chat.png")
        await right.locator('.answer[data-status="done"]').wait_for()
        await frames.take()
        frames.write(ROOT / "docs/images/chat.webp")
        assert await left.locator(".answer .text").text_content() == (
            await right.locator(".answer .text").text_content()
        )


if PICTURES:
    test_pictures_of_two_windows = draw_two_windows


class Frames:
    def __init__(self, page: Page) -> None:
        self._page = page
        self._taken: list[tuple[float, bytes]] = []

    async def take(self) -> None:
        self._taken.append((time.monotonic(), await self._page.screenshot()))

    def write(self, path: Path) -> None:
        times = [at for at, _ in self._taken]
        lengths = [int((b - a) * 1000) for a, b in zip(times, times[1:], strict=False)] + [4000]
        first, *others = [
            Image.open(io.BytesIO(data)).convert("RGB").resize((885, 450), Image.Resampling.LANCZOS)
            for _, data in self._taken
        ]
        first.save(
            path,
            save_all=True,
            append_images=others,
            duration=lengths,
            loop=0,
            quality=70,
            method=4,
        )
