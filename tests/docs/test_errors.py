"""The documents name only exceptions that exist and that an application can import."""

from __future__ import annotations

import builtins
import re
from pathlib import Path

import pytest

import inkstream
import inkstream.client
from tests.docs.blocks import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
OF_OTHERS = {"APIError", "HTTPException"}  # of OpenAI and of Starlette


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_named_exceptions_exist(page: Path) -> None:
    known = {*inkstream.__all__, *inkstream.client.__all__, *dir(builtins), *OF_OTHERS}
    named = set(re.findall(r"\braise[sd]?\s+(?:an?\s+|the\s+)?`([A-Z]\w+)", page.read_text()))
    assert named <= known
