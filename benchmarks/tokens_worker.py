"""Write and read streams in one process, and print the CPU time per token in microseconds.

``python tokens_worker.py STREAMS RATE SECONDS LATENCY_WINDOW_S`` prints the time of the process,
and the time of the event loop's thread. Each reader is a request for events to the ASGI app,
without a server. PYTHONPATH selects the checkout of inkstream that runs.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import tempfile
import time
from collections.abc import MutableMapping
from typing import Any

from inkstream import PersistentTextStreaming, Timing

STREAMS, RATE = int(sys.argv[1]), float(sys.argv[2])
SECONDS, LATENCY_WINDOW_S = float(sys.argv[3]), float(sys.argv[4])
TOKENS = int(SECONDS * RATE)


class Readers:
    """Reads streams through ``app``, and counts the responses and the pieces of their bodies."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.connected = 0
        self.received = 0
        self.all_connected = asyncio.Event()

    async def read(self, stream_id: str) -> None:
        request = [{"type": "http.request", "body": b"", "more_body": False}]

        async def receive() -> MutableMapping[str, Any]:
            if not request:
                await asyncio.Event().wait()
            return request.pop()

        async def send(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                assert message["status"] == 200, message
                self.connected += 1
                if self.connected == STREAMS:
                    self.all_connected.set()
            else:
                self.received += 1

        await self.app(_scope(stream_id), receive, send)


def _scope(stream_id: str) -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": f"/{stream_id}",
        "raw_path": f"/{stream_id}".encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [(b"accept", b"text/event-stream")],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
    }


async def write(streams: PersistentTextStreaming, stream_id: str, delay_s: float) -> None:
    await asyncio.sleep(delay_s)
    async with streams.write(stream_id) as writer:
        at = time.monotonic()
        for number in range(TOKENS):
            await writer.append(f"token{number % 10} ")
            at += 1 / RATE
            await asyncio.sleep(max(0.0, at - time.monotonic()))


async def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        url = f"sqlite:///{directory}/streams.db"
        timing = Timing(latency_window_s=LATENCY_WINDOW_S) if LATENCY_WINDOW_S else Timing()
        async with PersistentTextStreaming(url, timing=timing) as streams:
            readers = Readers(streams.asgi(allow_anonymous=True))
            ids = [str(await streams.create()) for _ in range(STREAMS)]
            reading = [asyncio.create_task(readers.read(each)) for each in ids]
            await readers.all_connected.wait()
            await asyncio.sleep(1)
            gc.collect()
            process, thread = time.process_time(), time.thread_time()
            writing = [write(streams, each, i / RATE / STREAMS) for i, each in enumerate(ids)]
            await asyncio.gather(*writing, *reading)
            process, thread = time.process_time() - process, time.thread_time() - thread
            assert readers.received > STREAMS
            print(*(round(1e6 * cpu / STREAMS / TOKENS, 2) for cpu in (process, thread)))


asyncio.run(main())
