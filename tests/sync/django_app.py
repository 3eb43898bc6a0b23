"""A Django application for a real server, in one file: ``tests.sync.django_app:app``."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterator

import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.urls import path

from inkstream import End, Timing
from inkstream.sync import PersistentTextStreaming

DATABASE = os.environ["INKSTREAM_DATABASE"].removeprefix("sqlite:///")
settings.configure(
    DEBUG=True,  # Django prints errors
    SECRET_KEY="any",
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["*"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": DATABASE}},
)
django.setup()
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


def pid(request: HttpRequest) -> HttpResponse:
    return HttpResponse(str(os.getpid()))


def ask(request: HttpRequest, name: str) -> HttpResponse:
    from django.db import connection, transaction

    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("CREATE TABLE IF NOT EXISTS questions (name text)")
            cursor.execute("INSERT INTO questions VALUES (%s)", [name])
        streams.create(name, connection=connection.connection)
    streams.start(name, count)
    return HttpResponse(str(os.getpid()))


def follow(request: HttpRequest, name: str) -> StreamingHttpResponse:
    return StreamingHttpResponse(pieces(name), content_type="text/plain")


def cancel(request: HttpRequest, name: str) -> HttpResponse:
    return HttpResponse(str(streams.cancel(name)))


urlpatterns = [
    path("pid", pid),
    path("ask/<name>", ask),
    path("streams/<name>", follow),
    path("cancel/<name>", cancel),
]
app = get_wsgi_application()
