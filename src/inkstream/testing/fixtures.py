"""Fixtures for an application's own tests: ``pytest_plugins = ["inkstream.testing.fixtures"]``."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from inkstream.engine.settings import Timing
from inkstream.facade.databases import is_postgres
from inkstream.facade.streaming import PersistentTextStreaming
from inkstream.stores import sqlite as _sqlite  # noqa: F401  (its import must not block a loop)


@pytest.fixture
def inkstream_database(tmp_path: Path) -> str:
    """Return the database of ``streams``: a new SQLite file for each test.

    To use another database, define a fixture of the same name that returns the database's URL. With
    the URL of your application's own database, a test may pass ``connection=`` to write in the
    application's transactions. Streams in ``memory://`` cannot take part in a transaction.
    """
    return f"sqlite:///{tmp_path}/inkstream.db"


@pytest_asyncio.fixture
async def streams(inkstream_database: str) -> AsyncIterator[PersistentTextStreaming]:
    """Provide a running instance on ``inkstream_database``.

    If the database is PostgreSQL, the fixture first creates the schema. At the end of the test, the
    fixture does not wait for running answers.
    """
    if is_postgres(inkstream_database):
        from inkstream.stores.postgres import migrate

        await migrate(inkstream_database)
    instance = PersistentTextStreaming(inkstream_database, timing=Timing(shutdown_grace_s=0))
    async with instance:
        yield instance
