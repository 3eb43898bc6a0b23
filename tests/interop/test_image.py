"""Runs the steps of deploy/Dockerfile without building an image."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.http.servers import free_port
from tests.http.test_deploy import ready
from tests.prerequisites import missing, program

pytestmark = pytest.mark.interop

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text()


def as_user(folder: Path) -> list[str]:
    """Return the command prefix that runs a command as the image's user.

    In a new user namespace, root gets the image's user id and loses its special rights. So root
    still owns the files, but cannot write to a file that is read-only.
    """
    if os.geteuid() != 0:
        return []
    (user,) = re.findall(r"^USER (\d+)$", DOCKERFILE, re.MULTILINE)
    command = [program("unshare"), "-U", f"--map-user={user}", f"--map-group={user}"]
    tried = subprocess.run([*command, "id", "-u"], capture_output=True, text=True, cwd=folder)
    if tried.stdout.strip() != user:
        missing(f"no user namespaces here: {tried.stderr}")
    return command


@pytest.fixture
def image() -> Iterator[Path]:
    """Make the folder that the last stage of the image has at /app."""
    with tempfile.TemporaryDirectory() as folder:
        source, app = Path(folder, "src"), Path(folder, "app")
        (copied,) = (
            line.split()[1:-1]
            for line in DOCKERFILE.splitlines()
            if line.startswith("COPY pyproject.toml")
        )
        source.mkdir()
        for name in copied:
            shutil.copy(ROOT / name, source)
        shutil.copytree(ROOT / "src", source / "src")
        subprocess.run([sys.executable, "-m", "venv", app / "venv"], check=True)
        (what,) = re.findall(r"pip install --no-cache-dir \"(.*?)\"", DOCKERFILE)
        pip = [app / "venv/bin/pip", "install", "--quiet", "--no-cache-dir", what]
        subprocess.run(pip, cwd=source, check=True)
        shutil.copy(ROOT / "deploy" / "app.py", app)
        for path in (app, *app.rglob("*")):
            if not path.is_symlink():
                path.chmod(path.stat().st_mode & ~0o222)
        yield app
        for path in (app, *app.rglob("*")):
            if path.is_dir() and not path.is_symlink():
                path.chmod(0o755)


@pytest.mark.timeout(300)
def test_it_serves(image: Path, tmp_path: Path) -> None:
    """G8: the server works and ends on SIGTERM, although its user may not change the image."""
    (line,) = re.findall(r"^CMD (.*)$", DOCKERFILE, re.MULTILINE)
    port = str(free_port())
    name, *words = [{"8000": port, "0.0.0.0": "127.0.0.1"}.get(w, w) for w in json.loads(line)]
    environment = {
        "INKSTREAM_DATABASE": f"sqlite:///{tmp_path}/s.db",
        "PATH": f"{image / 'venv/bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    user = as_user(image)
    refused = subprocess.run([*user, "touch", image / "new"], capture_output=True, cwd=image)
    assert refused.returncode != 0
    before = sorted(image.rglob("*"))
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [*user, str(image / "venv/bin" / name), *words],
            cwd=image,
            env=environment,
            stdout=log,
            stderr=log,
        )
    try:
        assert ready(f"http://127.0.0.1:{port}/health/ready", process), (
            tmp_path / "log"
        ).read_text()
        assert httpx.get(f"http://127.0.0.1:{port}/health/live").status_code == 200
        listed = [str(image / "venv/bin/inkstream"), "ls", "--database"]
        subprocess.run(
            [*user, *listed, environment["INKSTREAM_DATABASE"]], check=True, env=environment
        )
        process.send_signal(signal.SIGTERM)
        # When uvicorn ends, it raises the signal again, so the exit code may be the signal's.
        assert process.wait(30) in (0, -signal.SIGTERM)
        assert "Application shutdown complete" in (tmp_path / "log").read_text()
    finally:
        process.kill()
        process.wait()
    assert sorted(image.rglob("*")) == before, "the server wrote a file beside its code"
