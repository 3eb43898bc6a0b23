from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from flask import Flask, Response
from werkzeug.serving import make_server

from inkstream import End
from inkstream.sync import PersistentTextStreaming
from tests.http.client import fetch, requesting


def make_app(streams: PersistentTextStreaming, database: Path, go_on: threading.Event) -> Flask:
    app = Flask(__name__)

    @app.post("/messages/<prompt>")
    def ask(prompt: str) -> str:
        with closing(sqlite3.connect(database)) as connection, connection:
            stream_id = streams.create(group="chat", connection=connection)
            connection.execute("INSERT INTO messages VALUES (?, ?)", (prompt, stream_id))

        def answer() -> Iterator[str]:
            yield f"{prompt}? "
            assert go_on.wait(10)
            yield "Because."

        streams.start(stream_id, answer)
        return stream_id

    @app.get("/streams/<stream_id>")
    def live(stream_id: str) -> Response:
        def pieces() -> Iterator[str]:
            with streams.follow(stream_id) as following:
                for item in following:
                    if not isinstance(item, End):
                        yield str(item)

        return Response(pieces(), mimetype="text/plain")

    @app.get("/history")
    def history() -> list[str]:
        with closing(sqlite3.connect(database)) as connection:
            ids = [row[0] for row in connection.execute("SELECT stream_id FROM messages")]
        return [body.text for body in streams.read_many(ids, group="chat").values()]

    return app


@pytest.mark.parametrize("readers", [20])
async def test_views_ask_follow_and_read(tmp_path: Path, readers: int) -> None:
    """G1, G2: an answer outlives its request, and each follower gets the growing text."""
    database = tmp_path / "app.db"
    go_on = threading.Event()
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("CREATE TABLE messages (prompt, stream_id)")
    streams = PersistentTextStreaming(f"sqlite:///{database}")
    server = make_server("127.0.0.1", 0, make_app(streams, database, go_on), threaded=True)
    serving = threading.Thread(target=server.serve_forever, args=(0.01,))
    serving.start()
    try:
        asked = await fetch(server.port, "/messages/Why", method="POST")
        assert asked.status == 200, asked.body
        path = f"/streams/{asked.body.decode()}"
        async with requesting(server.port, path) as first, requesting(server.port, path) as second:
            for answer in (first, second):
                await answer.until(lambda answer=answer: answer.body == b"Why? ")
            go_on.set()
            assert await first.rest() == await second.rest() == b"Why? Because."
        answers = [(await fetch(server.port, path)).body for _ in range(readers)]
        assert set(answers) == {b"Why? Because."}
        assert (await fetch(server.port, "/history")).json == ["Why? Because."]
    finally:
        server.shutdown()
        serving.join()
        server.server_close()
