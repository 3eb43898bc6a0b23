"""The inspector in a real Chromium: its list, a live stream, Stop, and what a role may not see."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.async_api import BrowserContext, Page, expect

from tests.http import client
from tests.http.servers import Server, serving

WAIT_MS = 15_000
ROW = "#rows tr"
expect.set_options(timeout=WAIT_MS)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(
        tmp_path_factory.mktemp("inspector"), app="tests.browser.inspector_app:app"
    ) as running:
        yield running


@pytest.fixture
def url(server: Server) -> str:
    return f"http://127.0.0.1:{server.port}/inspector/"


async def opened(context: BrowserContext, url: str, may: str) -> Page:
    await context.add_cookies([{"name": "may", "value": may, "url": url}])
    page = await context.new_page()
    await page.goto(url)
    return page


async def started(server: Server, name: str, *items: object) -> None:
    await client.post(server.port, f"/create?id={name}&start=1")
    await client.post(server.port, f"/say/{name}", items)


@pytest.mark.parametrize("may", ["", "text.stop"])
async def test_default_deny(context: BrowserContext, url: str, may: str) -> None:
    """A visitor without the right ``look`` gets no page, whatever other rights the visitor has."""
    await context.add_cookies([{"name": "may", "value": may or "none", "url": url}])
    page = await context.new_page()
    answer = await page.goto(url)
    assert answer is not None
    assert answer.status == 403
    assert await page.locator("script").count() == 0


async def test_list_and_filters(context: BrowserContext, server: Server, url: str) -> None:
    """New streams appear in the list without a reload."""
    await started(server, "first", "text", {"end": "done"})
    page = await opened(context, url, "look")
    await expect(page.locator(ROW, has_text="first")).to_contain_text("done")
    await started(server, "second", "text")
    await expect(page.locator(ROW, has_text="second")).to_contain_text("streaming")
    await page.get_by_label("Status").select_option("streaming")
    await expect(page.locator(ROW, has_text="first")).to_have_count(0)
    await expect(page.locator(ROW, has_text="second")).to_have_count(1)
    await page.get_by_label("Status").select_option("")
    await page.get_by_label("Stream id").fill("first")
    await expect(page.locator(ROW)).to_have_count(1)
    await page.get_by_label("Owner").fill("nobody")
    await expect(page.get_by_text("No stream matches.")).to_be_visible()
    await client.post(server.port, "/say/second", [{"end": "done"}])


async def test_one_is_followed_and_stopped(
    context: BrowserContext, server: Server, url: str
) -> None:
    """G6: the page shows text and objects as they arrive.

    Stop asks for confirmation before it stops the stream.
    """
    await started(server, "live", "so far ")
    page = await opened(context, url, "look.text.stop")
    await page.get_by_role("button", name="live", exact=True).click()
    await expect(page.locator(".why")).to_contain_text("Nobody reads it")
    await expect(page.get_by_label("Text")).to_be_hidden()
    await page.get_by_role("button", name="Show the text").click()
    await expect(page.get_by_label("Text")).to_have_text("so far ")
    await client.post(server.port, "/say/live", [{"tool": "search"}, "<b>more</b>"])
    await expect(page.get_by_label("Text")).to_have_text('so far {"tool":"search"}<b>more</b>')
    await expect(page.locator("#text .part")).to_have_text('{"tool":"search"}')
    await page.get_by_role("button", name="Stop…").click()
    await page.get_by_role("button", name="Leave it running").click()
    assert (await client.fetch(server.port, "/live/live?format=json")).json["status"] == "streaming"
    await page.get_by_role("button", name="Stop…").click()
    await page.get_by_role("button", name="Stop it for good").click()
    await expect(page.locator("#state")).to_have_text("cancelled")
    await expect(page.get_by_role("button", name="Stop…")).to_be_hidden()
    assert (await client.fetch(server.port, "/live/live?format=json")).json["status"] == "cancelled"


async def test_text_is_hidden(context: BrowserContext, server: Server, url: str) -> None:
    """A visitor with only the right ``look`` sees no text, no button for the text, and no Stop."""
    await started(server, "private", "the secret")
    page = await opened(context, url, "look")
    await page.get_by_role("button", name="private").click()
    await expect(page.locator("#facts")).to_contain_text("10 B in 1 message")
    for name in ("Show the text", "Stop…"):
        await expect(page.get_by_role("button", name=name)).to_be_hidden()
    assert "the secret" not in await page.content()
    answer = await page.evaluate("fetch('api/streams/private/text').then((a) => a.status)")
    assert answer == 403
    await client.post(server.port, "/say/private", [{"end": "done"}])


@pytest.mark.parametrize("width", [320, 390])
async def test_phone(context: BrowserContext, server: Server, url: str, width: int) -> None:
    """Nothing is wider than a narrow screen, and the chosen stream is above the filters."""
    name = "a-long-name-" * 9
    await started(server, f"{name}{width}", "text" * 300)
    page = await opened(context, url, "look.text.stop")
    await page.set_viewport_size({"width": width, "height": 844})
    await page.get_by_role("button", name=f"{name}{width}").click()
    await page.get_by_role("button", name="Show the text").click()
    await expect(page.get_by_label("Text")).to_contain_text("texttext")
    assert await page.evaluate("document.documentElement.scrollWidth") <= width
    tops = await page.evaluate(
        "['#one', '#filters'].map((s) => document.querySelector(s).getBoundingClientRect().top)"
    )
    assert tops[0] < tops[1]
    sizes = await page.evaluate(
        "[...document.querySelectorAll('.actions button')].filter((b) => b.offsetParent)"
        ".map((b) => b.offsetHeight)"
    )
    assert min(sizes) >= 34, "each button must be large enough for a thumb"
    await client.post(server.port, f"/say/{name}{width}", [{"end": "done"}])
