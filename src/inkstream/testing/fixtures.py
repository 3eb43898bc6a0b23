"""Fixtures for an application's own tests: ``pytest_plugins = ["inkstream.testing.fixtures"]``."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from inkstream.engine.settings import Timing
from inkstream.facade.databases import is_postgres
from inkstream.facade.streaming import PersistentTextStreaming
from inkstream.stores import sqlite as _sqlite  # noqa: F401  (reads its files before a loop runs)


@pytest.fixture
def inkstream_database(tmp_path: Path) -> str:
    """Name the database of ``streams``: a new SQLite file for each test.

    Define a fixture of this name to test on another: your application's own file or PostgreSQL,
    where ``connection=`` shares its transactions, or ``memory://``, which takes no ``connection=``.
    """
    return f"sqlite:///{tmp_path}/inkstream.db"


@pytest_asyncio.fixture
async def streams(inkstream_database: str) -> AsyncIterator[PersistentTextStreaming]:
    """Give a running instance on ``inkstream_database``; PostgreSQL's schema is made first.

    It does not wait at the end for answers that are still running.
    """
    if is_postgres(inkstream_database):
        from inkstream.stores.postgres import migrate

        await migrate(inkstream_database)
    instance = PersistentTextStreaming(inkstream_database, timing=Timing(shutdown_grace_s=0))
    async with instance:
        yield instance
