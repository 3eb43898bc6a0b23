"""In examples/usechat/server.py, at most twelve lines are marked as needed for ``useChat``."""

from __future__ import annotations

import ast
from pathlib import Path

SERVER = Path(__file__).parents[2] / "examples" / "usechat" / "server.py"
PLUS = "# +"


def lines_for_use_chat() -> list[str]:
    """Return the lines that end with ``# +``, the mark of a line that ``useChat`` needs."""
    return [line for line in SERVER.read_text().splitlines() if line.endswith(PLUS)]


def test_at_most_twelve() -> None:
    marked = lines_for_use_chat()
    assert 0 < len(marked) <= 12, marked
    assert all(len(line.removesuffix(PLUS).rstrip()) <= 100 for line in marked)
    assert not any(";" in line for line in marked)


def test_nothing_is_left_unmarked() -> None:
    """Each line that uses ``streams`` or ``chat`` has the mark, except the line of the lifespan."""
    source = SERVER.read_text()
    lines = source.splitlines()
    uses: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Name) and node.id in ("streams", "chat"):
            uses.add(node.lineno)
    unmarked = [lines[n - 1] for n in sorted(uses) if not lines[n - 1].endswith(PLUS)]
    assert unmarked == ["app = FastAPI(lifespan=streams.lifespan)"]
