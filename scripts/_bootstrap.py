"""Prepare `.venv` at the repository root for a script: create it, and install missing packages.

Usage: python scripts/_bootstrap.py demo|dev

`demo` installs inkstream with the packages that the demo and the examples need; `dev` adds the
tools of tests and checks. The versions are those in requirements/, which `scripts/lock` writes. If
uv is available, uv installs the packages; otherwise pip does. This script uses only the standard
library, because it runs before anything is installed. After an installation, the script writes the
hash that ``stamp`` returns into .venv. If this hash is still correct, the script does nothing.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
LOCKS = ROOT / "requirements"
QUIET_S = 10.0


def main(purpose: str) -> None:
    want = stamp()
    if is_fresh(purpose, want):
        return
    with only_one_at_a_time():
        if is_fresh(purpose, want):  # the script that held the lock has installed everything
            return
        if not is_usable():
            if VENV.is_symlink():
                sys.exit("setup: .venv is a symbolic link, and setting up would empty its target")
            say(f"creating .venv with Python {version()}")
            run([*make_environment(), str(VENV)], "creating .venv")
        say("installing inkstream and what it needs (the first time, this takes a minute or two)")
        run([*install(), "--requirement", str(LOCKS / f"{purpose}.txt")], "installing")
        run([*install(), "--no-deps", "--editable", str(ROOT)], "installing inkstream")
        stamp_file(purpose).write_text(want)
        say("ready")


def make_environment() -> list[str]:
    """Return the command that creates an environment with pip."""
    if uv := shutil.which("uv"):
        return [uv, "venv", "--quiet", "--seed", "--clear", "--python", sys.executable]
    return [sys.executable, "-m", "venv", "--clear"]


def install() -> list[str]:
    """Return the command that installs packages into the environment."""
    if uv := shutil.which("uv"):
        return [uv, "pip", "install", "--python", str(PYTHON)]
    return [str(PYTHON), "-m", "pip", "--disable-pip-version-check", "--no-input", "install"]


def version() -> str:
    return ".".join(map(str, sys.version_info[:3]))


def stamp() -> str:
    """Return a hash of what an environment depends on: project file, versions, Python, path."""
    files = [ROOT / "pyproject.toml", *sorted(LOCKS.glob("*.txt"))]
    facts = [*[file.read_bytes() for file in files], minor().encode(), str(ROOT).encode()]
    return hashlib.sha256(b"\0".join(facts)).hexdigest()


def minor() -> str:
    return f"{sys.version_info[0]}.{sys.version_info[1]}"


def stamp_file(purpose: str) -> Path:
    return VENV / f"installed-{purpose}"


def is_fresh(purpose: str, want: str) -> bool:
    stamps = [stamp_file(purpose), stamp_file("dev")]  # `dev` installs everything that `demo` needs
    found = [file.read_text() for file in stamps if file.exists()]
    return PYTHON.exists() and want in found


def is_usable() -> bool:
    """Return whether the environment has this Python and pip, and was created at this path."""
    probe = f"import pip, sys; sys.exit(sys.version_info[:2] != {sys.version_info[:2]})"
    try:
        moved = str(VENV) not in (VENV / "pyvenv.cfg").read_text()
        return (
            not moved and not subprocess.run([PYTHON, "-c", probe], capture_output=True).returncode
        )
    except OSError:
        return False


@contextlib.contextmanager
def only_one_at_a_time() -> Iterator[None]:
    """Hold a lock that ends with the process, so that a killed script blocks no later script."""
    with (ROOT / ".venv.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another script that is setting up .venv")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def run(command: list[str], doing: str, cwd: Path | None = None) -> None:
    """Run a command; show its last line while it runs, and its last lines if it fails."""
    started = shown = time.monotonic()
    last_lines: deque[str] = deque(maxlen=30)
    with subprocess.Popen(
        command,
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        assert process.stdout is not None
        for line in map(str.strip, process.stdout):
            last_lines.append(line)
            now = time.monotonic()
            if sys.stderr.isatty():
                width = os.get_terminal_size(sys.stderr.fileno()).columns or 80
                text = f"setup: {doing}, {now - started:.0f} s: {line}"
                print(f"\r\x1b[K{text[: width - 1]}", end="", file=sys.stderr, flush=True)
            elif now - shown >= QUIET_S:
                shown = now
                say(f"{doing}, {now - started:.0f} s: {line[:80]}")
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)
    if process.returncode:
        print(*last_lines, sep="\n", file=sys.stderr)
        sys.exit(f"setup: {doing} failed (exit code {process.returncode}); the reason is above")


def say(line: str) -> None:
    print(f"setup: {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
