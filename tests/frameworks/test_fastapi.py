from __future__ import annotations

import asyncio
import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import create_engine, event
from sqlalchemy.orm import Session

from inkstream.sync import PersistentTextStreaming, _loop
from tests import postgres_server
from tests.docs.blocks import blocks_of
from tests.http.client import fetch
from tests.http.servers import serving

ROOT = Path(__file__).parents[2]


@pytest.fixture
def database() -> Iterator[str]:
    server = postgres_server.server(postgres_server.versions()[0])
    url = asyncio.run(server.make_database())
    yield url
    _loop._stop()
    asyncio.run(server.drop_database(url))


def through(driver: str, url: str) -> str:
    scheme = f"postgresql+{driver}"
    url = url.replace("postgresql", scheme, 1)
    return url.partition("?")[0] if driver == "asyncpg" else url


ANN = {"X-User": "ann", "Content-Type": "application/json"}


async def use(port: int) -> None:
    asked = [
        await fetch(port, "/ask", method="POST", headers=ANN, body=b'{"prompt": "why?"}')
        for _ in range(12)  # these are more readers than the pool has connections
    ]
    paths = [f"/streams/{answer.json['stream_id']}" for answer in asked]
    stopped = await fetch(port, f"{paths[-1]}/cancel", method="POST", headers=ANN)
    assert stopped.status == 204
    answers = await asyncio.gather(*(fetch(port, path, headers=ANN) for path in paths))
    assert [answer.heard.end and answer.heard.end["status"] for answer in answers] == [
        *["done"] * 11,
        "cancelled",
    ]
    assert (await fetch(port, paths[0], headers={"X-User": "bob"})).status == 404


def run(folder: Path, example: str, database: str) -> None:
    environment = {
        "DATABASE_URL": database,
        "EXAMPLE": example,
        "PYTHONPATH": os.pathsep.join(map(str, (ROOT / "src", ROOT, ROOT / "examples", folder))),
    }
    app = "tests.frameworks.example_app:app"
    with serving(folder, app=app, environment=environment) as server:
        asyncio.run(use(server.port))
        assert "Traceback" not in server.printed, server.printed


def test_the_example_starts_after_the_commit_and_follows(database: str, tmp_path: Path) -> None:
    """G1, G6: a reader of an answer occupies no connection of the application's pool."""
    engine = create_engine(through("psycopg", database))
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "CREATE TABLE messages (stream_id text PRIMARY KEY, prompt text)"
        )
    run(tmp_path, "fastapi_chat", through("asyncpg", database))
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM messages").scalar() == 12
    engine.dispose()


def test_two_lines_bring_the_example_to_sqlite(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    here = f"by {Path(__file__).relative_to(ROOT)}"
    block = next(b for b in blocks_of(ROOT / "docs/fastapi.md") if b.before == here)
    code = (ROOT / "examples/fastapi_chat.py").read_text()
    for line in block.code.splitlines():
        begins = line.partition("(")[0]
        code, found = re.subn(rf"^{re.escape(begins)}\(.*$", line, code, flags=re.MULTILINE)
        assert found == 1, line
    (tmp_path / "on_sqlite.py").write_text(code)
    with closing(sqlite3.connect("chat.db")) as connection:
        connection.execute("CREATE TABLE messages (stream_id, prompt)")
    run(tmp_path, "on_sqlite", "sqlite+aiosqlite:///chat.db")
    with closing(sqlite3.connect("chat.db")) as connection:
        assert connection.execute("SELECT count(*) FROM messages").fetchone() == (12,)


@pytest.mark.parametrize("rolls_back", [False, True])
def test_a_synchronous_session_starts_after_its_commit(database: str, rolls_back: bool) -> None:
    """G1, G4: the source runs only if the session's transaction commits."""
    streams = PersistentTextStreaming(database)
    engine = create_engine(through("psycopg", database))
    started = []

    with Session(engine) as session:
        stream_id = streams.create(connection=session)

        @event.listens_for(session, "after_commit", once=True)
        def start(_: Session) -> None:
            started.append(stream_id)
            streams.start(stream_id, lambda: iter(["Hello"]))

        if rolls_back:
            session.rollback()
        else:
            session.commit()
    if rolls_back:
        assert streams.read_many([stream_id]) == {}
    else:
        assert streams.wait(stream_id).text == "Hello"
    assert started == ([] if rolls_back else [stream_id])
    engine.dispose()
