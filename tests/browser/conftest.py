"""Fixtures: a Chromium for all tests, pages that show streams, and servers for these pages."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page, async_playwright

from inkstream import PersistentTextStreaming, StreamBody
from tests import prerequisites
from tests.browser.chat_page import Chat
from tests.conftest import fail_if_tasks_are_left
from tests.http import client
from tests.http.servers import Server, free_port, serving

ROOT = Path(__file__).parents[2]
PAGES = Path(__file__).parent / "page"
FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-dev-shm-usage",
    # Without this flag, each window also loads pages for the address bar, and opens half as fast.
    "--disable-features=WebUIOmniboxPopup,WebUIOmniboxAimPopup,WebUIOmniboxFullPopup",
    "--remote-debugging-port=0",
    "about:blank",
]
START_S = 15.0
WAIT_MS = 10_000

# Playwright keeps every page visible. So these scripts only make the page say that it is hidden or
# visible again.
HIDE = """() => {
    Object.defineProperty(document, "visibilityState", { value: "hidden", configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
}"""
SHOW_AGAIN = """() => {
    delete document.visibilityState;
    document.dispatchEvent(new Event("visibilitychange"));
}"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the tests of a file on one event loop, because they share a driver of Playwright."""
    for item in items:
        if Path(__file__).parent in item.path.parents and pytest_asyncio.is_async_test(item):
            item.add_marker(pytest.mark.asyncio(loop_scope="module"), append=False)


@pytest_asyncio.fixture(loop_scope="module")
async def no_task_left() -> AsyncIterator[None]:
    """Fail a test whose tasks outlive the test on the event loop of its file.

    Each test gets its own threads for blocking calls. Threads of the event loop would outlive the
    test, and the test would fail.
    """
    with ThreadPoolExecutor(thread_name_prefix="asyncio") as threads:
        asyncio.get_running_loop().set_default_executor(threads)
        async with fail_if_tasks_are_left():
            yield


@pytest.fixture(scope="session")
def chromium() -> Iterator[str]:
    """Run the system's Chromium for the session. Return its debugging address."""
    path = prerequisites.program(*prerequisites.CHROMIUM)
    # A folder of pytest would stay on the disk, with the hundreds of files of Chromium's profile.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = subprocess.Popen(
            [path, *FLAGS, f"--user-data-dir={profile}"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            told = Path(profile, "DevToolsActivePort")
            deadline = time.monotonic() + START_S
            while not (told.exists() and len(lines := told.read_text().split()) == 2):
                assert process.poll() is None, "Chromium did not start"
                assert time.monotonic() < deadline, "Chromium did not start in time"
                time.sleep(0.02)
            yield f"ws://127.0.0.1:{lines[0]}{lines[1]}"
        finally:
            process.terminate()
            process.wait(START_S)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def driven(chromium: str) -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        connected = await playwright.chromium.connect_over_cdp(chromium)
        yield connected
        await connected.close()


@pytest_asyncio.fixture(loop_scope="module")
async def browser(driven: Browser) -> AsyncIterator[Browser]:
    """Return the connection to Chromium. After the test, close the profiles that the test left."""
    before = driven.contexts
    yield driven
    for left in driven.contexts:
        if left not in before:
            await left.close()


@pytest_asyncio.fixture(loop_scope="module")
async def context(browser: Browser) -> AsyncIterator[BrowserContext]:
    """Return a new profile. An error on any page of the profile fails the test."""
    opened = await browser.new_context()
    opened.set_default_timeout(WAIT_MS)
    errors: list[str] = []
    opened.on("weberror", lambda error: errors.append(str(error.error)))
    yield opened
    await opened.close()
    assert not errors


@pytest.fixture(scope="session")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the test pages with the current npm package."""
    package = ROOT / "js"
    install = [sys.executable, f"{ROOT}/scripts/_javascript.py", "package"]
    # The command installs Node.js from PyPI if the machine has no Node.js.
    subprocess.run(install, check=True, timeout=300)
    built = tmp_path_factory.mktemp("pages")
    for name in ("react.html", "element.html", "watch.js"):
        shutil.copy(PAGES / name, built)
    esbuild = [f"{package}/node_modules/.bin/esbuild", "--bundle", "--log-level=warning"]
    react = [
        f"{PAGES}/react.tsx",
        f"--alias:inkstream/react={package}/src/react.ts",
        "--jsx=automatic",
        # Only React's development build mounts each component twice under StrictMode.
        '--define:process.env.NODE_ENV="development"',
        f"--outfile={built}/react.js",
    ]
    element = [f"{package}/src/bundle.ts", f"--outfile={built}/inkstream.min.js", "--format=iife"]
    # Node.js from PyPI is in the folder of this Python.
    path = f"{os.environ['PATH']}{os.pathsep}{Path(sys.executable).parent}"
    environment = os.environ | {"NODE_PATH": f"{package}/node_modules", "PATH": path}
    for options in (react, element):
        subprocess.run([*esbuild, *options], check=True, timeout=60, env=environment)
    return built


@pytest.fixture(scope="session")
def built_chat() -> None:
    command = [sys.executable, f"{ROOT}/scripts/_javascript.py", "chat"]
    subprocess.run(command, check=True, timeout=300)


@pytest.fixture
def chat(tmp_path: Path, built_chat: None) -> Chat:
    """Return a server of examples/chat that is not started yet."""
    return Chat(tmp_path)


class Site:
    """A server with the test pages. After a kill, it can start on the same port and database."""

    def __init__(self, directory: Path, pages: Path) -> None:
        self.port = free_port()
        self._directory = directory
        self._database = PersistentTextStreaming(f"sqlite:///{directory}/inkstream.db")
        self._environment = {"TEST_PAGES": str(pages)}
        self._running = contextlib.ExitStack()
        self._server: Server | None = None

    def start(self) -> None:
        self._server = self._running.enter_context(
            serving(
                self._directory,
                app="tests.browser.app:app",
                port=self.port,
                environment=self._environment,
            )
        )

    def kill(self) -> None:
        assert self._server is not None
        self._server.kill()

    def close(self) -> None:
        self._running.close()

    async def create(self, *, start: bool = True) -> str:
        """Create a stream that gets its text through ``say``. Return its id."""
        created = await client.post(self.port, f"/create{'?start' if start else ''}")
        return str(created["id"])

    async def say(self, name: str, *items: Any) -> None:
        """Send these items to a stream's source. Neighbouring items may be committed together."""
        await client.post(self.port, f"/say/{name}", items)

    async def finish(self, name: str) -> None:
        await self.say(name, {"end": "done"})

    async def stored(self, name: str) -> StreamBody:
        """Read a stream from the database, without a request to the server."""
        async with self._database as streams:
            return await streams.read(name)

    def url(
        self, *names: str, page: str = "react", port: int | None = None, query: str = ""
    ) -> str:
        return (
            f"http://127.0.0.1:{port or self.port}/page/{page}.html"
            f"?streams={','.join(names)}{query}"
        )


@contextlib.contextmanager
def running_site(directory: Path, pages: Path) -> Iterator[Site]:
    site = Site(directory, pages)
    try:
        site.start()
        yield site
    finally:
        site.close()


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory, pages: Path) -> Iterator[Site]:
    with running_site(tmp_path_factory.mktemp("site"), pages) as site:
        yield site


@pytest.fixture
def mortal_site(tmp_path: Path, pages: Path) -> Iterator[Site]:
    with running_site(tmp_path, pages) as site:
        yield site


async def shown(page: Page, name: str) -> str:
    return await page.locator(f'[data-stream="{name}"] .text').text_content() or ""


async def wait_for_text(page: Page, name: str, text: str) -> None:
    """Wait until a stream's text on a page begins with ``text``."""
    await page.wait_for_function(
        """([name, text]) => document.querySelector(`[data-stream="${name}"] .text`)
            ?.textContent.startsWith(text)""",
        arg=[name, text],
    )


async def wait_for(page: Page, name: str, **state: str) -> None:
    """Wait until a page shows a stream with ``state``, for example ``status="done"``."""
    conditions = "".join(f"[data-{key}={json.dumps(value)}]" for key, value in state.items())
    await page.locator(f'[data-stream="{name}"]{conditions}').wait_for(state="attached")


async def assert_told_truly(site: Site, name: str, *pages: Page) -> StreamBody:
    """Fail if a page's final text differs from the stored text.

    Also fail if ``watch.js`` recorded a text that did not begin with the answer's earlier text.
    """
    stored = await site.stored(name)
    assert stored.status.ended
    for page in pages:
        await wait_for(page, name, status=stored.status)
        assert await shown(page, name) == stored.text
        assert await page.evaluate("faults") == []
    return stored
