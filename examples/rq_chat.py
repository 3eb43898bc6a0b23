"""Answers from RQ jobs that a site enqueues. The worker is `rq worker --with-scheduler`."""

import os
import re
import time

from redis import Redis
from rq import Queue, Retry

from inkstream import quiet_stop
from inkstream.sync import PersistentTextStreaming

streams = PersistentTextStreaming(os.environ.get("INKSTREAM_DATABASE", "sqlite:///inkstream.db"))
queue = Queue(connection=Redis.from_url(os.environ.get("REDIS_URL", "redis://localhost")))


def answer(stream_id: str, prompt: str) -> None:
    text = f"You asked: {prompt} Here is a thought about it. "  # stands for your model
    with quiet_stop(), streams.write(stream_id, takeover=True) as writer:
        written = len(writer.body().text)  # characters from an attempt that died
        for piece in re.findall(r"\S*\s", text[written:]):
            time.sleep(0.05)
            writer.append(piece)
            writer.flush()  # now readers see the piece; after a Stop, this raises


def ask(owner: str, prompt: str) -> str:
    """Order an answer. A view of the site calls this; the page follows the returned stream."""
    stream_id = streams.create(owner=owner, takeover_within_s=600)
    queue.enqueue(answer, stream_id, prompt, retry=Retry(max=5, interval=[2, 5, 15, 30, 60]))
    return stream_id
