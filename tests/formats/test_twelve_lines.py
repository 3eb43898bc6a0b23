"""Counts the lines that useChat adds to an application, in examples/usechat/server.py."""

from __future__ import annotations

import ast
from pathlib import Path

SERVER = Path(__file__).parents[2] / "examples" / "usechat" / "server.py"
PLUS = "# +"


def lines_for_use_chat() -> list[str]:
    """Return the marked lines, which an application without useChat does not need.

    Not marked are the route, the login, and the imports.
    """
    return [line for line in SERVER.read_text().splitlines() if line.endswith(PLUS)]


def test_at_most_twelve() -> None:
    """Ask, resume, stop and history take at most twelve lines, none longer than other lines."""
    marked = lines_for_use_chat()
    assert 0 < len(marked) <= 12, marked
    assert all(len(line.removesuffix(PLUS).rstrip()) <= 100 for line in marked)
    assert not any(";" in line for line in marked)


def test_nothing_is_left_unmarked() -> None:
    """Every line that uses inkstream is marked, except imports and the lifespan.

    The lifespan is the application's own.
    """
    source = SERVER.read_text()
    lines = source.splitlines()
    uses: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Name) and node.id in ("streams", "chat"):
            uses.add(node.lineno)
    unmarked = [lines[n - 1] for n in sorted(uses) if not lines[n - 1].endswith(PLUS)]
    assert unmarked == ["app = FastAPI(lifespan=streams.lifespan)"]
