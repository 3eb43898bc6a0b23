from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from inkstream import NotClaimed, Status, WriterFenced, quiet_stop
from inkstream.sync import PersistentTextStreaming, _loop

ROOT = Path(__file__).parents[2]


def test_tasks_stop_quietly_and_continue(tmp_path: Path) -> None:
    """G3, G6: a task does not fail if its stream was stopped, even before the task began.

    A task that continues a stream repeats no text.
    """
    done = subprocess.run(
        [sys.executable, "-m", "tests.frameworks.celery_run"],
        cwd=ROOT,
        env=os.environ
        | {
            "CELERY_BROKER": "memory://",
            "INKSTREAM_DATABASE": f"sqlite:///{tmp_path}/inkstream.db",
        },
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert "all well" in done.stdout, done.stdout + done.stderr
    assert "Traceback" not in done.stderr, done.stderr


@pytest.mark.parametrize("status", ["cancelled", "done", "streaming", None])
def test_a_stop_is_quiet(status: str | None) -> None:
    with quiet_stop():
        raise WriterFenced("one", status, "fenced")


@pytest.mark.parametrize(
    "error",
    [
        WriterFenced("one", "timeout", "fenced"),
        NotClaimed("one", Status.STREAMING, "a living writer"),
        NotClaimed("one", Status.ERROR, "failed"),
        ValueError("of the task"),
    ],
)
def test_a_failure_is_raised(error: Exception) -> None:
    with pytest.raises(type(error)), quiet_stop():
        raise error


def test_a_stopped_stream_skips_the_block(tmp_path: Path) -> None:
    """G6: if a stream is stopped before its task begins, the task skips the ``with`` block."""
    streams = PersistentTextStreaming(f"sqlite:///{tmp_path}/ink.db")
    stream_id = streams.create()
    streams.cancel(stream_id)
    reached = []
    with quiet_stop(), streams.write(stream_id):
        reached.append(1)
    assert not reached
    _loop._stop()
