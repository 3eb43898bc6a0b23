"""docs/limits.md has every field of the settings, with the field's default and meaning."""

from __future__ import annotations

import inspect
import re
from dataclasses import fields
from typing import Any

import pytest

from inkstream import HTTPSettings, Limits, Timing
from inkstream.durable.settings import DurableSettings
from tests.docs.blocks import ROOT

SETTINGS: list[type[Any]] = [Limits, Timing, HTTPSettings, DurableSettings]
MIB = 1024 * 1024


def table_of(settings: type[Any]) -> str:
    attributes = inspect.getdoc(settings).partition("Attributes:\n")[2]  # type: ignore[union-attr]
    pairs = re.findall(r"^    (\w+): (.*?)(?=^    \w|\Z)", attributes, re.MULTILINE | re.DOTALL)
    meanings = {name: " ".join(text.split()).replace("``", "`") for name, text in pairs}
    lines = [f"| `{settings.__name__}` | default | |", "|---|---|---|"]
    for field in fields(settings):
        default = in_words(field.name, field.default)
        lines.append(f"| `{field.name}` | {default} | {meanings.pop(field.name)} |")
    assert not meanings, f"{settings.__name__} documents fields that do not exist: {list(meanings)}"
    return "\n".join(lines)


def in_words(name: str, value: Any) -> str:
    if value is None:
        return "`None`"
    if isinstance(value, str):
        return f"`{value}`"
    if name.endswith("_bytes"):
        return f"{value // MIB} MiB" if value % MIB == 0 else f"{value // 1024} KiB"
    if not name.endswith("_s") or name.endswith("per_s"):
        return f"{value:,g}"
    if 0 < value < 1:
        return f"{value * 1000:g} ms"
    return f"{value / 60:g} min" if value >= 120 else f"{value:g} s"


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda settings: settings.__name__)
def test_the_table_is_the_dataclass(settings: type[Any]) -> None:
    expected = table_of(settings)
    assert expected in (ROOT / "docs/limits.md").read_text(), f"it must have:\n{expected}"
