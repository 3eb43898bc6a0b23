"""Answers that survive a reload, in Flask: `flask --app flask_chat run`."""

from __future__ import annotations

import time
from collections.abc import Iterator

from flask import Flask, abort, request
from flask.typing import ResponseReturnValue

from inkstream import StreamNotFound
from inkstream.sync import PersistentTextStreaming

app = Flask(__name__)
streams = PersistentTextStreaming("sqlite:///inkstream.db")


def login() -> str:  # stands for your login
    return request.headers.get("X-User") or abort(401)


@app.errorhandler(StreamNotFound)
def not_found(error: StreamNotFound) -> ResponseReturnValue:
    problem = {"status": 404, "code": error.code, "detail": str(error)}
    return problem, 404, {"Content-Type": "application/problem+json"}


@app.post("/ask")
def ask() -> ResponseReturnValue:
    owner, prompt = login(), request.get_json().get("prompt") or abort(400)
    stream_id = streams.create(owner=owner)

    def answer() -> Iterator[str]:  # runs on its own thread, also after the request has ended
        for word in f"You asked: {prompt} Here is a thought about it.".split():
            yield word + " "
            time.sleep(0.5)

    streams.start(stream_id, answer)
    return {"stream_id": stream_id}, 202


@app.get("/streams/<stream_id>")
def live(stream_id: str) -> ResponseReturnValue:
    return streams.response(request, stream_id, owner=login())


@app.post("/streams/<stream_id>/cancel")
def cancel(stream_id: str) -> ResponseReturnValue:
    streams.cancel(stream_id, owner=login())
    return "", 204
