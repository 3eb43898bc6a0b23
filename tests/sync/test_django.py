"""Django views create streams in the transaction of the view's own database connection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import django
import pytest
from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path

from inkstream import StreamNotFound
from inkstream.sync import PersistentTextStreaming
from tests import postgres_server

T = TypeVar("T")

urlpatterns: list[Any] = []
streams: PersistentTextStreaming


def ask(request: HttpRequest, prompt: str) -> HttpResponse:
    from django.db import connection, transaction

    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("INSERT INTO messages VALUES (%s)", [prompt])
        stream_id = streams.create(f"to {prompt}", connection=connection)
        if prompt == "fail":
            raise RuntimeError("after everything was done")
    with streams.write(stream_id) as writer:
        writer.append("Because.")
    return HttpResponse(stream_id)


def read(request: HttpRequest, stream_id: str) -> HttpResponse:
    return JsonResponse({"text": streams.read(stream_id).text})


urlpatterns += [path("ask/<prompt>", ask), path("read/<stream_id>", read)]


def in_a_thread(call: Callable[[], T]) -> T:
    """Call a view as a WSGI server does: in a thread that has its own connections and no loop."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(call).result()


def databases(kind: str, url: str) -> dict[str, Any]:
    if kind == "sqlite":
        return {"ENGINE": "django.db.backends.sqlite3", "NAME": url}
    parts = urlsplit(url)
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": parts.path[1:],
        "HOST": parts.hostname,
        "PORT": parts.port,
        "USER": parts.username,
        "PASSWORD": parts.password,
        "OPTIONS": {"sslmode": "disable"},
    }


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    global streams
    if not settings.configured:
        settings.configure(
            ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], DATABASES={"default": {}}, USE_TZ=True
        )
        django.setup()
    from django.db import connections

    server = postgres_server.server(postgres_server.versions()[0])
    if request.param == "sqlite":
        where = str(tmp_path / "app.db")
        url = f"sqlite:///{where}"
    else:
        where = url = asyncio.run(server.make_database())
    streams = PersistentTextStreaming(url)
    streams.list()
    connections.settings = connections.configure_settings(
        {"default": databases(request.param, where)}
    )
    yield url
    streams.stop()
    if request.param == "postgres":
        asyncio.run(server.drop_database(url))


def test_a_view_that_fails_leaves_neither_message_nor_stream(database: str) -> None:
    """G1: a view that fails leaves neither its message nor its stream.

    Both are stored through the connection that Django opened for the request.
    """
    from django.db import connection
    from django.test import Client

    def views() -> list[str]:
        client = Client()
        with connection.cursor() as cursor:
            cursor.execute("CREATE TABLE messages (prompt text)")
        with pytest.raises(RuntimeError):
            client.post("/ask/fail")
        asked = client.post("/ask/Why")
        assert asked.content == b"to Why"
        assert client.get("/read/to Why").json() == {"text": "Because."}
        with connection.cursor() as cursor:
            cursor.execute("SELECT prompt FROM messages")
            messages = [row[0] for row in cursor.fetchall()]
        connection.close()
        return messages

    assert in_a_thread(views) == ["Why"]
    with pytest.raises(StreamNotFound):
        streams.read("to fail")
