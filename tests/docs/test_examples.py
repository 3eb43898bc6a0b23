"""Each page about a framework shows its example, which users may also copy as a file."""

from __future__ import annotations

import pytest

from tests.docs.blocks import ROOT, all_blocks

EXAMPLES = {
    "docs/celery.md": "examples/celery_chat.py",
    "docs/django.md": "examples/django_chat.py",
    "docs/fastapi.md": "examples/fastapi_chat.py",
    "docs/htmx.md": "examples/htmx_chat.py",
    "docs/litestar.md": "examples/litestar_chat.py",
    "docs/mcp.md": "examples/mcp_events.py",
    "docs/starlette.md": "examples/starlette_chat.py",
    "docs/streamlit.md": "examples/streamlit_chat.py",
    "docs/wsgi.md": "examples/flask_chat.py",
}


@pytest.mark.parametrize("page", EXAMPLES)
def test_a_page_begins_with_its_example(page: str) -> None:
    code = (ROOT / EXAMPLES[page]).read_text()
    first = next(block for block in all_blocks() if block.page == page)
    assert first.code == code
    assert len(code.splitlines()) <= 60


@pytest.mark.parametrize("example", ["rq_chat", "dramatiq_chat"])
def test_a_recipe_shows_its_example(example: str) -> None:
    code = (ROOT / f"examples/{example}.py").read_text()
    assert code in [block.code for block in all_blocks() if block.page == "docs/celery.md"]
    assert len(code.splitlines()) <= 60
