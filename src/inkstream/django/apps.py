"""The app for ``INSTALLED_APPS``: ``"inkstream.django"``."""

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
    """Create the tables on SQLite now, because a call inside a transaction cannot create them."""
    if using == alias() and url().startswith("sqlite:"):
        streams.list(limit=1)


class InkstreamConfig(AppConfig):
    """``manage.py check`` checks the settings, and ``manage.py migrate`` creates the tables."""

    name = "inkstream.django"
    label = "inkstream"
    verbose_name = "Streams"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register the check of the settings, and the creation of SQLite's tables."""
        register(_check)
        post_migrate.connect(_make_tables, sender=self)
