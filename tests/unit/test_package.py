"""``__all__`` is complete, public names have docstrings, and no module imports the package root."""

from __future__ import annotations

import ast
import inspect
import pickle
from dataclasses import is_dataclass
from importlib.metadata import metadata
from pathlib import Path
from typing import get_type_hints

import pytest

import inkstream

ROOT = Path(inkstream.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_all_is_complete() -> None:
    # The linter checks the order of ``__all__`` (RUF022).
    assert len(set(inkstream.__all__)) == len(inkstream.__all__)
    missing = [name for name in inkstream.__all__ if not hasattr(inkstream, name)]
    assert not missing


def test_every_public_name_has_a_docstring() -> None:
    values = ((name, getattr(inkstream, name)) for name in inkstream.__all__)
    bare = [
        name
        for name, value in values
        if (isinstance(value, type) or inspect.isfunction(value)) and not value.__doc__
    ]
    assert not bare


def test_version_is_the_distribution_s() -> None:
    assert inkstream.__version__ == metadata("inkstream")["Version"]


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_module_has_a_docstring(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text()))


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_nothing_inside_imports_the_root(path: Path) -> None:
    bad = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            bad += [alias.name for alias in node.names if alias.name == "inkstream"]
        elif isinstance(node, ast.ImportFrom) and node.module == "inkstream":
            bad += [alias.name for alias in node.names if not is_module(alias.name)]
    assert not bad


def is_module(name: str) -> bool:
    return (ROOT / f"{name}.py").exists() or (ROOT / name / "__init__.py").exists()


def test_public_classes_name_the_package() -> None:
    classes = [v for name in inkstream.__all__ if isinstance(v := getattr(inkstream, name), type)]
    hidden = {v for v in classes if v.__module__ != "inkstream" and not is_dataclass(v)}
    assert not hidden
    for value in classes:
        get_type_hints(value)
        assert pickle.loads(pickle.dumps(value)) is value
