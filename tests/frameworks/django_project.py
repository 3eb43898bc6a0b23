"""A Django project in one file: ``python -m tests.frameworks.django_project COMMAND``."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import django
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.management import execute_from_command_line
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.urls import include, path


def databases() -> dict[str, Any]:
    where = os.environ["DJANGO_DATABASE"]
    if not where.startswith("postgres"):
        test = {"NAME": f"{where}.test"}
        return {"ENGINE": "django.db.backends.sqlite3", "NAME": where, "TEST": test}
    parts = urlsplit(where)
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": parts.path[1:],
        "HOST": parts.hostname,
        "PORT": parts.port,
        "USER": parts.username,
        "PASSWORD": parts.password,
        "OPTIONS": {"sslmode": "disable"},
    }


settings.configure(
    SECRET_KEY="any",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    USE_TZ=True,
    DATABASES={"default": databases()},
    INKSTREAM=json.loads(os.environ.get("DJANGO_INKSTREAM", "{}")),
    STATIC_URL="static/",
    INSTALLED_APPS=[
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.sessions",
        "django.contrib.messages",
        "django.contrib.admin",
        "inkstream.django",
    ],
    MIDDLEWARE=[
        "django.middleware.gzip.GZipMiddleware",
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
    ],
    TEMPLATES=[
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "APP_DIRS": True,
            "OPTIONS": {
                "context_processors": [
                    "django.template.context_processors.request",
                    "django.contrib.auth.context_processors.auth",
                    "django.contrib.messages.context_processors.messages",
                ]
            },
        }
    ],
)
django.setup()

from django.contrib import admin  # noqa: E402

from inkstream.django import astream_response, stream_response, streams  # noqa: E402


def ask(request: HttpRequest, name: str) -> HttpResponse:
    async def answer() -> AsyncIterator[str]:
        yield "Why? "
        yield "Because. " * 100

    streams.create(name)
    streams.start(name, answer)
    return HttpResponse(name)


def live(request: HttpRequest, name: str) -> HttpResponseBase:
    return stream_response(request, name)


async def alive(request: HttpRequest, name: str) -> HttpResponseBase:
    return await astream_response(request, name)


urlpatterns = [
    path("admin/", admin.site.urls),
    path("streams/", include("inkstream.django.urls")),
    path("ask/<name>", ask),
    path("live/<name>", live),
    path("alive/<name>", alive),
]
asgi = get_asgi_application()
wsgi = get_wsgi_application()

if __name__ == "__main__":
    execute_from_command_line(sys.argv)
