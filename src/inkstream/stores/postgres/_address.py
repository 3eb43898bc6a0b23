"""Converts an application's URL of a PostgreSQL database to arguments for the driver."""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import SplitResult, parse_qsl, quote, urlencode, urlsplit

from inkstream.stores.postgres._parameters import sort_parameters

SCHEMA: Final = "inkstream"
"""The schema of inkstream's tables, unless the application sets another schema."""

CONNECT_S: Final = 5.0

_SCHEME: Final = re.compile(r"(postgres(ql)?|pgsql|postgis)(\+[a-z0-9_]+)?", re.ASCII)
_SCHEMA: Final = re.compile(r"[a-z_][a-z0-9_]{0,62}", re.ASCII)
_HOST: Final = re.compile(r"(\[[0-9a-fA-F:.%]+\]|[^\[\]:]*)(:[0-9]{0,5})?")
_ODD_PASSWORD: Final = (
    "the URL cannot be parsed: in a user's name or password, percent-encode the characters "
    "/ ? # [ ] @ : and %"
)


def is_postgres(url: str) -> bool:
    """Return whether a URL has a scheme for PostgreSQL."""
    return _SCHEME.fullmatch(url.partition(":")[0]) is not None


@dataclass(frozen=True, slots=True, repr=False)
class Address:
    """The address of a database, and how to connect to it.

    The ``repr`` of an address has no password, because tracebacks show variables.

    Attributes:
        url: The URL for the driver, with the password.
        pooler: Whether a transaction pooler answers at this address.
        listener_url: The URL for the one connection that stays open. ``None`` means ``url``, or no
            such connection if ``pooler`` is true.
        arguments: Further arguments for the driver.
        settings: Server settings for each session.
        ignored: Parameters of the URL that have no effect in inkstream.
        system_roots: Whether to trust only the certificate authorities that the operating system
            trusts.
    """

    url: str
    pooler: bool = False
    schema: str = SCHEMA
    listener_url: str | None = None
    arguments: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()
    system_roots: bool = False

    @classmethod
    def parse(cls, database: object) -> Address:
        """Return the address in a URL, or in an SQLAlchemy engine's URL.

        The scheme is ``postgresql``, ``postgres``, ``pgsql`` or ``postgis``, with or without
        ``+driver``. The URL may have the parameters of libpq and of other tools, and ``pooler``,
        ``schema`` and ``listener_url``. An engine's ``connect_args`` have no effect, because this
        method cannot see them.

        Raises:
            ValueError: The URL is for another kind of database, cannot be parsed, or has a
                parameter that cannot be used. Neither the error's message nor a variable in its
                traceback contains the password.
            TypeError: The value is neither a URL nor an engine.
        """
        render = getattr(getattr(database, "url", None), "render_as_string", None)
        text = database if render is None else render(hide_password=False)
        if not isinstance(text, str):
            raise TypeError(
                "a PostgreSQL database is given as a URL, an asyncpg pool or an SQLAlchemy engine, "
                f"not as {type(database).__name__}"
            )
        try:
            return _parse(text)
        except ValueError as exc:
            problem = str(exc)
        del database, render, text
        raise ValueError(problem)

    def driver_arguments(self) -> dict[str, Any]:
        """Return the arguments of the driver's ``connect`` and ``create_pool``."""
        settings = {} if self.pooler else {"application_name": "inkstream"}
        arguments: dict[str, Any] = {
            "dsn": self.url,
            "statement_cache_size": 0 if self.pooler else 100,
            "server_settings": settings | self.settings,
            **self.arguments,
        }
        arguments["timeout"] = self.arguments.get("timeout") or CONNECT_S
        if self.system_roots:
            arguments["ssl"] = ssl.create_default_context()
        return arguments

    def __str__(self) -> str:
        """Return the URL without password and parameters, to be shown and logged."""
        parts = urlsplit(self.url)
        user, at, host = parts.netloc.rpartition("@")
        user = quote(user.partition(":")[0], safe="%")
        return f"{parts.scheme}://{user}{at}{host}{parts.path}"

    def __repr__(self) -> str:
        return f"<Address {self}>"


def _parse(text: str) -> Address:
    if not is_postgres(text):
        raise ValueError(
            "this is not a postgresql:// URL; a SQLite file is given as a string, "
            "sqlite:///inkstream.db"
        )
    try:
        parts = urlsplit(text)
    except ValueError:
        parts = None
    if parts is None or parts.fragment or "://" not in text:
        raise ValueError(_ODD_PASSWORD)
    hosts = _hosts(parts)
    found = sort_parameters(parse_qsl(parts.query, keep_blank_values=True), has_host=any(hosts))
    query = found.query
    several = len(hosts) > 1 or any(n == "host" and "," in value for n, value in query)
    if several and not any(name == "target_session_attrs" for name, _ in query):
        # The driver must look for a server that takes writes, because a host may be a standby.
        query.append(("target_session_attrs", "read-write"))
    # An empty host means the local socket. urlunsplit() would drop the // before an empty host.
    url = f"postgresql://{parts.netloc}{parts.path}"
    if query:
        url += f"?{urlencode(query)}"
    return Address(
        url,
        "pooler" in found.own,
        schema_name(found.own.get("schema", SCHEMA)),
        found.own.get("listener_url"),
        found.arguments,
        found.settings,
        tuple(sorted(found.ignored)),
        found.system_roots,
    )


def _hosts(parts: SplitResult) -> list[str]:
    """Return the hosts in a URL, with their ports.

    Raises:
        ValueError: A host or port is not valid, for example because the password contains a slash.
    """
    hosts = parts.netloc.rpartition("@")[2].split(",")
    for host in hosts:
        match = _HOST.fullmatch(host)
        if match is None or int((match[2] or ":")[1:] or 0) > 65535:
            raise ValueError(_ODD_PASSWORD)
    return hosts


def schema_name(schema: str) -> str:
    """Check and return a schema's name, because statements contain the name without quotes.

    Raises:
        ValueError: The name is not a plain lower-case name.
    """
    if _SCHEMA.fullmatch(schema) is None:
        raise ValueError(
            f"{schema!r} cannot name inkstream's schema: use lower-case letters, digits and _"
        )
    return schema


_OWN_NAME = re.compile(r"\binkstream\b")


def in_schema(sql: str, schema: str) -> str:
    """Return ``sql`` with ``schema`` in the place of each word ``inkstream``."""
    return _OWN_NAME.sub(schema, sql)
