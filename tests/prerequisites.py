"""What tests take of the machine that pip cannot install, and what happens where it is missing.

``scripts/_programs`` installs what it can.
"""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")


def missing(what: str) -> NoReturn:
    """Skip a test on a laptop, and fail it in CI, where everything must have run."""
    if os.environ.get("CI"):
        pytest.fail(what, pytrace=False)
    pytest.skip(what)


def program(*names: str) -> str:
    """Return where the first of these programs is that is installed."""
    path = f"{os.environ['PATH']}{os.pathsep}/usr/sbin"  # where Debian keeps servers
    found = next((found for name in names if (found := shutil.which(name, path=path))), None)
    return found or missing(f"the program {names[0]} is not installed")
