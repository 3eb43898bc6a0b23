"""axe finds no moderate, serious or critical violation on the pages of the demo and inspector."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.async_api import BrowserContext

from tests.browser import axe
from tests.browser.conftest import Site
from tests.http.demo_server import demo_server
from tests.http.provider import delta, playing_provider

pytestmark = [pytest.mark.interop, pytest.mark.timeout(90)]


@pytest.fixture(scope="session", autouse=True)
def rules() -> None:
    axe.install()


@pytest.mark.parametrize("look", axe.WIDTHS)
async def test_demo(context: BrowserContext, tmp_path: Path, look: str) -> None:
    async with (
        playing_provider(delta("# A title\n\nSome **text** and `code`.")) as provider,
        demo_server(tmp_path / "demo.db", provider.environment) as (demo, _),
    ):
        page = await context.new_page()
        await page.set_viewport_size({"width": axe.WIDTHS[look], "height": 800})
        await page.goto(demo.url)
        pane = page.frame_locator("#left")
        await pane.locator("#prompt").wait_for()
        await axe.assert_accessible(page, "empty")
        await pane.locator("#prompt").fill("What is it?")
        await pane.locator("#send").click()
        await pane.locator(".answer", has_text="Some").wait_for()
        await axe.assert_accessible(page, "an answer is written")
        await pane.locator("#stop").click()
        await pane.locator('.answer[data-status="cancelled"]').wait_for()
        await axe.assert_accessible(page, "stopped")
        provider.status = 401
        provider.go_on.set()
        await pane.locator("#prompt").fill("And now?")
        await pane.locator("#send").click()
        await pane.locator('.answer[data-status="error"]').wait_for()
        await axe.assert_accessible(page, "failed")


@pytest.mark.parametrize("look", axe.WIDTHS)
async def test_inspector(context: BrowserContext, site: Site, look: str) -> None:
    live, ended = await site.create(), await site.create()
    await site.say(ended, "All of it.")
    await site.finish(ended)
    await site.say(live, "Some of it.")
    page = await context.new_page()
    await page.set_viewport_size({"width": axe.WIDTHS[look], "height": 800})
    await page.goto(f"http://127.0.0.1:{site.port}/inspector/")
    for name in (live, ended):
        row = page.locator("#rows tr", has_text=name)
        await row.wait_for()
        await axe.assert_accessible(page, "the list")
        await row.click()
        await page.locator("#name", has_text=name).wait_for()
        await page.locator("#reveal").click()
        await page.locator("#text", has_text="of it.").wait_for()
        await axe.assert_accessible(page, "a stream with its text")
    await page.locator("#close").click()
    await site.finish(live)
