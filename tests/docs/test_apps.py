"""Each application of the documentation runs, and the blocks below it succeed."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

from tests import prerequisites
from tests.docs.blocks import ROOT, Block, all_blocks
from tests.http.servers import free_port

START_S = 20.0

pytestmark = pytest.mark.timeout(60)  # a test may start a server and a browser


@dataclass(slots=True)
class Scene:
    app: Block
    uses: list[Block] = field(default_factory=list)

    def __str__(self) -> str:
        return str(self.app)


def scenes() -> list[Scene]:
    found: list[Scene] = []
    for block in all_blocks():
        if block.kind == "app":
            found.append(Scene(block))
        elif block.kind in ("shell", "browser"):
            assert found, f"{block}: no application above it"
            assert found[-1].app.page == block.page, f"{block}: no application above it"
            found[-1].uses.append(block)
    return found


@contextmanager
def served(code: str, directory: Path) -> Iterator[int]:
    (directory / "app.py").write_text(code)
    port = free_port()
    environment = {k: v for k, v in os.environ.items() if not k.startswith("INKSTREAM_")}
    command = [sys.executable, "-m", "uvicorn", "app:app", "--port", str(port)]
    log = directory / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=directory, env=environment, stdout=output, stderr=output
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
                time.sleep(0.02)
        yield port
        assert "Traceback" not in log.read_text(), log.read_text()
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.mark.parametrize("scene", scenes(), ids=str)
def test_an_application_passes_the_blocks_below_it(scene: Scene, tmp_path: Path) -> None:
    with served(scene.app.code, tmp_path) as port:
        stream_id = ""
        for block in scene.uses:
            if block.kind == "shell":
                stream_id = use_shell(block, port, tmp_path) or stream_id
            else:
                use_browser(block, port, stream_id)


def use_shell(block: Block, port: int, directory: Path) -> str:
    """Run a block line by line. Return the id of the stream that the block created.

    In a command, ``kq3…`` stands for this id. A comment after a command gives the expected output.
    If the expected output is JSON, only its keys are compared. If it ends with a terminal event,
    the real output must contain a terminal event.
    """
    (directory / ".curlrc").write_text("fail\nmax-time = 10\nsilent\n")
    stream_id = ""
    for line in block.code.splitlines():
        command, _, comment = line.partition("  #")
        command = command.replace("localhost:8000", f"127.0.0.1:{port}")
        command = command.replace("kq3…", stream_id or "kq3…")
        done = subprocess.run(
            ["sh", "-c", command],
            cwd=directory,
            env=os.environ | {"CURL_HOME": str(directory)},
            capture_output=True,
            text=True,
            timeout=12,
            check=False,
        )
        assert done.returncode == 0, f"{block}: {command}: {done.stdout} {done.stderr}"
        said = comment.strip()
        if said.startswith("{"):
            answer = json.loads(done.stdout)
            assert answer.keys() == json.loads(said.replace("…", "")).keys()
            stream_id = answer.get("stream_id", stream_id)
        elif said.endswith("event: end"):
            assert "event: end" in done.stdout.splitlines(), done.stdout
    return stream_id


def use_browser(block: Block, port: int, stream_id: str) -> None:
    """Run a block's script in a page with the HTML elements that the block's comments give."""
    assert stream_id, f"{block}: no stream to follow"
    chromium = prerequisites.program(*prerequisites.CHROMIUM)
    script = f"((streamId) => {{ {block.code} }})({json.dumps(stream_id)})"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(f"http://127.0.0.1:{port}/openapi.json")
        page.set_content("".join(re.findall("// (<.*>)", block.code)))
        page.evaluate(script)
        page.get_by_text("done", exact=True).wait_for(timeout=8000)
        assert page.inner_text("output")
        browser.close()


def test_the_first_block_is_the_example() -> None:
    """README.md's first application equals examples/quickstart.py. Users may copy either."""
    first = next(block for block in all_blocks() if block.kind == "app")
    assert first.page == "README.md"
    assert first.code == (ROOT / "examples/quickstart.py").read_text()
