"""The chat's page in Chromium: ``python -m benchmarks.page --before TREE [--rounds N] [--json]``.

``TREE`` is a checkout of an earlier commit (``git worktree add TREE COMMIT``). The benchmark serves
the page of that checkout and the page of this checkout in turns. Chromium reports the costs of a
page. The CPU time is that of the page's main thread. Other programs on the machine hardly change
this time. But they change the delays that a person notices: long tasks, slow frames, delayed keys.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from playwright.async_api import Browser, CDPSession, Page, async_playwright

from benchmarks.page_model import Model, markdown, playing_model, prose
from benchmarks.page_tree import Tree, serving
from benchmarks.report import Report
from tests import prerequisites

ROOT: Final = Path(__file__).parents[1]
TOKENS: Final = 20_000
TOKENS_S: Final = 250.0
KEY_EVERY_S: Final = 1.0
HISTORY: Final = 100
LONG_TOKENS: Final = 50_000
FLAGS: Final = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]

# This script records what a person would notice: long tasks, slow frames, delayed keys.
RECORD: Final = """
window.felt = { long: 0, slow: 0, keys: [] };
new PerformanceObserver((list) => {
    for (const { duration } of list.getEntries()) felt.long += duration;
}).observe({ type: "longtask" });
new PerformanceObserver((list) => {
    for (const { name, duration } of list.getEntries()) {
        if (name === "keydown") felt.keys.push(duration);
    }
}).observe({ type: "event", durationThreshold: 16 });
let last = performance.now();
requestAnimationFrame(function frame(now) {
    if (now - last > 100) felt.slow++;
    last = now;
    requestAnimationFrame(frame);
});
"""


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    tree: Tree
    tokens: list[str]


async def opened(browser: Browser, url: str) -> tuple[Page, CDPSession]:
    """Open a page in a new profile; return the page, and the session that measures its CPU time."""
    context = await browser.new_context(viewport={"width": 1180, "height": 800})
    page = await context.new_page()
    await page.add_init_script(RECORD)
    counter = await context.new_cdp_session(page)
    await counter.send("Performance.enable", {"timeDomain": "threadTicks"})
    await page.goto(url)
    await page.get_by_label("Message").wait_for()
    return page, counter


async def counted(counter: CDPSession) -> dict[str, float]:
    told = await counter.send("Performance.getMetrics")
    return {metric["name"]: metric["value"] for metric in told["metrics"]}


async def ask(page: Page, prompt: str) -> None:
    await page.get_by_label("Message").fill(prompt)
    await page.get_by_role("button", name="Send").click()


async def ended(page: Page, number: int, timeout_s: float) -> None:
    await page.wait_for_function(
        "n => document.querySelectorAll('.answer[data-status=done]').length >= n",
        arg=number,
        timeout=timeout_s * 1000,
        polling=200,
    )


async def measure_answer(browser: Browser, case: Case, model: Model) -> dict[str, Any]:
    """Measure the page while an answer is being written, and press a key every second."""
    model.tokens, model.tokens_s = case.tokens, TOKENS_S
    with tempfile.TemporaryDirectory() as directory:
        async with serving(case.tree, Path(directory), model.environment) as url:
            page, counter = await opened(browser, url)
            before = await counted(counter)
            await ask(page, "Write.")
            pressing = asyncio.create_task(press_keys(page))
            try:
                await ended(page, 1, 5 * len(case.tokens) / TOKENS_S)
            finally:
                pressing.cancel()
            after = await counted(counter)
            felt = await page.evaluate("felt")
            await page.context.close()
    keys = sorted([*felt["keys"], *[16.0] * max(0, model.seconds_played() - len(felt["keys"]))])
    return {
        "case": case.name,
        "CPU s": after["TaskDuration"] - before["TaskDuration"],
        "script s": after["ScriptDuration"] - before["ScriptDuration"],
        "long tasks s": felt["long"] / 1000,
        "frames > 100 ms": felt["slow"],
        "key ms, median": statistics.median(keys) if keys else 0,
        "key ms, worst": max(keys, default=0),
        "load": os.getloadavg()[0],
    }


async def press_keys(page: Page) -> None:
    field = page.get_by_label("Message")
    await field.focus()
    while True:
        await page.keyboard.press("a")
        await asyncio.sleep(KEY_EVERY_S)


async def measure_history(browser: Browser, tree: Tree, model: Model) -> dict[str, Any]:
    """Measure opening a conversation of many messages, with one long message in the middle."""
    short, long = markdown(60), markdown(LONG_TOKENS)
    model.tokens_s = 1e9
    with tempfile.TemporaryDirectory() as directory:
        async with serving(tree, Path(directory), model.environment) as url:
            page, _ = await opened(browser, url)
            for number in range(HISTORY // 2):
                model.tokens = long if number == HISTORY // 4 else short
                await ask(page, f"Question {number}")
                await ended(page, number + 1, 60)
            address = page.url
            await page.context.close()

            context = await browser.new_context(viewport={"width": 1180, "height": 800})
            page = await context.new_page()
            counter = await context.new_cdp_session(page)
            await counter.send("Performance.enable", {"timeDomain": "threadTicks"})
            received = await count_data(counter)
            await page.goto(address)
            await ended(page, 1, 30)
            await asyncio.sleep(3)  # what the page does in this time counts too
            metrics = await counted(counter)
            await context.close()
    return {
        "case": tree.name,
        "CPU s": metrics["TaskDuration"],
        "DOM nodes": metrics["Nodes"],
        "data kB": sum(received.values()) / 1000,
    }


async def count_data(counter: CDPSession) -> dict[str, int]:
    """Count the bytes of data that a page fetches, without the page's own files."""
    received: dict[str, int] = {}

    def sent(event: dict[str, Any]) -> None:
        if event.get("type") in ("Fetch", "XHR", "EventSource"):
            received[event["requestId"]] = 0

    def came(event: dict[str, Any]) -> None:
        if event["requestId"] in received:
            received[event["requestId"]] += event["dataLength"]

    counter.on("Network.requestWillBeSent", sent)
    counter.on("Network.dataReceived", came)
    await counter.send("Network.enable")
    return received


def sizes(tree: Tree) -> dict[str, Any]:
    """Return the sizes of the files that a browser loads, in kB, minified and gzipped."""
    package, page = tree.root / "js", tree.root / "examples/chat/page/dist"
    html = (page / "index.html").read_text()
    scripts = [path for path in page.rglob("*.js") if path.name in html]
    return {
        "case": tree.name,
        "client": bundled(package, "index"),
        "with React's hook": bundled(package, "react", "--external:react"),
        "single file": zipped((package / "dist/inkstream.min.js").read_bytes()),
        "chat at once": sum(zipped(path.read_bytes()) for path in scripts),
        "chat in all": sum(zipped(path.read_bytes()) for path in page.rglob("*.js")),
    }


def bundled(package: Path, entry: str, *options: str) -> float:
    command = [f"{package}/node_modules/.bin/esbuild", f"{package}/dist/{entry}.js", "--bundle"]
    command += ["--minify", "--format=esm", "--target=es2022", *options]
    return zipped(subprocess.run(command, check=True, capture_output=True).stdout)


def zipped(data: bytes) -> float:
    return len(gzip.compress(data, 9)) / 1000


async def measure(before: Tree, after: Tree, rounds: int, tokens: int) -> list[Report]:
    answer = Report(
        f"An answer of {tokens:,} tokens at {TOKENS_S:.0f}/s in the chat's page",
        notes=[f"median of {rounds} rounds; a key every {KEY_EVERY_S:.0f} s, ≤ 16 ms counts as 16"],
    )
    history = Report(f"A conversation of {HISTORY} messages, one of {LONG_TOKENS:,} tokens, opened")
    cases = [
        Case("before, Markdown", before, markdown(tokens)),
        Case("after, Markdown", after, markdown(tokens)),
        Case("after, plain prose", after, prose(tokens)),
    ]
    found: dict[str, list[dict[str, Any]]] = {}
    path = prerequisites.program(*prerequisites.CHROMIUM)
    async with async_playwright() as playwright, playing_model() as model:
        browser = await playwright.chromium.launch(executable_path=path, args=FLAGS)
        for _ in range(rounds):
            for case in cases:
                row = await measure_answer(browser, case, model)
                print(row, file=sys.stderr, flush=True)
                found.setdefault(case.name, []).append(row)
        history.rows = [await measure_history(browser, tree, model) for tree in (before, after)]
        await browser.close()
    answer.rows = [
        {"case": name}
        | {key: statistics.median(row[key] for row in rows) for key in list(rows[0])[1:]}
        for name, rows in found.items()
    ]
    size = Report("kB, minified and gzipped", [sizes(tree) for tree in (before, after)])
    return [answer, history, size]


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.page", description=__doc__)
    parser.add_argument("--before", type=Path, required=True, help="a checkout to compare with")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=TOKENS, help="of the answer")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    before, after = Tree("before", options.before.resolve()), Tree("after", ROOT)
    for tree in (before, after):
        tree.build()
    for report in asyncio.run(measure(before, after, options.rounds, options.tokens)):
        print(report.json() if options.json else report.table(), flush=True)


if __name__ == "__main__":
    main()
