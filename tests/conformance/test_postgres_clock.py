"""A host whose clock differs from PostgreSQL's clock ends and deletes no stream too early."""

from __future__ import annotations

import time

import pytest

from inkstream._types import Change, End, Group, Query, Status
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


async def test_host_that_is_behind_makes_no_stream_due(
    url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """G7: if the clock of a host is behind, its streams are not ended or deleted too early."""
    right = PostgresStore(url)
    await right.open("right")
    behind = await opened(url, "behind", -HOUR_S, monkeypatch)
    assert "3600 s behind PostgreSQL's" in caplog.text
    now = time.time() - HOUR_S  # the clock of the host shows this time
    await behind.create(new("pending", created_at=now, due_at=now + 600))
    ended = await behind.create(new("ended", created_at=now, due_at=now + 600))
    change = Change(internal_id=ended.internal_id, end=End(Status.DONE), at=now, due_at=now + 600)
    await behind.commit([Group((change,))])
    assert await right.find(Query(due_before=time.time())) == []
    await right.tidy(time.time(), 1024)
    found = await right.find(Query(due_before=None))
    assert {state.stream_id for state in found} == {"pending", "ended"}
    for state in found:
        assert state.due_at == pytest.approx(time.time() + 600, abs=30)
    await behind.close()
    await right.close()


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
