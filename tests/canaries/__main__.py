"""Removes guards from a copy of the code, one at a time. Without a guard, its test must fail."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.canaries import CANARIES, ROOT, Canary

_LIMIT_S: Final = 300
_FAILED: Final = re.compile(r"^FAILED (\S+)", re.MULTILINE)
_FAILURES: Final = 1
"""pytest's exit code for failed tests. Other errors, such as a failed import, have other codes."""


def main(names: Sequence[str]) -> int:
    """Run the canaries in ``names``, or all canaries if it is empty. Return the exit code."""
    unknown = set(names) - {canary.name for canary in CANARIES}
    if unknown:
        sys.stderr.write(f"canaries: there is no {', '.join(sorted(unknown))}\n")
        return 2
    chosen = [canary for canary in CANARIES if not names or canary.name in names]
    with tempfile.TemporaryDirectory(prefix="inkstream-canaries-") as folder:
        copy = Path(folder)
        make_copy(copy)
        _show(f"{len(chosen)} canaries: their tests, with every guard in place")
        green = run_tests(copy, sorted({canary.test for canary in chosen}))
        if green.returncode:
            _show("")
            sys.stderr.write(green.stdout + "\ncanaries: these tests fail with every guard\n")
            return 1
        width = max(len(canary.name) for canary in chosen)
        bad = 0
        for number, canary in enumerate(chosen, 1):
            _show(f"{number}/{len(chosen)}: without {canary.name}")
            seconds, verdict = try_without(copy, canary)
            bad += not verdict.startswith("red")
            _show("")
            row = f"{canary.guarantee:8} {canary.name:{width}} {seconds:5.1f} s  {verdict}\n"
            sys.stdout.write(row)
            sys.stdout.flush()  # this shows each row at once, because rows are minutes apart
    sys.stdout.write(f"{len(chosen) - bad} red, {bad} not\n")
    return int(bad > 0)


def make_copy(copy: Path) -> None:
    made = shutil.ignore_patterns("__pycache__", "node_modules", ".*")
    for folder in ("src", "tests"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=made)
    shutil.copy(ROOT / "pyproject.toml", copy)


def run_tests(copy: Path, tests: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run tests in the copy, against the package in the copy."""
    environment = {**os.environ, "PYTHONPATH": str(copy / "src"), "INKSTREAM_TIER": "test"}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
    try:
        return subprocess.run(
            command,
            cwd=copy,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=_LIMIT_S * len(tests),
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, -1, "the tests did not end in time")


def try_without(copy: Path, canary: Canary) -> tuple[float, str]:
    """Run a guard's test without the guard. Return the seconds and the result."""
    began = time.monotonic()
    with taken_out(copy, canary):
        done = run_tests(copy, [canary.test])
    seconds = time.monotonic() - began
    failed = _FAILED.search(done.stdout)
    if done.returncode == _FAILURES and failed is not None:
        return seconds, f"red: {failed[1].rpartition('::')[2]}"
    if done.returncode == 0:
        return seconds, f"GREEN: {canary.test} does not miss it"
    return seconds, "BROKEN: " + " | ".join(done.stdout.splitlines()[-5:])


@contextmanager
def taken_out(copy: Path, canary: Canary) -> Iterator[None]:
    """Remove a guard from the copy until the block ends."""
    file = copy / canary.path
    text = file.read_text()
    if text.count(canary.old) != 1:
        raise SystemExit(
            f"canaries: {canary.name}: its text does not occur exactly once in {canary.path}"
        )
    _write(file, text.replace(canary.old, canary.new))
    try:
        yield
    finally:
        _write(file, text)


def _write(file: Path, text: str) -> None:
    file.write_text(text)
    # Python recompiles a source only if its size or its time, in whole seconds, has changed. Two
    # quick writes may change neither, and then Python would run the old compiled module.
    for compiled in (file.parent / "__pycache__").glob(f"{file.stem}.*.pyc"):
        compiled.unlink()


def _show(text: str) -> None:
    if sys.stdout.isatty():
        sys.stdout.write(f"\r\x1b[K{text}")
        sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
