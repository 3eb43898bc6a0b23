"""Programs that tests need and pip cannot install.

``scripts/_programs`` installs the programs if possible.
"""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")


def missing(what: str) -> NoReturn:
    """Skip the test, or fail it in CI, where all tests must run."""
    if os.environ.get("CI"):
        pytest.fail(what, pytrace=False)
    pytest.skip(what)


def program(*names: str) -> str:
    """Return the path of the first of these programs that is installed, or call ``missing``."""
    path = f"{os.environ['PATH']}{os.pathsep}/usr/sbin"  # Debian keeps servers in this folder
    found = next((found for name in names if (found := shutil.which(name, path=path))), None)
    return found or missing(f"the program {names[0]} is not installed")
