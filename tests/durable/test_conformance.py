"""The protocol's official conformance suite, against `inkstream serve` on every store."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests import postgres_server
from tests.durable.server import serving

HERE = Path(__file__).parent
PASSED, SKIPPED = 332, 6
"""What version 0.3.6 holds; the six are for subscriptions, which are opt-in and not offered."""


async def _run(*command: str, cwd: Path, environment: dict[str, str] | None = None) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, cwd=cwd, env={**os.environ, **(environment or {})}, stdout=PIPE, stderr=STDOUT
    )
    try:
        out, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()
    return out.decode(errors="replace")


@pytest.fixture(scope="session")
def suite() -> Path:
    """Return the folder of the suite, installed as its lock file says."""
    assert shutil.which("node"), "the conformance suite needs Node.js"
    return HERE


async def _install(suite: Path) -> None:
    lock, installed = suite / "package-lock.json", suite / "node_modules/.package-lock.json"
    if not installed.exists() or installed.stat().st_mtime < lock.stat().st_mtime:
        await _run("npm", "ci", "--prefer-offline", cwd=suite)


@contextlib.asynccontextmanager
async def _database(kind: str, folder: Path) -> AsyncIterator[str]:
    if kind == "memory":
        yield "memory://"
    elif kind == "sqlite":
        yield f"sqlite:///{folder / 'streams.db'}"
    else:
        server = postgres_server.server(postgres_server.versions()[-1])
        url = await server.make_database()
        try:
            yield url
        finally:
            await server.drop_database(url)


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("kind", "workers"),
    [
        pytest.param("memory", 1, marks=pytest.mark.soak),
        pytest.param("sqlite", 1, marks=pytest.mark.soak),
        ("sqlite", 2),
        pytest.param("postgres", 1, marks=pytest.mark.soak),
        pytest.param("postgres", 2, marks=pytest.mark.soak),
    ],
)
async def test_official_suite_passes(kind: str, workers: int, suite: Path, tmp_path: Path) -> None:
    """All of it, none left out but the six: G1, G2, G10 and G11 over the protocol."""
    await _install(suite)
    results = tmp_path / "results.json"
    async with (
        _database(kind, tmp_path) as database,
        serving(
            database,
            *("--workers", str(workers), "--cors-origin", "*", "--long-poll-timeout", "0.5"),
        ) as server,
    ):
        out = await _run(
            *("npx", "vitest", "run", "--reporter=json", f"--outputFile={results}"),
            cwd=suite,
            environment={"INKSTREAM_BASE_URL": server.base_url},
        )
    assert results.exists(), out
    report: dict[str, Any] = json.loads(results.read_text())
    failed = [
        test["fullName"]
        for file in report["testResults"]
        for test in file["assertionResults"]
        if test["status"] == "failed"
    ]
    assert failed == []
    assert (report["numPassedTests"], report["numPendingTests"]) == (PASSED, SKIPPED)
