"""Sorts the parameters of a connection URL. libpq, other drivers and ORMs define these parameters.

The driver sends every unknown parameter to the server as a setting, and the server then refuses the
connection. So inkstream uses or translates each known parameter, or ignores or refuses it for a
stated reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

_DRIVER: Final = frozenset(
    {
        *("host", "port", "dbname", "database", "user", "password", "passfile"),
        *("sslcert", "sslkey", "sslcrl", "sslpassword"),
        *("ssl_min_protocol_version", "ssl_max_protocol_version", "krbsrvname"),
    }
)
"""Parameters that stay in the URL, because the driver accepts them in a URL."""

_POOLER_IF_ZERO: Final = frozenset(
    {"statement_cache_size", "prepared_statement_cache_size", "prepareThreshold"}
)
"""Parameters that mean ``pooler=true`` if their value is 0.

The value 0 switches prepared statements off, as many transaction poolers need.
"""

_TIMEOUT: Final = "inkstream sets its own time limits"
_POOL: Final = "inkstream manages its own pool"
_FILES: Final = "asyncpg cannot do it"
_ORM: Final = "it is about another library"

IGNORED: Final[dict[str, str]] = {
    # libpq
    "channel_binding": "asyncpg has no channel binding; sslmode=verify-full protects as well",
    "client_encoding": "asyncpg always speaks UTF-8",
    "hostaddr": "the host's name is looked up",
    "gssencmode": "asyncpg encrypts with TLS alone",
    "gssdelegation": _FILES,
    "keepalives": "inkstream looks for silent connections itself",
    "keepalives_idle": "inkstream looks for silent connections itself",
    "keepalives_interval": "inkstream looks for silent connections itself",
    "keepalives_count": "inkstream looks for silent connections itself",
    "tcp_user_timeout": "inkstream looks for silent connections itself",
    "load_balance_hosts": "only a server that takes writes is of use",
    "min_protocol_version": "asyncpg speaks protocol 3.0",
    "max_protocol_version": "asyncpg speaks protocol 3.0",
    "sslcertmode": "a certificate is sent when sslcert names one",
    "sslcompression": "TLS compression is not safe",
    "sslkeylogfile": _FILES,
    "sslsni": "the host's name is always sent",
    # Prisma
    "connection_limit": _POOL,
    "pool_timeout": _TIMEOUT,
    "socket_timeout": _TIMEOUT,
    "max_idle_connection_lifetime": _POOL,
    "max_connection_lifetime": _POOL,
    # SQLAlchemy, asyncpg, psycopg
    "async_fallback": _ORM,
    "autocommit": "every statement is a transaction of its own",
    "command_timeout": _TIMEOUT,
    "max_cacheable_statement_size": _ORM,
    "max_cached_statement_lifetime": _ORM,
    "max_overflow": _POOL,
    "pool_pre_ping": _POOL,
    "pool_recycle": _POOL,
    "pool_size": _POOL,
    "prepare_threshold": _ORM,
    "prepared_statement_name_func": _ORM,
    # Django's settings in URLs
    "conn_health_checks": _POOL,
    "conn_max_age": _POOL,
    "disable_server_side_cursors": _ORM,
    # JDBC, node-postgres, providers
    "currentSchema": "every name is qualified",
    "search_path": "every name is qualified",
    "supa": _ORM,
    "uselibpqcompat": _ORM,
    "workaround": _ORM,
}
"""Parameters that have no effect in inkstream, each with the reason."""

REFUSED: Final[dict[str, str]] = {
    "replication": "a replication connection executes no statements",
    "require_auth": "asyncpg cannot restrict how it authenticates; set it in pg_hba.conf",
    "requirepeer": "asyncpg cannot check the server's user; protect the socket's directory instead",
    "scram_client_key": "asyncpg needs the password itself",
    "scram_server_key": "asyncpg needs the password itself",
    "sslcrldir": "asyncpg takes one file, sslcrl",
    "sslidentity": "give sslcert and sslkey, two files in PEM",
    **dict.fromkeys(
        ("oauth_client_id", "oauth_client_secret", "oauth_issuer", "oauth_scope", "oauth_ca_file"),
        "asyncpg cannot authenticate with OAuth",
    ),
}
"""Parameters that inkstream refuses, each with the reason.

A connection that ignored such a parameter would not do what the URL demands.
"""

_SSL_MODES: Final = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_SSL_WORDS: Final = {
    **dict.fromkeys(("true", "1", "yes", "on"), "require"),
    **dict.fromkeys(("false", "0", "no", "off"), "disable"),
    "no-verify": "require",
}
_WORDS: Final = {
    "gsslib": ("gssapi", "sspi"),
    "sslnegotiation": ("postgres", "direct"),
    "target_session_attrs": ("any", "primary", "read-write"),
}
_FALSE: Final = frozenset({"", "0", "false", "no", "off"})


@dataclass(slots=True)
class Parameters:
    """A URL's parameters, sorted by their use.

    Attributes:
        query: The parameters that stay in the URL, for the driver.
        arguments: The parameters that the driver gets as arguments.
        settings: The parameters that the server gets as settings of the session.
        own: inkstream's own parameters: ``pooler``, ``schema``, ``listener_url``.
        ignored: Names of parameters without an effect.
        system_roots: Whether a certificate authority that the operating system trusts must have
            signed the server's certificate.
    """

    query: list[tuple[str, str]] = field(default_factory=list)
    arguments: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)
    own: dict[str, str] = field(default_factory=dict)
    ignored: list[str] = field(default_factory=list)
    system_roots: bool = False


def sort_parameters(pairs: Iterable[tuple[str, str]], *, has_host: bool) -> Parameters:
    """Sort a URL's decoded parameters by their use.

    ``has_host`` says whether the URL names a host before its path.

    Raises:
        ValueError: A parameter is unknown, cannot be used, or has an impossible value. The message
            never contains a value, because the value might be a password.
    """
    given = dict(_merged(pairs))
    sorted_ = Parameters()
    _sort_security(given, sorted_)
    if "hostaddr" in given and not has_host and "host" not in given:
        given["host"] = given.pop("hostaddr")
    unknown: list[str] = []
    for name, value in given.items():
        if name in ("pooler", "pgbouncer"):
            if value.lower() not in _FALSE:
                sorted_.own["pooler"] = "true"
        elif name == "schema":
            if value == "public":  # Prisma's URLs contain schema=public
                sorted_.ignored.append(name)
            else:
                sorted_.own[name] = value
        elif name == "listener_url":
            sorted_.own[name] = value
        elif name in _POOLER_IF_ZERO:
            if value == "0":
                sorted_.own["pooler"] = "true"
        elif name in ("connect_timeout", "timeout"):
            sorted_.arguments["timeout"] = _seconds(name, value)
        elif name in ("service", "servicefile"):
            sorted_.arguments[name] = value
        elif name in ("application_name", "options"):
            sorted_.settings[name] = value
        elif name == "fallback_application_name":
            sorted_.settings.setdefault("application_name", value)
        elif name in _WORDS:
            _one_of(name, value, _WORDS[name])
            sorted_.query.append((name, value))
        elif name in _DRIVER:
            sorted_.query.append((name, value))
        elif name in IGNORED:
            sorted_.ignored.append(name)
        elif name in REFUSED:
            raise ValueError(f"the parameter {name} cannot be honoured: {REFUSED[name]}")
        else:
            unknown.append(name)
    if unknown:
        raise ValueError(
            f"the URL has unknown parameters: {', '.join(map(_shown, unknown))}; a "
            "setting of the server is given as options=-c%20name%3Dvalue"
        )
    return sorted_


def _merged(pairs: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Yield the parameters, with all parameters ``host`` joined into one.

    SQLAlchemy writes a list of hosts as several parameters ``host``.
    """
    hosts: list[str] = []
    for name, value in pairs:
        if name == "host":
            hosts.append(value)
        else:
            yield name, value
    if hosts:
        yield "host", ",".join(hosts)


def _sort_security(given: dict[str, str], sorted_: Parameters) -> None:
    """Remove the parameters about encryption from ``given``, and sort them into ``sorted_``."""
    mode = given.pop("sslmode", None)
    for name in ("ssl", "ssl_require", "requiressl"):
        value = given.pop(name, None)
        mode = value if mode is None and value else mode
    if mode is not None:
        mode = _SSL_WORDS.get(mode.lower(), mode)
        _one_of("sslmode", mode, _SSL_MODES)
    accept = given.pop("sslaccept", None)
    roots = given.pop("sslrootcert", None)
    if accept is not None:
        _one_of("sslaccept", accept, ("strict", "accept_invalid_certs"))
    if given.pop("gssencmode", "prefer") == "require":
        raise ValueError("gssencmode=require cannot be honoured: asyncpg encrypts with TLS alone")
    sorted_.system_roots = roots == "system" or (accept == "strict" and not roots)
    if accept == "strict" and mode in (None, "allow", "prefer", "require"):
        mode = "verify-full"
    if roots == "system":
        if mode not in (None, "verify-full"):
            raise ValueError("sslrootcert=system needs sslmode=verify-full")
        mode = "verify-full"
    elif roots:
        sorted_.query.append(("sslrootcert", roots))
    if mode is not None:
        sorted_.query.insert(0, ("sslmode", mode))


def _one_of(name: str, value: str, words: tuple[str, ...]) -> None:
    if value not in words:
        raise ValueError(f"the parameter {name} is one of {', '.join(words)} here")


def _seconds(name: str, value: str) -> float | None:
    """Return a connect timeout in seconds, or ``None`` for 0 or less.

    As in libpq, a value of 0 or less means the same as no value.
    """
    try:
        seconds = float(value)
    except ValueError:
        seconds = float("nan")
    if not seconds < 86_400:
        raise ValueError(f"the parameter {name} is a number of seconds")
    return seconds if seconds > 0 else None


def _shown(name: str) -> str:
    """Return a parameter's name if it looks like a name. Other text may be part of a password."""
    return repr(name) if name.isidentifier() and len(name) <= 40 else "one with odd characters"
