"""The ways in which an application may name its PostgreSQL, and the driver's view of them."""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import SplitResult, parse_qsl, quote, urlencode, urlsplit

from inkstream.stores.postgres._parameters import sort_parameters

SCHEMA: Final = "inkstream"
"""The schema of inkstream's tables unless the application says another."""

CONNECT_S: Final = 5.0

_SCHEME: Final = re.compile(r"(postgres(ql)?|pgsql|postgis)(\+[a-z0-9_]+)?", re.ASCII)
_SCHEMA: Final = re.compile(r"[a-z_][a-z0-9_]{0,62}", re.ASCII)
_HOST: Final = re.compile(r"(\[[0-9a-fA-F:.%]+\]|[^\[\]:]*)(:[0-9]{0,5})?")
_ODD_PASSWORD: Final = (
    "the URL cannot be taken apart: in a user's name or password, percent-encode the characters "
    "/ ? # [ ] @ : and %"
)


def is_postgres(url: str) -> bool:
    """Tell whether a URL is one of PostgreSQL, by its scheme."""
    return _SCHEME.fullmatch(url.partition(":")[0]) is not None


@dataclass(frozen=True, slots=True, repr=False)
class Address:
    """Where a database is, and how to connect to it.

    Its ``repr`` has no password, because tracebacks show variables.

    Attributes:
        url: For the driver, with the password.
        pooler: A transaction pooler answers there, so that no state of a session may be relied on.
        schema: Where inkstream's tables are.
        listener_url: Where a connection may be held for long, if not there.
        arguments: Further arguments for the driver.
        settings: Settings of the server's for each session.
        ignored: Parameters of the URL that change nothing here.
        system_roots: Trust the certificate authorities that the system trusts, and no others.
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
        """Return the address that a URL, or an SQLAlchemy engine's URL, stands for.

        ``postgresql://`` and ``postgres://`` are taken, either with ``+driver``, with the
        parameters of libpq and of other tools, and ``pooler``, ``schema`` and ``listener_url``. An
        engine's ``connect_args`` are not known here.

        Raises:
            ValueError: It is another database's, or a parameter cannot be honoured. No message and
                no variable of the frames that raised it holds the password.
            TypeError: It is neither.
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
        """Return the URL without its password and parameters, as it may be shown and logged."""
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
        # A standby among them answers reads and takes no writes.
        query.append(("target_session_attrs", "read-write"))
    # urlunsplit() would drop the // of an empty host, and an empty host means the local socket.
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
    """Return the hosts before the path, with their ports.

    Raises:
        ValueError: They are none: a password with a slash in it ends there, too.
    """
    hosts = parts.netloc.rpartition("@")[2].split(",")
    for host in hosts:
        match = _HOST.fullmatch(host)
        if match is None or int((match[2] or ":")[1:] or 0) > 65535:
            raise ValueError(_ODD_PASSWORD)
    return hosts


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
