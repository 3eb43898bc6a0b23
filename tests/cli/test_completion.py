"""Completion in real shells, set up with the lines that docs/cli.md gives."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.prerequisites import program

PAGE = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()

BASH = """
complete_words() {
    COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
    _inkstream_completion inkstream; printf '%s\\n' "${COMPREPLY[@]}"
}
complete -p inkstream >/dev/null && """


def run(*command: str) -> list[str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command, capture_output=True, text=True, env=os.environ | {"PATH": path}, timeout=30
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()


def setup(shell: str) -> str:
    (line,) = re.findall(rf'`(eval "\$\(_INKSTREAM_COMPLETE={shell}_source inkstream\)")`', PAGE)
    return str(line)


def in_bash(*words: str) -> list[str]:
    typed = " ".join(f"'{word}'" for word in words)
    bash = program("bash")
    return run(bash, "--norc", "-c", f"{setup('bash')}{BASH}complete_words {typed}")


def test_bash() -> None:
    assert in_bash("inkstream", "sh") == ["show"]
    assert {"ls", "doctor", "verify"} <= set(in_bash("inkstream", ""))
    assert in_bash("inkstream", "ls", "--own") == ["--owner"]
    assert in_bash("inkstream", "ls", "--status", "str") == ["streaming"]


def test_fish() -> None:
    assert "_INKSTREAM_COMPLETE=fish_source inkstream >" in PAGE
    script = "_INKSTREAM_COMPLETE=fish_source inkstream | source; complete -C 'inkstream sh'"
    assert run(program("fish"), "--no-config", "-c", script)[0] == "show"


def test_zsh() -> None:
    """Call inkstream as zsh's completion does, because the completion itself needs a terminal."""
    assert "`zsh_source` to `~/.zshrc`" in PAGE
    source = 'eval "$(_INKSTREAM_COMPLETE=zsh_source inkstream)"'
    loaded = f"autoload -U compinit; compinit -D; {source}; whence -w _inkstream_completion"
    assert run(program("zsh"), "-f", "-c", loaded)[-1] == "function"
    asked = "COMP_WORDS='inkstream sh' COMP_CWORD=1 _INKSTREAM_COMPLETE=zsh_complete inkstream"
    assert run(program("zsh"), "-f", "-c", asked)[:2] == ["plain", "show"]
