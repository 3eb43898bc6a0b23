"""Fixtures for an application's own tests: ``pytest_plugins = ["inkstream.testing.fixtures"]``."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from inkstream.engine.settings import Timing
from inkstream.facade.streaming import PersistentTextStreaming


@pytest_asyncio.fixture
async def streams() -> AsyncIterator[PersistentTextStreaming]:
    """Give a running instance with streams in memory, gone after the test.

    It does not wait at the end for answers that are still running.
    """
    instance = PersistentTextStreaming("memory://", timing=Timing(shutdown_grace_s=0))
    async with instance:
        yield instance
