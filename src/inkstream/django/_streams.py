"""The one ``PersistentTextStreaming`` of a Django project.

It reads the project's settings at its first use.
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import quote, urlencode

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from django.utils.module_loading import import_string

from inkstream.facade import streaming
from inkstream.sync import PersistentTextStreaming

_KNOWN: Final = ("DATABASE", "HTTP", "LIMITS", "ON_END", "TIMING")
_VENDORS: Final = ("postgresql", "sqlite")


def given() -> dict[str, Any]:
    """Return the setting ``INKSTREAM``. Raise ``ImproperlyConfigured`` for an unknown key."""
    found: dict[str, Any] = dict(getattr(settings, "INKSTREAM", {}))
    unknown = sorted(found.keys() - set(_KNOWN))
    if unknown:
        raise ImproperlyConfigured(
            f"INKSTREAM has {', '.join(unknown)}; its keys are {', '.join(_KNOWN)}"
        )
    return found


def alias() -> str | None:
    """Return the alias in ``DATABASES`` for the streams; ``None`` if a URL is configured."""
    database: str = given().get("DATABASE", "default")
    return None if ":" in database else database


def url() -> str:
    """Return the URL of the streams' database.

    Raises:
        ImproperlyConfigured: The settings are invalid, or inkstream does not support this kind of
            database.
    """
    name = alias()
    if name is None:
        return str(given()["DATABASE"])
    connection = connections[name]
    if connection.vendor not in _VENDORS:
        raise ImproperlyConfigured(
            f"inkstream keeps streams in PostgreSQL or SQLite, not in {connection.vendor} "
            f"(DATABASES[{name!r}]): set INKSTREAM['DATABASE'] to another alias, or to a URL"
        )
    # In tests, the database has another name than in the settings, so ask the connection.
    values = connection.settings_dict
    return _sqlite(str(values["NAME"])) if connection.vendor == "sqlite" else _postgres(values)


def _sqlite(name: str) -> str:
    if name == ":memory:" or "mode=memory" in name:
        return "memory://"
    return f"sqlite:///{name}"


def _postgres(values: dict[str, Any]) -> str:
    options = values.get("OPTIONS", {})
    if not values["NAME"]:
        raise ImproperlyConfigured(
            "inkstream needs NAME in DATABASES, not a service in OPTIONS; or set a URL"
        )
    # The host is part of the query, because it may be a directory with the server's socket.
    asked = {"host": values["HOST"], "port": values["PORT"], "user": values["USER"]}
    asked["password"] = values["PASSWORD"]
    asked |= {key: options[key] for key in options if key.startswith("ssl")}
    query = urlencode({key: value for key, value in asked.items() if value}, quote_via=quote)
    return f"postgresql:///{quote(str(values['NAME']), safe='')}?{query}"


class ProjectStreams(PersistentTextStreaming):
    """A project's streams. Each process reads the settings at its first use of the streams."""

    # Test runners call isinstance() on every object that they find. With a SimpleLazyObject, such a
    # call would create the instance before the test database exists.
    def __init__(self) -> None:
        self._is_made = False
        super().__init__("memory://")
        self._is_made = True

    def _make(self) -> streaming.PersistentTextStreaming:
        if self._is_made:
            found = given()
            on_end = found.get("ON_END")
            self._database = url()
            self._on_end = import_string(on_end) if isinstance(on_end, str) else on_end
            self._limits = found.get("LIMITS")
            self._timing = found.get("TIMING")
            self._http = found.get("HTTP")
        return super()._make()


streams: PersistentTextStreaming = ProjectStreams()
"""The project's streams; see ``inkstream.sync.PersistentTextStreaming``."""
