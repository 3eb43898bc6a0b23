"""The npm package as one file, for pages without a build step."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from starlette.staticfiles import StaticFiles

FOLDER: Final = Path(__file__).parent / "static"


def browser_files() -> StaticFiles:
    """Return an ASGI app that serves ``inkstream.min.js``: ``app.mount("/inkstream", …)``.

    The script defines the element ``<ink-stream src="…">`` and a global ``inkstream`` with
    ``createClient``. The app checks no permission, because the script contains no secrets.
    """
    return StaticFiles(directory=FOLDER)
