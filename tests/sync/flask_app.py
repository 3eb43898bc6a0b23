"""A Flask application for a real server: ``tests.sync.flask_app:app``."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterator

from flask import Flask, Response

from inkstream import End, Timing
from inkstream.sync import PersistentTextStreaming

app = Flask(__name__)
streams = PersistentTextStreaming(timing=Timing(shutdown_grace_s=0.2))
if "USED_BEFORE_THE_FORK" in os.environ:
    streams.create("of the parent")


def count() -> Iterator[str]:
    for number in itertools.count():
        yield f"{number} "
        time.sleep(0.005)


def pieces(name: str) -> Iterator[str]:
    with streams.follow(name) as following:
        for item in following:
            yield f"[{item.status}]" if isinstance(item, End) else str(item)


@app.get("/pid")
def pid() -> str:
    return str(os.getpid())


@app.post("/ask/<name>")
def ask(name: str) -> str:
    streams.create(name)
    streams.start(name, count)
    return str(os.getpid())


@app.get("/streams/<name>")
def follow(name: str) -> Response:
    return Response(pieces(name), mimetype="text/plain")


@app.post("/cancel/<name>")
def cancel(name: str) -> str:
    return str(streams.cancel(name))
