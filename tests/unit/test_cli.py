"""The `inkstream` command shows its version and its help, and names a missing extra."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version

import pytest

from inkstream import StreamId

WITHOUT = """
import sys
sys.modules[sys.argv.pop(1)] = None
from inkstream.cli import main
main()
"""


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=15, check=False
    )


def test_version() -> None:
    done = run("-c", "from inkstream.cli import main; main()", "--version")
    assert done.returncode == 0
    assert version("inkstream") in done.stdout


def test_missing_extra_is_named_in_one_line() -> None:
    done = run("-c", WITHOUT, "click", "--version")
    assert done.returncode == 1
    assert done.stderr == "inkstream: this needs click; run: pip install 'inkstream[cli]'\n"


def test_other_missing_modules_are_not_hidden() -> None:
    done = run("-c", WITHOUT, "inkstream.cli.commands", "--version")
    assert done.returncode == 1
    assert "ModuleNotFoundError" in done.stderr


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help(flag: str) -> None:
    done = run("-c", "from inkstream.cli import main; main()", flag)
    assert done.returncode == 0
    assert "Usage" in done.stdout


def test_new_id_is_never_a_command_option() -> None:
    """In `inkstream cat $(inkstream write)`, an id that begins with ``-`` would be an option."""
    assert not any(StreamId.generate().startswith("-") for _ in range(2_000))
