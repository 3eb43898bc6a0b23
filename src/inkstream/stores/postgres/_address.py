"""The ways in which an application may name its PostgreSQL, and what the driver makes of them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

SCHEMA: Final = "inkstream"
"""Where inkstream's tables are unless something else is said."""

_SCHEME = re.compile(r"postgres(ql)?(\+[a-z0-9_]+)?", re.ASCII)
_SCHEMA = re.compile(r"[a-z_][a-z0-9_]{0,62}", re.ASCII)

# What SQLAlchemy's dialects and poolers' guides have people write, which PostgreSQL's own URLs
# do not know: left in, the server would be asked for a setting of that name.
_NO_STATEMENT_CACHE: Final = ("statement_cache_size", "prepared_statement_cache_size")
_SQLALCHEMY_ONLY: Final = ("async_fallback", "prepared_statement_name_func")


@dataclass(frozen=True, slots=True)
class Address:
    """Where a database is, as a URL for the driver.

    Attributes:
        url: With the password.
        pooler: A transaction pooler answers there, so that no state of a session may be relied on.
        schema: Where inkstream's tables are.
        listener_url: Where a connection may be held for long, if not there.
    """

    url: str
    pooler: bool = False
    schema: str = SCHEMA
    listener_url: str | None = None

    @classmethod
    def parse(cls, database: object) -> Address:
        """Return the address that a URL, or an SQLAlchemy engine's URL, stands for.

        ``postgresql://`` and ``postgres://`` are taken, either with ``+driver``, and of the
        parameters also ``pooler``, ``schema`` and ``listener_url``. An engine's ``connect_args``
        are not known here.

        Raises:
            ValueError: It is another database's.
            TypeError: It is neither.
        """
        render = getattr(getattr(database, "url", None), "render_as_string", None)
        text = database if render is None else render(hide_password=False)
        if not isinstance(text, str):
            raise TypeError(
                "a PostgreSQL database is given as a URL, an asyncpg pool or an SQLAlchemy engine, "
                f"not as {type(database).__name__}"
            )
        parts = urlsplit(text)
        if _SCHEME.fullmatch(parts.scheme) is None:
            raise ValueError(
                f"{parts.scheme or 'this'!r} is not a postgresql:// URL; a SQLite file is given as "
                "a string, sqlite:///inkstream.db"
            )
        pooler = False
        schema, listener_url = SCHEMA, None
        query: list[tuple[str, str]] = []
        for name, value in parse_qsl(parts.query, keep_blank_values=True):
            if name == "pooler":
                pooler = value.lower() not in ("", "0", "false", "no")
            elif name == "schema":
                schema = schema_name(value)
            elif name == "listener_url":
                listener_url = value
            elif name in _NO_STATEMENT_CACHE:
                pooler = pooler or value == "0"
            elif name == "ssl":
                query.append(("sslmode", value))
            elif name not in _SQLALCHEMY_ONLY:
                query.append((name, value))
        # urlunsplit() would take the slashes off an empty host, which means the local socket.
        url = f"postgresql://{parts.netloc}{parts.path}"
        if query:
            url += f"?{urlencode(query)}"
        return cls(url, pooler, schema, listener_url)

    def __str__(self) -> str:
        """Return the URL without its password and parameters, as it may be shown and logged."""
        parts = urlsplit(self.url)
        user, at, host = parts.netloc.rpartition("@")
        user = quote(user.partition(":")[0], safe="%")
        return f"{parts.scheme}://{user}{at}{host}{parts.path}"


def schema_name(schema: str) -> str:
    """Return the name of a schema, checked: it becomes part of statements, unquoted.

    Raises:
        ValueError: It is not a plain lower-case name.
    """
    if _SCHEMA.fullmatch(schema) is None:
        raise ValueError(
            f"{schema!r} cannot name inkstream's schema: use lower-case letters, digits and _"
        )
    return schema


_OWN_NAME = re.compile(r"\binkstream\b")


def in_schema(sql: str, schema: str) -> str:
    """Return SQL that is written for the schema ``inkstream``, for another one."""
    return _OWN_NAME.sub(schema, sql)
