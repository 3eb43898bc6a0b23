"""The FastAPI and SQLAlchemy example, and the same with a synchronous session, on PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, event
from sqlalchemy.orm import Session

from inkstream.sync import PersistentTextStreaming, _loop
from tests import postgres_server
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


def test_the_example_starts_after_the_commit_and_follows(database: str, tmp_path: Path) -> None:
    """G1, G6: the pool of the application is free again while answers are followed."""
    engine = create_engine(through("psycopg", database))
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "CREATE TABLE messages (stream_id text PRIMARY KEY, prompt text)"
        )
    environment = {
        "DATABASE_URL": through("asyncpg", database),
        "PYTHONPATH": str(ROOT / "examples"),
    }
    ann = {"X-User": "ann", "Content-Type": "application/json"}

    async def uses(port: int) -> None:
        asked = [
            await fetch(port, "/ask", method="POST", headers=ann, body=b'{"prompt": "why?"}')
            for _ in range(12)  # more than the pool has connections
        ]
        paths = [f"/streams/{answer.json['stream_id']}" for answer in asked]
        answers = await asyncio.gather(*(fetch(port, path, headers=ann) for path in paths))
        assert all(b"event: end" in answer.body for answer in answers)
        assert all(b'"done"' in answer.body for answer in answers)
        assert (await fetch(port, paths[0], headers={"X-User": "bob"})).status == 404

    with serving(
        tmp_path, app="tests.frameworks.fastapi_app:app", environment=environment
    ) as server:
        asyncio.run(uses(server.port))
        assert "Traceback" not in server.printed, server.printed
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM messages").scalar() == 12
    engine.dispose()


@pytest.mark.parametrize("rolls_back", [False, True])
def test_a_synchronous_session_starts_after_its_commit(database: str, rolls_back: bool) -> None:
    """G1, G4: nothing is started for a transaction that rolls back."""
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
