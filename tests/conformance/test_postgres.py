"""Streams in PostgreSQL: the suite, on every version that is supported."""

from __future__ import annotations

from pathlib import Path

import pytest

from inkstream.abc import Store
from inkstream.stores.postgres import PostgresStore
from inkstream.testing import StoreSuite
from tests import postgres_server


class TestPostgresStore(StoreSuite):
    server: postgres_server.Server

    @pytest.fixture(params=postgres_server.versions(), autouse=True)
    def each_version(self, request: pytest.FixtureRequest) -> None:
        self.server = postgres_server.server(request.param)

    async def make_database(self, tmp_path: Path) -> str:
        return await self.server.make_database()

    async def drop_database(self, database: str) -> None:
        await self.server.drop_database(database)

    def make_store(self, database: str) -> Store:
        return PostgresStore(database)
