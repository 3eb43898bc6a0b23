from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from inkstream.sync import PersistentTextStreaming, _loop
from tests import postgres_server


@pytest.fixture(autouse=True)
def loop_ends() -> Iterator[None]:
    """Stop ``inkstream.sync`` in the same way as at the end of a process."""
    yield
    _loop._stop()


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/ink.db"


@pytest.fixture
def postgres_url() -> Iterator[str]:
    server = postgres_server.server(postgres_server.versions()[0])
    url = asyncio.run(server.make_database())
    yield url
    _loop._stop()
    asyncio.run(server.drop_database(url))


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest) -> str:
    found: str = request.getfixturevalue(f"{request.param}_url")
    return found


@pytest.fixture
def streams(url: str) -> PersistentTextStreaming:
    return PersistentTextStreaming(url)
