"""Installs the servers that are written in JavaScript, and returns the commands that run them."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path

_HERE = Path(__file__).parent
_INSTALL = str(_HERE.parent / "scripts" / "_javascript.py")


@functools.cache
def is_installed() -> bool:
    """Install the packages of the servers; return whether this succeeded."""
    return subprocess.run([sys.executable, _INSTALL, "servers"]).returncode == 0


def command(script: str) -> list[str]:
    places = os.pathsep.join([os.environ["PATH"], str(Path(sys.executable).parent)])
    node = shutil.which("node", path=places) if is_installed() else None
    if node is None:
        raise RuntimeError(f"{script} needs Node.js and what benchmarks/node_server names")
    return [node, str(_HERE / "node_server" / script)]
