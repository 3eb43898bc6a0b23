from __future__ import annotations

from pathlib import Path

import pytest

from inkstream import PersistentTextStreaming
from tests.cli.command import Shell


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


@pytest.fixture
def streams(shell: Shell) -> PersistentTextStreaming:
    """Return an instance on the shell's database. The test must start the instance."""
    return PersistentTextStreaming(shell.environment["INKSTREAM_DATABASE"])
