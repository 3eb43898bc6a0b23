"""Log lines have stable event names and fields, and do not contain the text of a stream."""

from __future__ import annotations

import asyncio
import logging
import re
from pathlib import Path

import pytest

from inkstream import Status
from inkstream._events import LogEvent
from inkstream.testing import ScriptedSource, in_virtual_time
from tests.simulation.cluster import cluster

ROOT = Path(__file__).parents[2]


def lines(caplog: pytest.LogCaptureFixture, event: LogEvent) -> list[logging.LogRecord]:
    return [record for record in caplog.records if getattr(record, "event", None) == event]


def test_every_event_is_documented_and_used() -> None:
    text = (ROOT / "docs/operations.md").read_text().partition("## Logs")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `(\w+)`", text, re.MULTILINE)) == set(LogEvent)
    source = "".join(path.read_text() for path in (ROOT / "src/inkstream").rglob("*.py"))
    assert [event for event in LogEvent if f"LogEvent.{event.name}" not in source] == []


@in_virtual_time
async def test_one_log_line_per_end(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "inkstream")
    async with cluster() as made:
        here, there = await made.add(), await made.add()
        for name in ("done", "failed", "stopped"):
            source = ScriptedSource()
            await here.streams.create(name, owner="ann")
            here.streams.start(name, source)
            await asyncio.sleep(0.5)
            await source.send("secret ✓")
            await asyncio.sleep(1)
            if name == "done":
                await source.finish()
            elif name == "failed":
                await source.fail(ValueError("secret"))
            else:
                await there.streams.cancel(name)
            await asyncio.sleep(3)
    done, failed, stopped = lines(caplog, LogEvent.STREAM_ENDED)
    assert (
        vars(done).items()
        >= {
            "stream_id": "done",
            "owner": "ann",
            "status": "done",
            "code": None,
            "writer": here.name,
            "characters": 8,
            "readers": 0,
        }.items()
    )
    assert done.first_piece_s == pytest.approx(0.5, abs=0.1)  # type: ignore[attr-defined]
    assert done.duration_s == pytest.approx(1.5, abs=0.3)  # type: ignore[attr-defined]
    assert (done.levelno, failed.levelno) == (logging.INFO, logging.WARNING)
    assert (failed.status, failed.code) == (Status.ERROR, "internal")  # type: ignore[attr-defined]
    assert (stopped.status, stopped.writer) == ("cancelled", here.name)  # type: ignore[attr-defined]
    assert stopped.characters is None, "the logging process did not write it"  # type: ignore[attr-defined]
    assert len(lines(caplog, LogEvent.SOURCE_FAILED)) == 1
    assert [line.stream_id for line in lines(caplog, LogEvent.WRITER_FENCED)] == ["stopped"]  # type: ignore[attr-defined]
    assert "secret ✓" not in caplog.text


@in_virtual_time
async def test_a_death_and_an_outage(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "inkstream")
    async with cluster() as made:
        here, there = await made.add(), await made.add()
        source = ScriptedSource()
        for worker, names in ((here, "ab"), (there, "c")):
            for name in names:
                await worker.streams.create(name)
                worker.streams.start(name, source if name == "c" else ScriptedSource())
        await asyncio.sleep(1)
        there.store.away = True
        await source.send("waits")
        await asyncio.sleep(5)
        there.store.away = False
        await asyncio.sleep(3)
        here.kill()
        await asyncio.sleep(5)
    (away,) = lines(caplog, LogEvent.STORE_AWAY)
    (back,) = lines(caplog, LogEvent.STORE_BACK)
    assert back.away_s == pytest.approx(5, abs=1.5)  # type: ignore[attr-defined]
    assert away.created <= back.created
    (dead,) = lines(caplog, LogEvent.WORKER_DEAD)
    assert (dead.worker, dead.streams) == (here.name, 2)  # type: ignore[attr-defined]
    ends = lines(caplog, LogEvent.STREAM_ENDED)
    assert [end.code for end in ends if end.status == "timeout"] == ["writer_lost"] * 2  # type: ignore[attr-defined]
