"""Answers from Dramatiq actors that a site calls. The worker is `dramatiq dramatiq_chat`."""

import os
import re
import time

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from inkstream import quiet_stop
from inkstream.sync import PersistentTextStreaming

streams = PersistentTextStreaming(os.environ.get("INKSTREAM_DATABASE", "sqlite:///inkstream.db"))
broker = RedisBroker(url=os.environ.get("REDIS_URL", "redis://localhost"))  # type: ignore[no-untyped-call]
dramatiq.set_broker(broker)


@dramatiq.actor(max_retries=8, min_backoff=2000)  # milliseconds
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
    answer.send(stream_id, prompt)
    return stream_id
