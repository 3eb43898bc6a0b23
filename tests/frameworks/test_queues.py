from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from inkstream import Status
from inkstream.sync import _loop
from tests.redis_server import redis_server

ROOT = Path(__file__).parents[2]
Running: TypeAlias = tuple[Any, subprocess.Popen[bytes]]
ANSWER = "You asked: why? Here is a thought about it. "
WORKERS = {
    # ``python -m`` cannot run ``rq.cli``, which has no ``__main__``.
    "rq_chat": ["-c", "from rq.cli.cli import main; main()", "worker", "--with-scheduler"],
    "dramatiq_chat": ["-m", "dramatiq", "dramatiq_chat", "--processes=1", "--threads=2"],
}

pytestmark = [pytest.mark.interop, pytest.mark.timeout(90)]


@pytest.fixture
def redis_url(tmp_path: Path) -> Iterator[str]:
    with redis_server(tmp_path) as url:
        yield url


@pytest.fixture(params=WORKERS)
def running(
    request: pytest.FixtureRequest,
    redis_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Running]:
    monkeypatch.setenv("REDIS_URL", redis_url)
    monkeypatch.setenv("INKSTREAM_DATABASE", f"sqlite:///{tmp_path}/inkstream.db")
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "examples"))
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    sys.modules.pop(request.param, None)
    log = tmp_path / "worker.log"
    environment = os.environ | {"RQ_REDIS_URL": redis_url}
    with log.open("wb") as output:
        worker = subprocess.Popen(
            [sys.executable, *WORKERS[request.param]],
            cwd=tmp_path,
            env=environment,
            stdout=output,
            stderr=output,
        )
    example = importlib.import_module(request.param)
    try:
        yield example, worker
    finally:
        worker.terminate()
        worker.wait(20)
        _loop._stop()
        if hasattr(example, "queue"):
            example.queue.connection.connection_pool.disconnect()
        else:
            example.answer.broker.client.connection_pool.disconnect()
    printed = log.read_text()
    assert "Traceback" not in printed, printed


def order(chat: Any, stream_id: str) -> None:
    if hasattr(chat, "queue"):
        chat.queue.enqueue(chat.answer, stream_id, "why?")
    else:
        chat.answer.send(stream_id, "why?")


def test_jobs_answer_stop_quietly_and_go_on(running: Running) -> None:
    """G3, G6: a job does not fail if its stream was stopped, even before the job began.

    A job that continues a stream repeats no text.
    """
    chat, _ = running
    streams = chat.streams
    early = streams.create(owner="ann")
    streams.cancel(early)
    resumed = streams.create(owner="ann", takeover_within_s=600)
    with streams.write(resumed) as writer:
        writer.append("You as")
        writer.release()
    for stream_id in (early, resumed):
        order(chat, stream_id)
    assert streams.wait(resumed).text == ANSWER
    assert streams.read(early).text == ""

    stopped = chat.ask("ann", "why?")
    for item in streams.follow(stopped):
        if isinstance(item, str):
            streams.cancel(stopped)
    assert streams.read(stopped).status is Status.CANCELLED
    assert streams.wait(chat.ask("ann", "why?")).text == ANSWER
    if hasattr(chat, "queue"):
        assert chat.queue.failed_job_registry.count == 0


@pytest.mark.parametrize("running", ["rq_chat"], indirect=True)
def test_a_killed_job_is_taken_over(running: Running) -> None:
    """G7: RQ retries a job whose process was killed. The job continues after the stored text."""
    chat, worker = running
    stream_id = chat.ask("ann", "why?")
    for item in chat.streams.follow(stream_id):
        if isinstance(item, str):
            break
    children = Path(f"/proc/{worker.pid}/task/{worker.pid}/children").read_text().split()
    # The last child runs the job. The first child is the scheduler.
    os.kill(int(children[-1]), signal.SIGKILL)
    assert chat.streams.wait(stream_id).text == ANSWER
    described = chat.streams.read(stream_id)
    assert described.status is Status.DONE
