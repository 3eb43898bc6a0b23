from __future__ import annotations

import asyncio
import gc
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, request
from flask.typing import ResponseReturnValue
from werkzeug.serving import make_server

from inkstream.http.connection import HTTPSettings
from inkstream.sync import PersistentTextStreaming, _loop
from tests.http.client import fetch, requesting
from tests.http.sse import Parser

ROOT = Path(__file__).parents[2]


@contextmanager
def serving(app: Callable[..., Any]) -> Iterator[int]:
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server.port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def app_of(streams: PersistentTextStreaming) -> Flask:
    app = Flask(__name__)

    @app.get("/streams/<stream_id>")
    def live(stream_id: str) -> ResponseReturnValue:
        return streams.response(request, stream_id, owner="ann", headers={"X-Mine": "yes"})

    return app


@pytest.fixture
def streams(sqlite_url: str) -> PersistentTextStreaming:
    return PersistentTextStreaming(sqlite_url, http=HTTPSettings(ping_s=0.1))


def test_a_view_follows_and_resumes(streams: PersistentTextStreaming) -> None:
    """G1, G2, G5: a view sends live events with ids and pings, and answers 204 after the end."""
    go_on = threading.Event()
    stream_id = streams.create(owner="ann")

    def answer() -> Iterator[str]:
        yield "Why? "
        assert go_on.wait(10)
        yield "Because."

    streams.start(stream_id, answer)

    async def reads(port: int) -> None:
        async with requesting(port, f"/streams/{stream_id}") as live:
            # The server sends pings while there is no text.
            await live.until(lambda: live.body.count(b":") > 6)
            assert b"Why? " in live.body
            seen = Parser().feed(live.body)
            go_on.set()
            text = (await live.rest()).decode()
            assert "event: end" in text
        assert live.headers["content-type"] == "text/event-stream"
        assert live.headers["stream-id"] == stream_id
        assert live.headers["x-mine"] == "yes"
        assert live.headers["x-accel-buffering"] == "no"
        last = [event.id for event in seen if event.id][-1]
        again = await fetch(port, f"/streams/{stream_id}", headers={"Last-Event-ID": str(last)})
        assert b"Why?" not in again.body
        assert b"Because." in again.body
        end = [event.id for event in Parser().feed(again.body)][-1]
        over = await fetch(port, f"/streams/{stream_id}", headers={"Last-Event-ID": str(end)})
        assert (over.status, over.body) == (204, b"")
        snapshot = await fetch(port, f"/streams/{stream_id}?format=json")
        assert snapshot.json["parts"] == ["Why? Because."]

    with serving(app_of(streams)) as port:
        asyncio.run(reads(port))


def test_errors_are_problem_documents(streams: PersistentTextStreaming) -> None:
    """G10: each refusal is a problem document.

    The server refuses ``format=text``, because a client of a WSGI application cannot notice that
    a text broke off.
    """
    other = streams.create(owner="bob")
    mine = streams.create(owner="ann")
    with serving(app_of(streams)) as port:
        for path, status, code in (
            (f"/streams/{other}", 404, "not_found"),
            ("/streams/none", 404, "not_found"),
            (f"/streams/{mine}?offset=nonsense", 400, "invalid_offset"),
            (f"/streams/{mine}?format=text", 406, "not_acceptable"),
        ):
            answer = asyncio.run(fetch(port, path))
            assert (answer.status, answer.json["code"]) == (status, code)
            assert answer.headers["content-type"] == "application/problem+json"


def test_a_closed_reader_stops_following(streams: PersistentTextStreaming) -> None:
    """G9: when a server calls ``close()`` because its client has left, the view stops following."""
    stream_id = streams.create()
    environ = {"REQUEST_METHOD": "GET", "SERVER_PROTOCOL": "HTTP/1.1"}
    with streams.write(stream_id) as writer:
        writer.append("Hello")
        writer.flush()
        answer = streams.response(environ, stream_id)
        started: list[Any] = []
        body = iter(answer(environ, lambda *given: started.extend(given)))
        assert started[0] == "200 OK"
        assert b"retry" in next(body)
        answer.close()
        assert list(body) == []
        assert streams.describe(stream_id).readers.here == 0


@pytest.mark.parametrize("exists", [True, False])
def test_an_answer_that_is_dropped_unread_stops_following(
    streams: PersistentTextStreaming, exists: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """G9: a response that is dropped unread, as in some tests, stops following its stream."""
    stream_id = streams.create()
    environ = {"REQUEST_METHOD": "GET", "SERVER_PROTOCOL": "HTTP/1.1"}
    with streams.write(stream_id) as writer:
        writer.append("Hello")
        writer.flush()
        answer = streams.response(environ, stream_id if exists else "none")
        assert answer.status_code == (200 if exists else 404)
        del answer
        gc.collect()
        following = exchanges()
        deadline = time.monotonic() + 5
        while exchanges():
            assert time.monotonic() < deadline, following
        assert streams.describe(stream_id).readers.here == 0
    gc.collect()
    assert "destroyed" not in caplog.text


def exchanges() -> int:
    tasks = asyncio.all_tasks(_loop.this_process().loop)
    return sum("Exchange" in str(task.get_coro()) for task in tasks)


def test_a_wrong_request_is_refused(streams: PersistentTextStreaming) -> None:
    with pytest.raises(TypeError, match="WSGI environ"):
        streams.response("GET /", "one")


def test_the_flask_example_runs(tmp_path: Path) -> None:
    code = (ROOT / "examples/flask_chat.py").read_text()
    names: dict[str, Any] = {"__name__": "flask_chat"}
    exec(code.replace("sqlite:///", f"sqlite:///{tmp_path}/"), names)
    ann, bob = {"X-User": "ann"}, {"X-User": "bob"}
    with serving(names["app"]) as port:
        asked = asyncio.run(
            fetch(
                port,
                "/ask",
                method="POST",
                headers={**ann, "Content-Type": "application/json"},
                body=json.dumps({"prompt": "why?"}).encode(),
            )
        )
        assert asked.status == 202, asked.body
        path = f"/streams/{asked.json['stream_id']}"
        answer = asyncio.run(fetch(port, path, headers=ann))
        assert b"event: end" in answer.body
        assert asyncio.run(fetch(port, path, headers=bob)).status == 404
        refused = asyncio.run(fetch(port, f"{path}/cancel", method="POST", headers=bob))
        assert (refused.status, refused.json["code"]) == (404, "not_found")
        assert refused.headers["content-type"] == "application/problem+json"
        stopped = asyncio.run(fetch(port, f"{path}/cancel", method="POST", headers=ann))
        assert stopped.status == 204
        json_of_ann = {**ann, "Content-Type": "application/json"}
        empty = asyncio.run(fetch(port, "/ask", method="POST", headers=json_of_ann, body=b"{}"))
        assert empty.status == 400
    names["streams"].stop()
