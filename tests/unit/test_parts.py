"""Python's ``fold`` passes the same cases as the TypeScript ``fold``."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from inkstream.parts import fold

SHARED = json.loads((Path(__file__).parent.parent / "parts" / "cases.json").read_text())


@pytest.mark.parametrize("case", SHARED["cases"], ids=lambda case: str(case["name"]))
def test_fold(case: dict[str, Any]) -> None:
    """G2: a page shows the same message, whether Python or TypeScript folded the parts."""
    before = json.dumps(case["parts"])
    assert fold(case["parts"], ended=case["ended"]) == case["message"]
    assert json.dumps(case["parts"]) == before, "fold must not change its input"


def many(case: dict[str, Any], times: int) -> list[Any]:
    template = json.dumps(case["parts"])
    return [part for n in range(times) for part in json.loads(template.replace("$n", str(n)))]


@pytest.mark.parametrize("case", SHARED["many"], ids=lambda case: str(case["name"]))
def test_cost_is_linear(case: dict[str, Any]) -> None:
    """G9: for ten times as many parts, ``fold`` takes less than 40 times as long."""

    def seconds(times: int) -> float:
        parts = many(case, times)
        start = time.process_time()
        message = fold(parts)
        took = time.process_time() - start
        if times == case["times"]:
            assert len(message["parts"]) == case["count"]
        return took

    tenth = max(seconds(case["times"] // 10), 0.005)
    assert seconds(case["times"]) < 40 * tenth


def test_stored_parts_stay_as_they_are() -> None:
    """A later part replaces data in the folded message, but not in the given parts."""
    part: dict[str, Any] = {"type": "data-x", "id": "1", "data": {"a": 1}}
    fold([part, {"type": "data-x", "id": "1", "data": 2}])
    assert part == {"type": "data-x", "id": "1", "data": {"a": 1}}
