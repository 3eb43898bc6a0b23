"""The project that docs/django.md builds runs in a browser, under each kind of server."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Page, sync_playwright

from tests import prerequisites
from tests.docs.blocks import ROOT, blocks_of
from tests.http.servers import free_port

SERVERS = {
    "runserver": "manage.py runserver {port}",
    "runserver of daphne": "manage.py runserver {port}",  # daphne serves ASGI here, not WSGI
    "uvicorn": "-m uvicorn mysite.asgi:application --port {port} --lifespan off",
    "gunicorn": "-m gunicorn --worker-class gthread --threads 64 mysite.wsgi "
    "--bind 127.0.0.1:{port} --no-control-socket",
}
OTHERS = ("runserver of daphne", "uvicorn", "gunicorn")
DAPHNE = 'INSTALLED_APPS.insert(0, "daphne")\nASGI_APPLICATION = "mysite.asgi.application"\n'
ANSWER = "You asked: Why? Here is a thought about it."
START_S = 25.0

pytestmark = pytest.mark.timeout(90)  # the test makes a project, and starts a server and a browser


def run(folder: Path, *arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=os.environ | {"DJANGO_SUPERUSER_PASSWORD": "a password"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def make_project(folder: Path, more: str = "") -> None:
    """Follow the steps of docs/django.md, up to the step that runs the server."""
    of_settings, of_urls = (
        block.code for block in blocks_of(ROOT / "docs/django.md") if block.kind == "checked"
    )
    run(folder, "-m", "django", "startproject", "mysite", ".")
    (folder / "chat.py").write_text((ROOT / "examples/django_chat.py").read_text())
    for name, code in (("settings", of_settings + more), ("urls", of_urls)):
        with (folder / f"mysite/{name}.py").open("a") as file:
            file.write(code)
    run(folder, "manage.py", "migrate", "-v", "0")
    run(folder, "manage.py", "createsuperuser", "--username=ann", "--email=", "--noinput")


@contextmanager
def serving(folder: Path, server: str) -> Iterator[str]:
    port = free_port()
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, *SERVERS[server].format(port=port).split()],
            cwd=folder,
            stdout=output,
            stderr=output,
        )
    try:
        deadline = time.monotonic() + START_S
        while True:
            assert process.poll() is None, log.read_text()
            try:
                socket.create_connection(("127.0.0.1", port), 1.0).close()
                break
            except OSError:
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
        assert "Traceback" not in log.read_text(), log.read_text()
    finally:
        process.terminate()
        process.wait(20)


def use(page: Page, url: str) -> None:
    """Log in, ask, reload during the answer, read the rest, and open Django's admin."""
    page.goto(url)
    page.fill("[name=username]", "ann")
    page.fill("[name=password]", "a password")
    page.click("[type=submit]")
    page.fill("[name=prompt]", "Why?")
    page.click("button")
    page.wait_for_function("answer.textContent.startsWith('You ')")
    page.reload()
    page.wait_for_function("text => answer.textContent.trim() === text", arg=ANSWER)
    ask_twice_and_stop(page)
    stream_id = page.evaluate("location.hash.slice(1)")
    page.goto(f"{url}/admin/inkstream/stream/")
    assert stream_id in page.inner_text("body")


def ask_twice_and_stop(page: Page) -> None:
    """Ask during an answer. The page must show only the second answer, which Stop must end."""
    page.fill("[name=prompt]", "First?")
    page.click("text=Ask")
    page.wait_for_function("answer.textContent.startsWith('You asked: First?')")
    page.fill("[name=prompt]", "Second?")
    page.click("text=Ask")
    page.wait_for_function("answer.textContent.startsWith('You asked: Second?')")
    page.click("text=Stop")
    page.wait_for_function("source.readyState === EventSource.CLOSED")
    text = page.inner_text("#answer")
    assert "First?" not in text
    assert "thought" not in text


@pytest.mark.parametrize(
    "server",
    ["runserver", *(pytest.param(name, marks=pytest.mark.interop) for name in OTHERS)],
)
def test_the_page_makes_a_project_that_works(server: str, tmp_path: Path) -> None:
    """G2, G6: an answer continues after a reload, under WSGI and under ASGI."""
    make_project(tmp_path, DAPHNE if "daphne" in server else "")
    chromium = prerequisites.program(*prerequisites.CHROMIUM)
    with (
        serving(tmp_path, server) as url,
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"]) as browser,
    ):
        page = browser.new_page()
        page.set_default_timeout(15_000)
        use(page, url)
