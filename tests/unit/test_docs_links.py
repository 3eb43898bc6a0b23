"""Links in the documentation have targets, and the tests that the documentation names exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *ROOT.glob("js/*.md")])
GUARANTEES = [f"G{number}" for number in range(1, 13)]

_CODE = re.compile(r"^```.*?^```$|^    .*?$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")
_TEST = re.compile(r"`(test_\w+)`")
_RUNS = re.compile(r"scripts/(test|interop|soak) (tests/[\w/.]+)( -k (\w+))?")


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def links_of(page: Path) -> list[tuple[str, str]]:
    return _LINK.findall(_CODE.sub("", page.read_text()))


def anchors_of(page: Path) -> set[str]:
    """Return the anchors that GitHub makes of a page's headings."""
    headings = re.findall(r"^#+ +(.*)$", _CODE.sub("", page.read_text()), re.MULTILINE)
    plain = (re.sub(r"[`*]|\]\([^)]*\)|\[", "", heading).lower().strip() for heading in headings)
    return {re.sub(r"[^\w\- ]", "", heading).replace(" ", "-") for heading in plain}


def functions_of(module: Path) -> set[str]:
    nodes = ast.walk(ast.parse(module.read_text()))
    return {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def is_interop(module: Path) -> bool:
    """Return whether all tests of a module belong to the tier ``interop``."""
    marks = re.search(
        r"^pytestmark = (\[.*?\]$|.*?$)", module.read_text(), re.MULTILINE | re.DOTALL
    )
    marked = marks is not None and "pytest.mark.interop" in marks[1]
    return marked or ROOT / "tests/interop" in module.parents


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    broken = []
    for _, target in links_of(page):
        path, _, fragment = target.partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        there = page if not path else (page.parent / path)
        if not there.exists() or (fragment and fragment not in anchors_of(there)):
            broken.append(target)
    assert not broken


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_linked_tests_exist(page: Path) -> None:
    missing = []
    for text, target in links_of(page):
        for name in _TEST.findall(text):
            module = page.parent / target
            if not module.is_file() or name not in functions_of(module):
                missing.append(f"{name} in {target}")
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_select_tests(page: Path) -> None:
    """A command such as `scripts/test tests/x.py -k word` runs at least one test."""
    for script, path, _, word in _RUNS.findall(page.read_text()):
        modules = sorted((ROOT / path).rglob("test_*.py")) or [ROOT / path]
        if script != "soak":
            modules = [module for module in modules if is_interop(module) == (script == "interop")]
        tests = {name for module in modules for name in functions_of(module) if "test_" in name}
        assert any(word in name for name in tests), f"scripts/{script} {path} -k {word}"


def test_every_guarantee_names_its_tests() -> None:
    rows = re.findall(
        r"^\| (G[0-9]+) \|.*\| (.*) \|$", (ROOT / "docs/guarantees.md").read_text(), re.MULTILINE
    )
    assert [guarantee for guarantee, _ in rows] == GUARANTEES
    for guarantee, proof in rows:
        assert _TEST.search(proof), f"no test proves {guarantee}"


def test_every_decision_is_listed() -> None:
    decisions = ROOT / "docs/decisions"
    listed = {target for _, target in links_of(decisions / "README.md")}
    assert {path.name for path in decisions.glob("[0-9]*.md")} == listed
