"""Each canary names a guard that is in the code, and a test that exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.canaries import CANARIES, ROOT, Canary

_EACH = pytest.mark.parametrize("canary", CANARIES, ids=lambda canary: canary.name)
_SUITE = ROOT / "src/inkstream/testing/store_suite"


def files_of(canary: Canary) -> list[Path]:
    """Return the files that may contain a canary's test. A method may be in the store suite."""
    path, *names = canary.test.partition("[")[0].split("::")
    return [ROOT / path, *(_SUITE.glob("*.py") if len(names) == 2 else ())]


def names_in(files: list[Path]) -> set[str]:
    kinds = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    trees = (ast.walk(ast.parse(file.read_text())) for file in files)
    return {node.name for nodes in trees for node in nodes if isinstance(node, kinds)}


def imports_in(files: list[Path]) -> set[str]:
    found = set()
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module is not None:
                found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


@_EACH
def test_canary_guard_exists(canary: Canary) -> None:
    assert (ROOT / canary.path).read_text().count(canary.old) == 1
    assert canary.new != canary.old


@_EACH
def test_canary_test_exists(canary: Canary) -> None:
    path, *names = canary.test.partition("[")[0].split("::")
    assert (ROOT / path).is_file()
    assert set(names) <= names_in(files_of(canary))
    assert canary.module not in imports_in(files_of(canary))


def test_canaries_are_in_the_documentation() -> None:
    page = (ROOT / "docs/guarantees.md").read_text().partition("## Canaries")[2]
    assert re.findall(r"^\| (?!without|---)([^|]+?) \|", page, re.MULTILINE) == [
        canary.name for canary in CANARIES
    ]
