"""Provides a mount for the Durable Streams protocol on each store, and a clock for the tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from inkstream import PersistentTextStreaming
from inkstream.stores import sqlite as _sqlite  # noqa: F401 - it reads files before a loop runs
from tests import postgres_server
from tests.durable.mount import client_of
from tests.http.asgi import ShiftedClock


@pytest.fixture(params=["memory", "sqlite", "postgres"])
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    if request.param == "memory":
        yield "memory://"
    elif request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'streams.db'}"
    else:
        server = postgres_server.server(postgres_server.versions()[0])
        url = await server.make_database()
        yield url
        await server.drop_database(url)


@pytest.fixture
def clock() -> ShiftedClock:
    return ShiftedClock()


@pytest.fixture
async def streams(database: str, clock: ShiftedClock) -> AsyncIterator[PersistentTextStreaming]:
    async with PersistentTextStreaming(database, clock=clock) as instance:
        yield instance


@pytest.fixture
async def client(streams: PersistentTextStreaming) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(streams.durable_streams(allow_anonymous=True)) as made:
        yield made
