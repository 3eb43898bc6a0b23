"""The servers in JavaScript, with what their lockfile names."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

_FOLDER = Path(__file__).parent / "node_server"

MISSING = "there is no node and npm here; https://nodejs.org/"


def is_installed() -> bool:
    return shutil.which("node") is not None and shutil.which("npm") is not None


def command(name: str) -> list[str]:
    """Return what runs a server; its packages are installed first, when they are not yet."""
    lock, installed = _FOLDER / "package-lock.json", _FOLDER / "node_modules/.package-lock.json"
    if not installed.exists() or installed.stat().st_mtime < lock.stat().st_mtime:
        subprocess.run(["npm", "ci", "--silent"], cwd=_FOLDER, check=True)
    return ["node", str(_FOLDER / name)]
