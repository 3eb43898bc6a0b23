from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests import postgres_server


@pytest.fixture
async def url() -> AsyncIterator[str]:
    server = postgres_server.server(postgres_server.versions()[0])
    url = await server.make_database()
    yield url
    await server.drop_database(url)
