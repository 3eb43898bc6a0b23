"""Runs the Celery example with a worker in this process. ``test_celery`` reads the output."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

from celery.contrib.testing.worker import start_worker
from celery.result import AsyncResult

from inkstream import Status

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))
celery_chat: Any = importlib.import_module("celery_chat")


def main() -> None:
    """Run four tasks: a whole answer, an answer that goes on, and two answers that are stopped."""
    celery_chat.app.conf.result_backend = "cache+memory://"
    streams = celery_chat.streams

    def ordered(stream_id: str, prompt: str = "why?") -> AsyncResult[Any]:
        task: AsyncResult[Any] = celery_chat.answer.delay(stream_id, prompt)
        return task

    early = streams.create(owner="ann")
    celery_chat.stop("ann", early)
    resumed = streams.create(owner="ann", takeover_within_s=600)
    with streams.write(resumed) as writer:
        writer.append("You as")
        writer.release()
    with start_worker(celery_chat.app, pool="solo", perform_ping_check=False):
        whole = celery_chat.ask("ann", "why?")
        assert streams.wait(whole).text.startswith("You asked: why? ")
        stopped = streams.create(owner="ann", takeover_within_s=600)
        task = ordered(stopped)
        for item in streams.follow(stopped):
            if isinstance(item, str):
                celery_chat.stop("ann", stopped)
        task.get(timeout=10)
        assert streams.read(stopped).status is Status.CANCELLED
        ordered(early).get(timeout=10)
        ordered(resumed).get(timeout=10)
        assert streams.read(resumed).text == streams.read(whole).text, streams.read(resumed)
    sys.stdout.write("all well")


if __name__ == "__main__":
    main()
