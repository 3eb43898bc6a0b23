"""``__all__`` is complete, public names have docstrings, and no module imports the package root."""

from __future__ import annotations

import ast
import collections.abc
import inspect
import pickle
import re
from dataclasses import is_dataclass
from importlib.metadata import metadata
from pathlib import Path
from types import ModuleType
from typing import get_type_hints

import pytest

import inkstream
import inkstream.abc

ROOT = Path(inkstream.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("module", [inkstream, inkstream.abc], ids=lambda module: module.__name__)
def test_all_is_complete(module: ModuleType) -> None:
    assert len(set(module.__all__)) == len(module.__all__)
    missing = [name for name in module.__all__ if not hasattr(module, name)]
    assert not missing


def test_the_types_of_a_store_are_public() -> None:
    """``inkstream.abc`` exports the types that ``Store``, ``Notifier`` and ``Clock`` use."""
    used: set[str] = set()
    for protocol in (inkstream.abc.Store, inkstream.abc.Notifier, inkstream.abc.Clock):
        for method in vars(protocol).values():
            if inspect.isfunction(method):
                used |= set(re.findall(r"[A-Z]\w+", " ".join(method.__annotations__.values())))
    assert "Outcome" in used
    assert used - set(dir(collections.abc)) - {"None"} <= set(inkstream.abc.__all__)


def test_every_public_name_has_a_docstring() -> None:
    values = ((name, getattr(inkstream, name)) for name in inkstream.__all__)
    bare = [
        name
        for name, value in values
        if (isinstance(value, type) or inspect.isfunction(value)) and not value.__doc__
    ]
    assert not bare


@pytest.mark.parametrize("name", ["memory", "_memory_streams"])
def test_the_shortest_store_uses_only_public_names(name: str) -> None:
    """An application that copies the memory store to write its own needs only public names."""
    public = {*inkstream.__all__, *inkstream.abc.__all__}
    tree = ast.parse((ROOT / "stores" / f"{name}.py").read_text())
    used = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("inkstream._")
        for alias in node.names
    }
    assert used <= public


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
