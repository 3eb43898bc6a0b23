from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from inkstream import HTTPSettings, Limits, PersistentTextStreaming, Timing
from inkstream.http.routes import StreamRoutes
from tests.http.asgi import ShiftedClock


@pytest.fixture
def clock() -> ShiftedClock:
    return ShiftedClock()


@pytest.fixture
async def streams(clock: ShiftedClock) -> AsyncIterator[PersistentTextStreaming]:
    instance = PersistentTextStreaming(
        "memory://",
        clock=clock,
        http=HTTPSettings(),
        limits=Limits(readers_per_stream=5, live_streams_per_owner=2),
        timing=Timing(shutdown_grace_s=0.0),
        allowed_origins=["https://friend.example"],
    )
    async with instance:
        yield instance


@pytest.fixture
def absent_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the server answer 404 at once, and not wait for a stream that may still appear."""
    monkeypatch.setattr("inkstream.http.follow.ABSENT_WAIT_S", 0.0)


@pytest.fixture
def routes(streams: PersistentTextStreaming) -> StreamRoutes:
    return streams.asgi(allow_anonymous=True)
