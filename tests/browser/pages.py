"""Bundles pages that use packages of other projects, and acts on these pages."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from playwright.async_api import Page

from tests.browser.conftest import ROOT

PAGES = ROOT / "tests" / "interop" / "pages"
USECHAT = ROOT / "examples" / "usechat" / "page" / "src"

_HTML = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<link rel="icon" href="data:,">
<link rel="stylesheet" href="{name}.css">
<div id="root"></div>
<script type="module" src="{name}.js"></script>
"""


def pages_of(folder: Path, **entries: Path) -> Path:
    """Bundle each entry as a page with the entry's name. The packages come from ``PAGES``.

    Each entry is copied first, because its own folder may contain another version of a package.
    """
    command = [sys.executable, f"{ROOT}/scripts/_javascript.py", "pages"]
    subprocess.run(command, check=True, timeout=300)
    sources = folder / "sources"
    # Node.js from PyPI is in the folder of this Python.
    path = f"{os.environ['PATH']}{os.pathsep}{Path(sys.executable).parent}"
    for name, entry in entries.items():
        copied = sources / name
        copied.mkdir(parents=True)
        for file in entry.parent.glob("*.*s*"):
            if file.is_file():
                (copied / file.name).write_bytes(file.read_bytes())
        (copied / "node_modules").symlink_to(PAGES / "node_modules")
        options = [
            f"{copied / entry.name}",
            "--bundle",
            "--format=esm",
            "--jsx=automatic",
            "--log-level=error",
            '--define:process.env.NODE_ENV="production"',
            f"--alias:inkstream/fetch={ROOT}/js/dist/fetch.js",
            *(f"--loader:.{font}=dataurl" for font in ("woff2", "woff", "ttf")),
            f"--outfile={folder / name}.js",
        ]
        esbuild = PAGES / "node_modules" / ".bin" / "esbuild"
        environment = os.environ | {"PATH": path}
        subprocess.run([esbuild, *options], check=True, timeout=120, env=environment)
        (folder / f"{name}.css").touch()
        (folder / f"{name}.html").write_text(_HTML.format(name=name))
    return folder


async def ask(page: Page, text: str) -> None:
    await page.get_by_label("Your question").fill(text)
    await page.get_by_role("button", name="Ask").click()


async def text_of(page: Page) -> str:
    return "".join(await page.locator("li.assistant .text").all_text_contents())
