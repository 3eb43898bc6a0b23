"""The SQLite store passes the suite that every store must pass."""

from __future__ import annotations

from pathlib import Path

from inkstream.stores.sqlite import SQLiteStore
from inkstream.testing import StoreSuite


class TestSQLiteStore(StoreSuite):
    """The suite tests the guarantees G1-G4, G10 and G11."""

    async def make_database(self, tmp_path: Path) -> Path:
        return tmp_path / "streams.db"

    def make_store(self, database: Path) -> SQLiteStore:
        return SQLiteStore(database)
