"""Applies the accessibility rules of axe-core to a page in its present state."""

from __future__ import annotations

import subprocess
import sys
from typing import Any, Final

from playwright.async_api import Page

from tests.browser.conftest import ROOT

RULES: Final = ROOT / "js/node_modules/axe-core/axe.min.js"
MATTERS: Final = {"critical", "serious", "moderate"}
WIDTHS: Final = {"desktop": 1180, "phone": 390}


def install() -> None:
    command = [sys.executable, f"{ROOT}/scripts/_javascript.py", "package"]
    subprocess.run(command, check=True, timeout=300)


async def assert_accessible(page: Page, state: str) -> None:
    """Fail if a page has a critical, serious or moderate violation, in light or in dark colours."""
    for frame in page.frames:
        # The page's content security policy would block a <script> element with the rules.
        await frame.evaluate(RULES.read_text())
    for scheme in ("light", "dark"):
        # Animations are off, because a colour that is changing may have too little contrast.
        await page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        result: dict[str, Any] = await page.evaluate("axe.run({ resultTypes: ['violations'] })")
        found = [
            f"{rule['impact']}: {rule['id']} at {node['target']}: {node['failureSummary']}"
            for rule in result["violations"]
            if rule["impact"] in MATTERS
            for node in rule["nodes"]
        ]
        assert not found, "\n".join([f"{state}, {scheme}:", *found])
