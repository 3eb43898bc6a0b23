"""The result of a benchmark: a table for people, JSON for programs, and facts about the machine."""

from __future__ import annotations

import json
import os
import platform
import sqlite3
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

_PACKAGES = ("uvicorn", "uvloop", "httptools", "starlette")


@dataclass
class Report:
    """A benchmark's rows, and its ratios against their targets.

    Attributes:
        title: What was measured.
        rows: One dictionary per line of the table.
        ratios: Name, measured ratio, target (``"<= 1.3"`` or ``">= 1.5"``).
        notes: Facts that are needed to understand the figures.
    """

    title: str
    rows: list[dict[str, Any]] = field(default_factory=list)
    ratios: list[tuple[str, float, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def table(self) -> str:
        lines = [self.title]
        if self.rows:
            names = list(self.rows[0])
            cells = [names, *[[_show(row.get(name)) for name in names] for row in self.rows]]
            widths = [max(len(row[i]) for row in cells) for i in range(len(names))]
            for row in cells:
                first = row[0].ljust(widths[0])
                rest = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
                lines.append("  ".join(["", first, *rest]))
        for name, found, target in self.ratios:
            word = "met" if meets(found, target) else "MISSED"
            lines.append(f"  {name}: {_show(found)} (target {target}: {word})")
        return "\n".join([*lines, *[f"  {note}" for note in self.notes]])

    def json(self) -> str:
        ratios = [
            {"name": name, "found": found, "target": target, "met": meets(found, target)}
            for name, found, target in self.ratios
        ]
        return json.dumps(
            {
                "title": self.title,
                "environment": environment(),
                "rows": self.rows,
                "ratios": ratios,
                "notes": self.notes,
            },
            indent=2,
        )


def meets(found: float, target: str) -> bool:
    sign, _, bound = target.partition(" ")
    return found <= float(bound) if sign == "<=" else found >= float(bound)


def environment() -> dict[str, Any]:
    found: dict[str, Any] = {
        "date": datetime.now(UTC).date().isoformat(),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "system": f"{platform.system()} {platform.machine()}",
    }
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _show(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
