"""The app that ``INSTALLED_APPS`` names: ``"inkstream.django"``."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.core.checks import CheckMessage, Error, register
from django.core.exceptions import ImproperlyConfigured
from django.db.models.signals import post_migrate

from inkstream.django._streams import alias, streams, url


def _check(**kwargs: Any) -> list[CheckMessage]:
    try:
        url()
    except ImproperlyConfigured as exc:
        return [Error(str(exc), id="inkstream.E001")]
    return []


def _make_tables(using: str, **kwargs: Any) -> None:
    """Make SQLite's tables, which a first call inside a transaction of the project cannot."""
    if using == alias() and url().startswith("sqlite:"):
        streams.list(limit=1)


class InkstreamConfig(AppConfig):
    """Settings are checked by ``manage.py check``; ``manage.py migrate`` makes the tables."""

    name = "inkstream.django"
    label = "inkstream"
    verbose_name = "Streams"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Have the settings checked, and SQLite's tables made after migrations."""
        register(_check)
        post_migrate.connect(_make_tables, sender=self)
