"""The demo's page in a real Chromium, with both panes, two windows, and a server that is killed."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.async_api import Browser, Frame, Page

from tests.http.demo_server import demo_server
from tests.http.provider import delta, playing_provider

WAIT_MS = 15_000
HOSTILE = "<img src=x onerror=document.title='broken'> &amp;"
ANSWER = f"""{HOSTILE} **bold**
[one](javascript:document.title='broken') ![pixel](https://evil.example/pixel.png)

```
<b>not bold</b>
```

"""


def panes(*pages: Page) -> list[Frame]:
    return [frame for page in pages for frame in page.frames if frame.url.endswith("/pane")]


async def ask(pane: Frame, prompt: str) -> None:
    await pane.locator("#prompt").fill(prompt)
    await pane.locator("#send").click()


async def text(pane: Frame) -> str:
    return await pane.locator(".answer .text").last.text_content() or ""


async def wait_for_text(pane: Frame, length: int) -> None:
    await pane.wait_for_function(
        "n => [...document.querySelectorAll('.answer .text')].at(-1)?.textContent.length > n",
        arg=length,
        timeout=WAIT_MS,
    )


async def wait_for_status(pane: Frame, status: str) -> None:
    await pane.locator(f'.answer[data-status="{status}"]').last.wait_for(timeout=WAIT_MS)


@pytest.mark.timeout(60)
async def test_g1_g2_panes_agree_after_kill_9(browser: Browser, tmp_path: Path) -> None:
    """The four panes of two windows agree after the server is killed, and after Stop."""
    async with (
        playing_provider(delta(ANSWER), *[delta(f"word {n} ") for n in range(20)]) as provider,
        demo_server(tmp_path / "demo.db", provider.environment) as (demo, _),
    ):
        context = await browser.new_context()
        one, two = await context.new_page(), await context.new_page()
        await one.goto(demo.url)
        await two.goto(one.url)
        four = panes(one, two)
        assert len(four) == 4

        await ask(four[0], HOSTILE)
        for pane in four:
            await wait_for_text(pane, len(ANSWER))
        await demo.kill()
        on_screen = [await text(pane) for pane in four]
        await demo.start()
        for pane in four:
            await wait_for_status(pane, "timeout")
        after = [await text(pane) for pane in four]
        assert len(set(after)) == 1
        assert all(now.startswith(then) for now, then in zip(after, on_screen, strict=True))
        assert await four[3].locator(".question").text_content() == HOSTILE
        assert await four[3].locator(".message :is(img, a, b)").count() == 0, "text stays text"
        assert (await text(four[3])).startswith(ANSWER)
        assert await two.title() == "inkstream demo"

        await ask(four[3], "Go on for ever.")
        await wait_for_text(four[0], 20)
        await one.click('[data-reload="right"]')
        await one.frame_locator("#right").locator("#stop").click(timeout=WAIT_MS)
        for pane in panes(one, two):
            await wait_for_status(pane, "cancelled")
        assert len({await text(pane) for pane in panes(one, two)}) == 1
        await context.close()


@pytest.mark.timeout(60)
async def test_a_phone_gets_one_pane(browser: Browser, tmp_path: Path) -> None:
    async with demo_server(tmp_path / "demo.db") as (demo, _):
        context = await browser.new_context(viewport={"width": 390, "height": 800})
        page = await context.new_page()
        await page.goto(demo.url)
        [pane] = panes(page)
        await ask(pane, "How do I stop an answer?")
        await wait_for_text(pane, 20)
        assert not await page.locator("#right").is_visible()
        await page.set_viewport_size({"width": 1200, "height": 800})
        await page.locator("#right").wait_for(state="visible", timeout=WAIT_MS)
        await page.frame_locator("#right").locator(".answer").wait_for(timeout=WAIT_MS)
        await context.close()
