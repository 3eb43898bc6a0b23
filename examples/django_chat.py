"""Answers that survive a reload, in Django: `python django_chat.py migrate`, then `… runserver`."""

import json
import sys
import time
from collections.abc import Iterator

import django
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.management import execute_from_command_line
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import include, path

settings.configure(  # stands for your settings.py
    DEBUG=True,
    SECRET_KEY="change me",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "db.sqlite3"}},
    INSTALLED_APPS=[
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.sessions",
        "inkstream.django",
    ],
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ],
)
django.setup()

from inkstream.django import owner_of, streams  # noqa: E402 - in a project, at the top


def ask(request: HttpRequest) -> HttpResponse:
    prompt = json.loads(request.body)["prompt"]
    stream_id = streams.create(owner=owner_of(request))

    def answer() -> Iterator[str]:  # on a thread of its own, which outlives the request
        for word in f"You asked: {prompt} Here is a thought about it.".split():
            yield word + " "
            time.sleep(0.05)

    streams.start(stream_id, answer)
    return JsonResponse({"stream_id": stream_id}, status=202)


urlpatterns = [
    path("ask", ask),
    path("streams/", include("inkstream.django.urls")),  # follow and stop: the user's own
]
application = get_asgi_application()  # for `uvicorn django_chat:application`

if __name__ == "__main__":
    execute_from_command_line(sys.argv)
