"""G7: the application's own code blocks the event loop of a healthy process."""

from __future__ import annotations

import asyncio
import re
import time

import pytest

from tests.crash.conftest import Lateness, Process, Spawn
from tests.crash.worker import LEASE_S, STALL_S

pytestmark = pytest.mark.timeout(60)


async def writing(process: Process, name: str) -> int:
    await process.do("create", name)
    return process.begin("start", name)


@pytest.mark.timeout(120)
async def test_a_blocked_loop_ends_nothing(
    spawn: Spawn, timing: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """G7: a thread beats while the event loop is blocked.

    So a block that is shorter than ``stall_s`` ends no stream.
    """
    blocked_s = {"short": LEASE_S + 3, "default": 50.0}[timing]
    a, b = await asyncio.gather(spawn(timing=timing), spawn(timing=timing))
    source = await writing(a, "blocked")
    following = b.begin("follow", "blocked")
    await a.do("say", "blocked", "before ")
    await b.heard(following, "before ")
    async with Lateness() as machine:
        blocking = a.begin("block", blocked_s)
        assert await a.told(blocking) == ["blocks"]
        began = time.monotonic()
        assert await a.told(blocking, within_s=blocked_s + 10) == ["done", None]
        assert time.monotonic() - began > blocked_s - 1 - machine.late_s
    await a.do("say", "blocked", "after", None)
    await b.heard(following, "after")
    assert await b.told(following) == ["end", "done", None]
    assert await a.told(source) == ["closed"]
    said = capfd.readouterr().err
    assert re.search(r"the event loop has been blocked for 1\.\d s", said)
    assert "in do_block" in said
    assert "time.sleep(seconds)" in said


async def test_long_blocked_loop_lets_its_streams_go(spawn: Spawn) -> None:
    """G7, G3: after ``stall_s``, a blocked worker's thread releases the lock of the worker.

    Then another worker ends the streams of the blocked worker. The store refuses the blocked
    worker's later appends.
    """
    a, b = await asyncio.gather(spawn(), spawn())
    source = await writing(a, "stuck")
    following = b.begin("follow", "stuck")
    await a.do("say", "stuck", "before")
    await b.heard(following, "before")
    blocking = a.begin("block", STALL_S + 6)
    assert await a.told(blocking) == ["blocks"]
    began = time.monotonic()
    async with Lateness() as machine:
        told_at, *end = await b.told_at(following, within_s=STALL_S + 12)
    assert end == ["end", "timeout", "writer_lost"]
    assert STALL_S - 1 < told_at - began < STALL_S + 4 + machine.late_s
    assert await a.told(blocking, within_s=20) == ["done", None]
    a.begin("say", "stuck", "after")
    assert await a.told(source) == ["closed"]
    assert await b.do("read", "stuck") == ["timeout", "writer_lost", "before"]


async def test_a_source_that_blocks_is_named(
    spawn: Spawn, capfd: pytest.CaptureFixture[str]
) -> None:
    a = await spawn()
    await a.do("block_in_source", "clumsy", 2.5)
    assert await a.do("read", "clumsy") == ["done", None, "before"]
    said = capfd.readouterr().err
    assert said.count("has been blocked for 1") == 1
    assert "by the source of stream 'clumsy'" in said
    assert "the event loop runs again" in said
