"""Answers from Celery tasks that a site sends. The worker is `celery -A celery_chat worker`."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

from celery import Celery, Task

from inkstream import NotClaimed, StreamNotFound, quiet_stop
from inkstream.sync import PersistentTextStreaming

app = Celery("chat", broker=os.environ.get("CELERY_BROKER", "redis://localhost"))
app.conf.task_acks_late = True  # a task whose worker dies is delivered again
app.conf.task_reject_on_worker_lost = True
# Redis delivers the task of a dead worker again after 300 seconds.
app.conf.broker_transport_options = {"visibility_timeout": 300}
streams = PersistentTextStreaming(os.environ.get("INKSTREAM_DATABASE", "sqlite:///inkstream.db"))


def pieces(prompt: str) -> Iterator[str]:  # stands for your model
    for word in f"You asked: {prompt} Here is a thought about it.".split():
        time.sleep(0.05)
        yield word + " "


# StreamNotFound: usually the transaction that creates the stream has not committed yet.
# NotClaimed: usually the previous attempt has died, but no other process has noticed that yet.
@app.task(
    bind=True,
    autoretry_for=(NotClaimed, StreamNotFound),
    retry_backoff=2,
    max_retries=8,
)
def answer(self: Task[Any, Any], stream_id: str, prompt: str) -> None:
    with quiet_stop(), streams.write(stream_id, takeover=True) as writer:
        written = len(writer.body().text)  # characters from an attempt that died
        for piece in pieces(prompt):
            if written >= len(piece):
                written -= len(piece)
                continue
            writer.append(piece[written:])
            written = 0
            writer.flush()  # now readers see the piece; after a Stop, this raises


def ask(owner: str, prompt: str) -> str:
    """Order an answer. A view of the site calls this; the page follows the returned stream."""
    stream_id = streams.create(owner=owner, takeover_within_s=600)
    app.send_task("celery_chat.answer", [stream_id, prompt])
    return stream_id


def stop(owner: str, stream_id: str) -> None:
    """Stop an answer. A view of the site calls this; the task then ends without an error."""
    streams.cancel(stream_id, owner=owner)
