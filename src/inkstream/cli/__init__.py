"""The `inkstream` command. This module needs no extra, so that it can name a missing extra."""

from __future__ import annotations

import sys
from typing import Final

__all__ = ["main"]

_EXTRAS: Final = {"asyncpg": "postgres", "click": "cli", "httpx": "demo", "uvicorn": "server"}
"""For each module that a command needs, the name of the extra that installs the module."""


def main() -> None:
    """Run the command line. If an extra is missing, say in one line what to install."""
    try:
        from inkstream.cli.commands import inkstream

        inkstream()
    except ModuleNotFoundError as missing:
        extra = _EXTRAS.get(missing.name or "")
        if extra is None:
            raise
        sys.exit(f"inkstream: this needs {missing.name}; run: pip install 'inkstream[{extra}]'")
