"""`inkstream serve` passes the official suite of the Durable Streams protocol on each store."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests import postgres_server
from tests.durable import nodejs
from tests.durable.server import serving

pytestmark = pytest.mark.interop

PASSED, SKIPPED = 332, 6
"""How many tests of the suite's version 0.3.6 must pass, and how many test subscriptions.

inkstream has no subscriptions, so the suite skips these tests.
"""


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
async def test_official_suite_passes(kind: str, workers: int, tmp_path: Path) -> None:
    """G1, G2, G10, G11: all tests of the suite pass, except the tests for subscriptions."""
    results = tmp_path / "results.json"
    async with (
        _database(kind, tmp_path) as database,
        serving(
            database,
            *("--workers", str(workers), "--cors-origin", "*", "--long-poll-timeout", "0.5"),
        ) as server,
    ):
        out = await nodejs.output(
            "node_modules/vitest/vitest.mjs",
            *("run", "--reporter=json", f"--outputFile={results}"),
            environment={"INKSTREAM_BASE_URL": server.base_url},
        )
    assert results.exists(), out
    report: dict[str, Any] = json.loads(results.read_text())
    failed = [
        (test["fullName"], test["failureMessages"])
        for file in report["testResults"]
        for test in file["assertionResults"]
        if test["status"] == "failed"
    ]
    assert failed == []
    assert (report["numPassedTests"], report["numPendingTests"]) == (PASSED, SKIPPED)
