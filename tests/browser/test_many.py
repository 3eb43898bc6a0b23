"""Many windows over HTTP/1.1 follow many live streams, and all receive their text."""

from __future__ import annotations

import asyncio
import time

from playwright.async_api import BrowserContext, Page

from tests.browser.conftest import Site, assert_told_truly, shown, wait_for, wait_for_text
from tests.http import client

WINDOWS = 8
STREAMS = 3
SLOTS = 4
LATE_S = 5.0
STOP_S = 1.0


async def open_page(context: BrowserContext, url: str) -> Page:
    page = await context.new_page()
    await page.goto(url, wait_until="commit")
    return page


async def sockets(site: Site) -> dict[str, int]:
    """Return how many connections send events now, and the largest number since the last reset."""
    counted = (await client.fetch(site.port, "/event-streams")).json
    return {str(key): int(value) for key, value in counted.items()}


async def test_eight_windows_share_four_connections(context: BrowserContext, site: Site) -> None:
    """G2, G6: eight windows show new text, and a ninth window shows the text so far.

    Stop works in a window that polls.
    """
    await client.post(site.port, "/event-streams")  # this resets the counts
    shows = [[await site.create() for _ in range(STREAMS)] for _ in range(WINDOWS)]
    pages = [await open_page(context, site.url(*names)) for names in shows]
    every = [(page, name) for page, names in zip(pages, shows, strict=True) for name in names]

    told = ""
    for n in range(3):
        told += f"round {n} "
        said = time.monotonic()
        for _, name in every:
            await site.say(name, f"round {n} ")
        await asyncio.gather(*[wait_for_text(page, name, told) for page, name in every])
        assert time.monotonic() - said < LATE_S, "new text came late"

    counted = await sockets(site)
    assert 0 < counted["now"] <= SLOTS
    assert counted["most"] <= SLOTS

    transports = [
        await page.locator("article").first.get_attribute("data-transport") for page in pages
    ]
    assert transports.count("events") == SLOTS, "four windows must have a connection"

    polling = transports.index("polling")
    pressed = time.monotonic()
    # Playwright's own click waits until the page draws a frame. A page in the background draws few
    # frames.
    await pages[polling].evaluate("document.querySelector('button').click()")
    await wait_for(pages[polling], shows[polling][0], status="cancelled")
    assert time.monotonic() - pressed < STOP_S

    began = time.monotonic()
    ninth = await open_page(context, site.url(shows[0][0]))
    await wait_for_text(ninth, shows[0][0], told)
    assert time.monotonic() - began < LATE_S

    for _, name in every:
        await site.finish(name)
    for page, name in every:
        await assert_told_truly(site, name, page)
        assert await shown(page, name) == told


async def test_one_page_with_twelve_live_streams(context: BrowserContext, site: Site) -> None:
    """Twelve live streams of one page share a connection, and no stream polls.

    A stream that the page adds later shows its text too.
    """
    await client.post(site.port, "/event-streams")
    names = [await site.create() for _ in range(12)]
    page = await open_page(context, site.url(*names))
    for name in names:
        await site.say(name, "live ")
    for name in names:
        await wait_for_text(page, name, "live ")
        await wait_for(page, name, transport="events", connection="open")
    counted = await sockets(site)
    assert counted["now"] == 1
    assert counted["most"] == 1
    more = await site.create()
    await page.evaluate("names => show(names)", [*names, more])
    await site.say(more, "joined ")
    await wait_for_text(page, more, "joined ")
    for name in names[:6]:
        await site.finish(name)
    for name in names[6:]:
        await site.say(name, "goes on")
        await wait_for_text(page, name, "live goes on")
        await site.finish(name)
    await site.finish(more)
    for name in [*names, more]:
        await assert_told_truly(site, name, page)
