"""A parent process forks a child that writes. The parent is gunicorn, Celery or this module.

The variable ``PARENT`` says how the parent uses ``streams`` before the fork: ``unused``, ``used``
or ``writing``.
"""

from __future__ import annotations

import importlib
import itertools
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

from celery import Celery
from celery.signals import worker_process_init, worker_ready

from inkstream.sync import PersistentTextStreaming

streams = PersistentTextStreaming()
celery: Any = Celery("forked", broker="filesystem://")
celery.conf.broker_transport_options = {
    f"{name}_folder{way}": os.environ["FOLDER"]
    for name, way in (("data", "_in"), ("data", "_out"), ("control", ""))
}


def count() -> Iterator[str]:
    for number in itertools.count():
        yield f"{number} "
        time.sleep(0.005)


if os.environ["PARENT"] != "unused":
    streams.create("of the parent")
if os.environ["PARENT"] == "writing":
    streams.start("of the parent", count)


def write() -> None:
    """Write a stream forever, and print each piece when it is durable."""
    try:
        streams.create("of the child")
        with streams.write("of the child") as writer:
            say(f"child {os.getpid()}")
            for piece in count():
                writer.append(piece)
                writer.flush()
                say(f"flushed {piece}")
    except Exception as exc:
        say(f"failed {exc!r}")


def say(line: str) -> None:
    """Print a line with its own system call, because Celery turns print() into log lines."""
    os.write(1, f"{line}\n".encode())


def app(environ: dict[str, Any], start_response: Callable[..., object]) -> list[bytes]:
    write()
    return []


def order(**_: object) -> None:
    task.delay()


def stay(**_: object) -> None:
    """Let the child outlive Celery's main process.

    On Linux, the child would otherwise end together with the main process.
    """
    importlib.import_module("billiard.util").set_pdeathsig(0)


task = celery.task(write)
worker_ready.connect(order)
worker_process_init.connect(stay)

if __name__ == "__main__":
    child = multiprocessing.get_context("fork").Process(target=write)
    child.start()
    child.join()
