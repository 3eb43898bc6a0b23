"""The PostgreSQL store passes the store suite, on every supported version."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import asyncpg
import pytest

from inkstream.abc import Store
from inkstream.stores.postgres import PostgresStore
from inkstream.testing import StoreSuite
from inkstream.testing.store_suite.harness import append, messages_of, new, pages_of
from tests import postgres_server

_MOVE = """
WITH moved AS (
    DELETE FROM inkstream.live l WHERE l.internal_id = $1 AND l.position < $2 RETURNING *
)
INSERT INTO inkstream.segments SELECT * FROM moved
"""


class TestPostgresStore(StoreSuite):
    server: postgres_server.Server
    free: ClassVar[dict[postgres_server.Server, list[str]]] = {}  # the tests share a few databases

    @pytest.fixture(params=postgres_server.versions(), autouse=True)
    def each_version(self, request: pytest.FixtureRequest) -> None:
        self.server = postgres_server.server(request.param)

    async def make_database(self, tmp_path: Path) -> str:
        free = self.free.setdefault(self.server, [])
        return free.pop() if free else await self.server.make_database()

    async def drop_database(self, database: str) -> None:
        await self.server.empty_database(database)
        self.free[self.server].append(database)

    def make_store(self, database: str) -> Store:
        return PostgresStore(database)

    async def test_small_segments_are_merged(self, database: str, store: Store) -> None:
        """G2: a read returns all messages in order, from the tables ``segments`` and ``live``."""
        state = await store.create(new())
        for number in range(30):
            await append(store, state, f"{number} ")
        connection = await asyncpg.connect(database)
        await connection.execute(_MOVE, state.internal_id, 20)
        await connection.close()
        for after in (0, 5, 19, 20, 25):
            for max_bytes in (1, 9, 1000):
                pages = await pages_of(store, "s", after, max_bytes)
                assert messages_of(pages, after) == [f"{n} " for n in range(after, 30)]
