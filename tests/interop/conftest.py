from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def installed() -> str:
    """Build the npm package and install the clients. Return the path of ``resumingFetch``."""
    for what in ("package", "interop"):
        command = [sys.executable, f"{ROOT}/scripts/_javascript.py", what]
        subprocess.run(command, check=True, timeout=300)
    return str(ROOT / "js" / "dist" / "fetch.js")
