"""Copies of the library with changes, so that a test can run two versions, as a deploy does."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import inkstream

_ADDED = "CREATE TABLE inkstream.added (a integer);\n"


def make_version(
    folder: Path,
    changes: Mapping[str, tuple[str, str]] | None = None,
    more: Mapping[str, str] | None = None,
) -> Path:
    """Copy the library into ``folder``, and return ``folder``, for ``PYTHONPATH``.

    Args:
        folder: The copy is ``folder/inkstream``.
        changes: For each file to change, a text in it and the text that replaces this text.
        more: Files to add, and their texts.
    """
    where = folder / "inkstream"
    source = Path(inkstream.__file__).parent
    shutil.copytree(source, where, ignore=shutil.ignore_patterns("__pycache__"))
    for name, (before, after) in (changes or {}).items():
        text = (where / name).read_text()
        assert before in text
        (where / name).write_text(text.replace(before, after, 1))
    for name, text in (more or {}).items():
        (where / name).write_text(text)
    return folder


def make_next_version(folder: Path) -> Path:
    """Make a version that has one migration more than this version (see ``make_version``)."""
    return make_version(
        folder,
        {"stores/postgres/_migrate.py": ("VERSION: Final = 1", "VERSION: Final = 2")},
        {
            "stores/postgres/migrations/0002_added.sql": _ADDED,
            "stores/postgres/schema/7_added.sql": _ADDED,
        },
    )
