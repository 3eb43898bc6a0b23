"""Fixtures that several files share."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests import postgres_server


@pytest.fixture
async def url() -> AsyncIterator[str]:
    """Provide the URL of a new PostgreSQL database with the schema."""
    server = postgres_server.server(postgres_server.versions()[0])
    url = await server.make_database()
    yield url
    await server.drop_database(url)
