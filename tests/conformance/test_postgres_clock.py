"""A host whose clock differs from PostgreSQL's clock ends and deletes no stream too early."""

from __future__ import annotations

import time

import pytest

from inkstream import PersistentTextStreaming, Timing
from inkstream._types import KEEP, Kind, Query, StreamId
from inkstream.durable.protocol import renewed
from inkstream.facade.lifespan import SystemClock
from inkstream.stores.postgres import PostgresStore, _store
from inkstream.testing.store_suite.harness import new

HOUR_S = 3600.0


class Shifted:
    """The module ``time`` of a host whose clock differs from the true time by ``by_s``."""

    def __init__(self, by_s: float) -> None:
        self._by_s = by_s

    def time(self) -> float:
        return time.time() + self._by_s


async def opened(
    url: str, name: str, ahead_s: float, monkeypatch: pytest.MonkeyPatch
) -> PostgresStore:
    """Return a store of a host whose clock is ahead by ``ahead_s``."""
    store = PostgresStore(url)
    with monkeypatch.context() as patched:
        patched.setattr(_store, "time", Shifted(ahead_s))
        await store.open(name)
    return store


class Host(SystemClock):
    """The clock of a host. A test may move the wall clock."""

    by_s = 0.0

    def time(self) -> float:
        return time.time() + self.by_s

    wall = time


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Host:
    host = Host()
    monkeypatch.setattr(_store, "time", host)
    return host


async def test_host_that_is_behind_makes_no_stream_due(
    url: str, host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    """G7: a stream of a host whose clock is behind is not ended or deleted too early."""
    host.by_s = -HOUR_S
    timing = Timing(start_within_s=600, retain_s=600)
    async with PersistentTextStreaming(url, clock=host, timing=timing) as streams:
        assert "3600 s behind PostgreSQL's" in caplog.text
        await streams.create("pending")
        await streams.create("ended")
        await streams.cancel("ended")
        now = streams.engine.clock.wall()
        log = new("log", kind=Kind.LOG, created_at=now, ttl_s=600.0, due_at=now + 600)
        await streams.engine.changes.create(log)
        state = await streams.engine.readers.state(StreamId("log"))
        assert renewed(state, now + 300) is not KEEP, "an access renews the time to live"
    right = PostgresStore(url)
    await right.open("right")
    assert await right.find(Query(due_before=time.time())) == []
    await right.tidy(time.time(), 1024)
    found = {state.stream_id: state.due_at for state in await right.find(Query(due_before=None))}
    assert found == {
        "pending": pytest.approx(time.time() + 600, abs=30),
        "ended": pytest.approx(time.time() + 600, abs=30),
        "log": pytest.approx(time.time() + 600, abs=30),
    }
    await right.close()


@pytest.mark.parametrize("before_s", [0.0, -HOUR_S])
async def test_a_jump_back_is_corrected_once(url: str, host: Host, before_s: float) -> None:
    """G7: if a host's clock jumps back, new streams are due neither too early nor too late."""
    host.by_s = before_s
    timing = Timing(start_within_s=600)
    async with PersistentTextStreaming(url, clock=host, timing=timing) as streams:
        store = streams.engine.store
        assert streams.engine.clock.now() is not None
        await streams.create("before")
        host.by_s -= HOUR_S
        await streams.create("at once")
        await store.tidy(0.0, 1024)  # this also compares the clocks
        await streams.create("later")
        for state in await store.find(Query()):
            assert state.due_at == pytest.approx(time.time() + 600, abs=30), state.stream_id


async def test_host_that_is_ahead_finds_no_stream_due(
    url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """G7: PostgreSQL's clock, and not the host's clock, decides whether a stream is due."""
    ahead = await opened(url, "ahead", HOUR_S, monkeypatch)
    assert "3600 s ahead of PostgreSQL's" in caplog.text
    right = PostgresStore(url)
    await right.open("right")
    await right.create(new("s", created_at=time.time(), due_at=time.time() + 600))
    now = time.time() + HOUR_S
    assert await ahead.find(Query(due_before=now)) == []
    await ahead.tidy(now, 1024)
    assert len(await right.find(Query())) == 1
    await ahead.close()
    await right.close()
