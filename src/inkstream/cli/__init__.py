"""The `inkstream` command. Only this module may be imported where the extra `cli` is missing."""

from __future__ import annotations

import sys
from typing import Final

__all__ = ["main"]

_EXTRAS: Final = {"asyncpg": "postgres", "click": "cli", "httpx": "demo", "uvicorn": "server"}
"""Which extra brings a module that a command needs."""


def main() -> None:
    """Run the command line; say in one line what to install when an extra is missing."""
    try:
        from inkstream.cli.commands import inkstream

        inkstream()
    except ModuleNotFoundError as missing:
        extra = _EXTRAS.get(missing.name or "")
        if extra is None:
            raise
        sys.exit(f"inkstream: this needs {missing.name}; run: pip install 'inkstream[{extra}]'")
