"""The npm package in a real Chromium: the hook under StrictMode and the custom element (G1, G2)."""

from __future__ import annotations

import asyncio

import pytest
from playwright.async_api import BrowserContext, Page

from tests.browser.conftest import (
    HIDE,
    SHOW_AGAIN,
    Site,
    assert_told_truly,
    shown,
    wait_for,
    wait_for_text,
)
from tests.http.hostile import PIECES, TEXT
from tests.proxy import proxy_before

pytestmark = pytest.mark.timeout(40)
SHOW = "ids => show(ids)"
KINDS = pytest.mark.parametrize("kind", ["react", "element"])


async def open_page(context: BrowserContext, url: str) -> Page:
    page = await context.new_page()
    await page.goto(url)
    return page


@KINDS
async def test_g2_two_windows_and_reloads_show_the_same(
    context: BrowserContext, site: Site, kind: str
) -> None:
    a = await site.create()
    url = site.url(a, page=kind)
    one, two = await open_page(context, url), await open_page(context, url)
    await two.reload()
    said = ""
    for piece in ("Once ", "upon ", "a ", "time."):
        await site.say(a, piece)
        said += piece
        await wait_for_text(one, a, said)
        await wait_for_text(two, a, said)
        await two.reload()
    await site.finish(a)
    await wait_for(one, a, status="done")
    await assert_told_truly(site, a, one, two)
    await two.reload()
    stored = await assert_told_truly(site, a, one, two)
    assert stored.text == said


async def test_g1_g7_shown_text_survives_a_killed_server(
    context: BrowserContext, mortal_site: Site
) -> None:
    """After a kill and a restart of the server, both windows show the same text and the end."""
    site = mortal_site
    a = await site.create()
    url = site.url(a)
    one, two = await open_page(context, url), await open_page(context, url)
    await site.say(a, "what was seen ", "is saved")
    for page in (one, two):
        await wait_for_text(page, a, "what was seen is saved")
    site.kill()
    await wait_for(one, a, connection="waiting")
    assert await shown(one, a) == "what was seen is saved"
    site.start()
    await wait_for(one, a, status="timeout")
    stored = await assert_told_truly(site, a, one, two)
    assert stored.text == "what was seen is saved"


@KINDS
async def test_g11_text_is_shown_as_text(context: BrowserContext, site: Site, kind: str) -> None:
    """Markup, separators and surrogate pairs arrive unchanged, and are shown as text."""
    attack = "<img src=x onerror=\"document.title='broken'\"><script>alert(1)</script>&amp;"
    a = await site.create()
    page = await open_page(context, site.url(a, page=kind))
    await site.say(a, *PIECES, attack)
    await site.finish(a)
    await wait_for(page, a, status="done")
    stored = await assert_told_truly(site, a, page)
    assert stored.text == TEXT + attack
    assert await page.locator("[data-stream] img, [data-stream] script").count() == 0
    assert await page.title() == "streams"


async def test_offline_and_online(context: BrowserContext, site: Site) -> None:
    """Text that is written while a page is offline appears as soon as the network is back."""
    async with proxy_before(site.port) as proxy:
        a = await site.create()
        page = await open_page(context, site.url(a, port=proxy.port))
        await site.say(a, "before ")
        await wait_for_text(page, a, "before ")
        await context.set_offline(True)
        proxy.drop()  # Chromium's offline mode keeps old connections, so the proxy drops them here.
        await site.say(a, "meanwhile ")
        await wait_for(page, a, connection="waiting")
        assert await shown(page, a) == "before "
        await context.set_offline(False)
        await wait_for_text(page, a, "before meanwhile ")
        await site.finish(a)
        await wait_for(page, a, status="done")
        await assert_told_truly(site, a, page)


@KINDS
async def test_g6_hidden_tabs_free_their_connections(
    context: BrowserContext, site: Site, kind: str
) -> None:
    """Six hidden tabs keep no connection, so a seventh tab can follow the answer and stop it."""
    a = await site.create()
    url = site.url(a, page=kind)
    await site.say(a, "before ")
    tabs = []
    for _ in range(7):
        tabs.append(await open_page(context, url))
        await wait_for_text(tabs[-1], a, "before ")
        await tabs[-1].evaluate(HIDE)
        await wait_for(tabs[-1], a, connection="closed", status="streaming")
    await site.say(a, "meanwhile")
    seen, *hidden = tabs
    await seen.evaluate(SHOW_AGAIN)
    await wait_for_text(seen, a, "before meanwhile")
    assert [await shown(tab, a) for tab in hidden] == ["before "] * 6
    await seen.get_by_role("button", name="Stop").click()
    await wait_for(seen, a, status="cancelled")
    for tab in hidden:
        await tab.evaluate(SHOW_AGAIN)
    stored = await assert_told_truly(site, a, *tabs)
    assert stored.text == "before meanwhile"


async def test_in_the_background_and_back(context: BrowserContext, site: Site) -> None:
    """If a connection dies while its page is hidden, the page connects again when it is visible."""
    async with proxy_before(site.port) as proxy:
        proxy.only = b"/streams/"
        a = await site.create()
        page = await context.new_page()
        await page.clock.install()
        await page.goto(site.url(a, port=proxy.port, query="&background"))
        await site.say(a, "before ")
        await wait_for_text(page, a, "before ")
        await page.evaluate(HIDE)
        proxy.hang_after = 0
        await site.say(a, "meanwhile ")
        await proxy.until(lambda: proxy.hung == 1)
        proxy.hang_after = None
        await page.clock.fast_forward(25_000)  # a visible page accepts 37.5 s of silence
        assert await shown(page, a) == "before "
        await page.evaluate(SHOW_AGAIN)
        await wait_for_text(page, a, "before meanwhile ")
        await site.finish(a)
        await wait_for(page, a, status="done")
        await assert_told_truly(site, a, page)


async def test_frozen_in_the_background(context: BrowserContext, site: Site) -> None:
    """A page that Chromium froze shows the missed text when the page is active again."""
    a = await site.create()
    page = await open_page(context, site.url(a))
    await site.say(a, "before ")
    await wait_for_text(page, a, "before ")
    control = await context.new_cdp_session(page)
    await control.send("Page.setWebLifecycleState", {"state": "frozen"})
    await site.say(a, "meanwhile ")
    await site.finish(a)
    await control.send("Page.setWebLifecycleState", {"state": "active"})
    await wait_for(page, a, status="done")
    stored = await assert_told_truly(site, a, page)
    assert stored.text == "before meanwhile "


async def test_back_forward_cache(context: BrowserContext, site: Site) -> None:
    """A page that Chromium restores from its back-forward cache requests the rest of the text."""
    a = await site.create()
    page = await open_page(context, site.url(a))
    await site.say(a, "before ")
    await wait_for_text(page, a, "before ")
    await page.evaluate("""addEventListener("pageshow", (event) => {
        window.restored = event.persisted;
    })""")
    await page.goto(f"http://127.0.0.1:{site.port}/pid")
    await site.say(a, "meanwhile ")
    await site.finish(a)
    await page.go_back(wait_until="commit")  # Chromium does not load a restored page again
    await wait_for(page, a, status="done")
    stored = await assert_told_truly(site, a, page)
    assert stored.text == "before meanwhile "
    assert await page.evaluate("window.restored") is True, "the page did not come from the cache"


async def test_g6_ten_tabs_on_one_stream(context: BrowserContext, site: Site) -> None:
    """Of ten tabs, four have a connection and six poll.

    When the four tabs close, four of the other six tabs connect.
    """
    tabs = await asyncio.gather(*[open_page(context, site.url()) for _ in range(10)])
    a = await site.create()
    await site.say(a, "for all ")
    for tab in tabs:
        await tab.evaluate(SHOW, [a])
        await wait_for_text(tab, a, "for all ")
    for tab in tabs[:4]:
        await wait_for(tab, a, transport="events")
    for tab in tabs[4:]:
        await wait_for(tab, a, transport="polling")
    for tab in tabs[:4]:
        await tab.close()
    await site.say(a, "and the rest")
    for tab in tabs[4:]:
        await wait_for_text(tab, a, "for all and the rest")
    transports = [await tab.locator("article").get_attribute("data-transport") for tab in tabs[4:]]
    assert (transports.count("events"), transports.count("polling")) == (4, 2)
    await site.finish(a)
    for tab in tabs[4:]:
        await wait_for(tab, a, status="done")
    stored = await assert_told_truly(site, a, *tabs[4:])
    assert stored.text == "for all and the rest"


async def test_twelve_messages_two_of_them_live(context: BrowserContext, site: Site) -> None:
    """Ten of a page's twelve streams have ended, and leave connections to the two live streams."""
    names = [await site.create() for _ in range(12)]
    for name in names:
        await site.say(name, f"text of {name} ")
    for name in names[:10]:
        await site.finish(name)
    page = await open_page(context, site.url(*names))
    for name in names[:10]:
        await wait_for(page, name, status="done")
    for name in names[10:]:
        await wait_for(page, name, status="streaming")
        await site.say(name, "goes on")
        await wait_for_text(page, name, f"text of {name} goes on")
        await site.finish(name)
        await wait_for(page, name, status="done")
    for name in names:
        await assert_told_truly(site, name, page)
    assert sorted(await page.evaluate("ends")) == sorted(names)


async def test_a_proxy_that_buffers(context: BrowserContext, site: Site) -> None:
    """The page notices a proxy that buffers, and fetches snapshots instead of events."""
    async with proxy_before(site.port) as proxy:
        proxy.only = b"/streams/"
        proxy.buffer = True
        a = await site.create()
        await site.say(a, "held ")
        page = await open_page(context, site.url(a, port=proxy.port))
        await wait_for(page, a, transport="polling")
        await wait_for_text(page, a, "held ")
        await site.say(a, "back")
        await wait_for_text(page, a, "held back")
        await site.finish(a)
        await wait_for(page, a, status="done")
        await assert_told_truly(site, a, page)
        assert proxy.asked("format=json")


@KINDS
async def test_a_proxy_that_answers_502_during_a_restart(
    context: BrowserContext, site: Site, kind: str
) -> None:
    """A 502 with a page of HTML does not end the stream."""
    async with proxy_before(site.port) as proxy:
        a = await site.create()
        page = await open_page(context, site.url(a, page=kind, port=proxy.port))
        await site.say(a, "before ")
        await wait_for_text(page, a, "before ")
        proxy.only = b"/streams/"
        proxy.refuse = True
        proxy.drop()
        await wait_for(page, a, connection="waiting")
        await site.say(a, "meanwhile")
        await proxy.until(lambda: proxy.refused > 0)
        proxy.refuse = False
        await wait_for_text(page, a, "before meanwhile")
        await site.finish(a)
        await wait_for(page, a, status="done")
        await assert_told_truly(site, a, page)


async def test_a_network_that_cuts_every_answer(context: BrowserContext, site: Site) -> None:
    """Although every connection breaks, even inside an event, no text is lost or shown twice."""
    async with proxy_before(site.port) as proxy:
        a = await site.create()
        page = await open_page(context, site.url(a, port=proxy.port))
        await site.say(a, "start ")
        await wait_for_text(page, a, "start ")
        proxy.only = b"/streams/"
        # Each response is cut after some events, and usually inside an event.
        proxy.cut_after = 900
        proxy.drop()
        text = "start "
        for number in range(12):
            piece = f"{number:04} ".ljust(60, "·")
            await site.say(a, piece)
            text += piece
            await wait_for_text(page, a, text)
        await site.finish(a)
        await wait_for(page, a, status="done")
        await assert_told_truly(site, a, page)


async def test_g4_strict_mode_drives_once(context: BrowserContext, site: Site) -> None:
    """A page that starts its answer, mounts twice, and is reloaded, starts the answer only once."""
    async with proxy_before(site.port) as proxy:
        a = await site.create(start=False)
        page = await open_page(context, site.url(a, port=proxy.port, query="&drive"))
        await site.say(a, "once ")
        await wait_for_text(page, a, "once ")
        assert proxy.asked(f"/drive/{a}") == 1
        await page.reload()
        await wait_for_text(page, a, "once ")
        await site.say(a, "only")
        await wait_for_text(page, a, "once only")
        await site.finish(a)
        await wait_for(page, a, status="done")
        await assert_told_truly(site, a, page)


async def test_stop_ends_the_answer_in_every_window(context: BrowserContext, site: Site) -> None:
    """A window that unmounts its hook does not stop the answer. Stop ends it in every window."""
    a = await site.create()
    one, two = [await open_page(context, site.url(a)) for _ in range(2)]
    await site.say(a, "as far as this")
    for page in (one, two):
        await wait_for_text(page, a, "as far as this")
    await one.evaluate("show([])")
    await one.locator("[data-stream]").wait_for(state="detached")
    await site.say(a, " and on")
    await wait_for_text(two, a, "as far as this and on")
    await one.evaluate(SHOW, [a])
    await wait_for_text(one, a, "as far as this and on")
    await one.get_by_role("button", name="Stop").click()
    for page in (one, two):
        await wait_for(page, a, status="cancelled")
    await assert_told_truly(site, a, one, two)
