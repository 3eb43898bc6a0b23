from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, sync_playwright

from tests import prerequisites
from tests.http.servers import Server, serving

ROOT = Path(__file__).parents[2]
ANSWER = "You asked: Why? Here is a thought about it."

pytestmark = [pytest.mark.interop, pytest.mark.timeout(60)]


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "node_modules").symlink_to(ROOT / "tests/interop/clients/node_modules")
    environment = {
        "EXAMPLE": "htmx_chat",
        "PYTHONPATH": os.pathsep.join(map(str, (ROOT / "src", ROOT, ROOT / "examples"))),
    }
    app = "tests.frameworks.example_app:app"
    with serving(tmp_path, app=app, environment=environment) as running:
        yield running


@pytest.fixture
def page(server: Server) -> Iterator[Page]:
    chromium = prerequisites.program(*prerequisites.CHROMIUM)
    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"]) as browser,
    ):
        page = browser.new_context().new_page()
        page.set_default_timeout(15_000)
        page.goto(f"http://127.0.0.1:{server.port}/")
        yield page


def ask(page: Page, prompt: str = "Why?") -> None:
    page.fill("[name=prompt]", prompt)
    page.click("form button")
    page.wait_for_function(
        "document.querySelector('ink-stream:last-of-type')?.textContent.startsWith('You ')"
    )


def test_the_view_answers_with_an_element_that_survives_a_reload(page: Page) -> None:
    """G2, G6: a page that is reloaded during an answer shows the whole answer in one element."""
    ask(page)
    page.reload()
    element = page.locator("ink-stream")
    page.wait_for_function("text => answers.textContent.includes(text)", arg=ANSWER)
    element.and_(page.locator("[status=done]")).wait_for()
    assert element.count() == 1
    other = page.context.browser
    assert other is not None
    stranger = other.new_page()  # this browser profile does not have the cookie of ``page``
    stranger.goto(page.url)
    assert stranger.locator("ink-stream").count() == 0


def test_its_button_stops_the_answer_in_every_tab(page: Page) -> None:
    """G6: the Stop button of one tab stops the answer in both tabs, which show the same text."""
    ask(page, "Why? " * 300)  # the answer takes 30 s, because a busy machine opens a tab slowly
    tab = page.context.new_page()
    tab.goto(page.url)
    # The button moves while text arrives, so it has moved away before the pointer is released.
    tab.locator("ink-stream button").click(delay=300)
    for each in (page, tab):
        each.locator("ink-stream[status=cancelled]").wait_for()
        assert "thought" not in each.locator("ink-stream").inner_text()
    texts = {each.locator("ink-stream").text_content() for each in (page, tab)}
    assert len(texts) == 1


def test_a_finger_on_its_button_stops_the_answer(page: Page) -> None:
    """G6: on a touch screen, text that arrives between press and release does not lose the press.

    A browser sends no click if the button has moved away from the finger.
    """
    ask(page, "Why? " * 300)
    screen = page.context.new_cdp_session(page)
    stopped = page.locator("ink-stream[status=cancelled]")
    for _ in range(10):  # a finger that comes down too late misses the button
        button = page.locator("ink-stream button").bounding_box()
        assert button is not None
        finger = {"x": button["x"] + 5, "y": button["y"] + 5}
        screen.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [finger]})
        page.wait_for_timeout(300)
        screen.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        page.wait_for_timeout(500)
        if stopped.count():
            return
    pytest.fail("no press stopped the answer")
