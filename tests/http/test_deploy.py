from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import httpx

from tests.http.servers import free_port

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text()


def test_extras() -> None:
    """Every extra that the image installs and every file that the image copies exists."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (extras,) = re.findall(r'install --no-cache-dir "\.\[(.*?)\]"', DOCKERFILE)
    assert set(extras.split(",")) <= set(project["optional-dependencies"])
    for names in re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, re.MULTILINE):
        assert all((ROOT / name).exists() for name in names.split())


def test_command(tmp_path: Path) -> None:
    """The image's command answers health probes and ends on SIGTERM (G8).

    It writes no file into its own folder.
    """
    (line,) = re.findall(r"^CMD (.*)$", DOCKERFILE, re.MULTILINE)
    files = set((ROOT / "deploy").iterdir())
    port = str(free_port())
    command = [{"8000": port, "0.0.0.0": "127.0.0.1"}.get(word, word) for word in json.loads(line)]
    process = subprocess.Popen(
        [sys.executable, "-m", *command],
        cwd=ROOT / "deploy",
        env=os.environ
        | {"INKSTREAM_DATABASE": f"sqlite:///{tmp_path}/s.db", "PYTHONDONTWRITEBYTECODE": "1"},
        stderr=subprocess.DEVNULL,
    )
    try:
        address = f"http://127.0.0.1:{port}"
        assert ready(f"{address}/health/ready", process)
        assert httpx.get(f"{address}/health/live").status_code == 200
        assert httpx.get(f"{address}/doctor/echo").status_code == 403
        process.send_signal(signal.SIGTERM)
        process.wait(15)
    finally:
        process.kill()
        process.wait()
    assert set((ROOT / "deploy").iterdir()) == files


def ready(url: str, process: subprocess.Popen[bytes]) -> bool:
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(url).status_code == 200:
                return True
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    return False
