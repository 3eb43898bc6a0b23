"""PostgreSQL URLs of providers and of other tools work, and no error shows a password."""

from __future__ import annotations

import logging
import re
import sys
import traceback
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from asyncpg import connect_utils
from sqlalchemy import create_engine

from inkstream import PersistentTextStreaming, StoreUnavailable
from inkstream import sync as inkstream_sync
from inkstream.facade.databases import name_of, open_database
from inkstream.stores.postgres import PostgresStore, migrate, verify
from inkstream.stores.postgres._address import Address
from inkstream.stores.postgres._parameters import IGNORED, REFUSED

LIBPQ = [
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "passfile",
    "require_auth",
    "channel_binding",
    "connect_timeout",
    "client_encoding",
    "options",
    "application_name",
    "fallback_application_name",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_count",
    "tcp_user_timeout",
    "replication",
    "gssencmode",
    "sslmode",
    "requiressl",
    "sslnegotiation",
    "sslcompression",
    "sslcert",
    "sslkey",
    "sslkeylogfile",
    "sslpassword",
    "sslcertmode",
    "sslrootcert",
    "sslcrl",
    "sslcrldir",
    "sslsni",
    "requirepeer",
    "ssl_min_protocol_version",
    "ssl_max_protocol_version",
    "min_protocol_version",
    "max_protocol_version",
    "krbsrvname",
    "gsslib",
    "gssdelegation",
    "scram_client_key",
    "scram_server_key",
    "service",
    "servicefile",
    "target_session_attrs",
    "load_balance_hosts",
    "oauth_issuer",
    "oauth_client_id",
    "oauth_client_secret",
    "oauth_scope",
]
"""The parameters of libpq (https://www.postgresql.org/docs/18/libpq-connect.html)."""


@pytest.mark.parametrize("name", LIBPQ)
def test_libpq_parameters(name: str) -> None:
    """The store accepts each parameter, or refuses it with an error that names it."""
    value = {
        "target_session_attrs": "any",
        "sslmode": "require",
        "sslnegotiation": "postgres",
        "gsslib": "gssapi",
    }.get(name, "1")
    url = f"postgresql://u:p@h/d?{name}={value}"
    if name in REFUSED:
        with pytest.raises(ValueError, match=f"{name} cannot be honoured"):
            Address.parse(url)
        return
    address = Address.parse(url)
    assert settings_of(address).keys() <= {"application_name", "options"}


def settings_of(address: Address) -> dict[str, str]:
    """Return the settings that the driver would send to the server."""
    dsn = address.driver_arguments()["dsn"]
    parse: Callable[..., Any] = vars(connect_utils)["_parse_connect_dsn_and_args"]
    empty = dict.fromkeys(parse.__code__.co_varnames[: parse.__code__.co_kwonlyargcount])
    empty |= {"dsn": dsn, "server_settings": address.driver_arguments()["server_settings"]}
    empty["ssl"] = False  # otherwise the driver would read certificate files, which do not exist
    _, params = parse(**empty)
    return dict(params.server_settings or {})


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        # Neon, Supabase through Vercel, Heroku, Azure
        (
            "postgresql://u:p@ep-x-pooler.neon.tech/d?sslmode=require&channel_binding=require",
            {"query": "sslmode=require", "ignored": ("channel_binding",)},
        ),
        (
            "postgres://u:p@h:6543/d?sslmode=require&supa=base-pooler.x&pgbouncer=true",
            {"query": "sslmode=require", "pooler": True},
        ),
        ("postgres://u:p@h/d?connect_timeout=15", {"arguments": {"timeout": 15.0}}),
        ("postgres://u:p@h/d?connect_timeout=0", {"arguments": {"timeout": None}}),
        (
            "postgresql://u:p@h/d?options=endpoint%3Dep-x&application_name=shop",
            {"settings": {"options": "endpoint=ep-x", "application_name": "shop"}},
        ),
        (
            "postgresql://u:p@h/d?fallback_application_name=shop",
            {"settings": {"application_name": "shop"}},
        ),
        # Prisma
        ("postgresql://u:p@h/d?schema=public", {"schema": "inkstream"}),
        ("postgresql://u:p@h/d?schema=mine&connection_limit=1&pool_timeout=0", {"schema": "mine"}),
        (
            "postgresql://u:p@h/d?sslmode=require&sslaccept=strict",
            {"query": "sslmode=verify-full", "system_roots": True},
        ),
        (
            "postgresql://u:p@h/d?sslmode=require&sslaccept=accept_invalid_certs",
            {"query": "sslmode=require", "system_roots": False},
        ),
        # SQLAlchemy
        ("postgresql+psycopg://u:p@/d?host=a:1&host=b:2", {"query": None}),
        ("postgresql+asyncpg://u:p@h/d?ssl=verify-full", {"query": "sslmode=verify-full"}),
        ("postgresql+asyncpg://u:p@h/d?prepared_statement_cache_size=500", {"pooler": False}),
        # Django, JDBC, node-postgres
        ("postgis://u:p@h/d?conn_max_age=600&ssl_require=true", {"query": "sslmode=require"}),
        ("postgresql://u:p@h/d?prepareThreshold=0&currentSchema=x", {"pooler": True}),
        ("postgres://u:p@h/d?sslmode=no-verify", {"query": "sslmode=require"}),
        ("postgres://u:p@h/d?ssl=true", {"query": "sslmode=require"}),
        # libpq
        ("postgresql://u:p@h/d?requiressl=1", {"query": "sslmode=require"}),
        ("postgresql://u:p@h/d?sslrootcert=system", {"system_roots": True}),
        ("postgresql:///d?hostaddr=127.0.0.1", {"query": "host=127.0.0.1"}),
        ("postgresql://[::1]:5432/d?service=x", {"arguments": {"service": "x"}}),
        ("postgresql:///d?service=x&servicefile=/y", {"query": ""}),
    ],
)
def test_common_urls(url: str, parts: dict[str, object]) -> None:
    address = Address.parse(url)
    query = urlsplit(address.url).query
    if (wanted := parts.pop("query", None)) is not None:
        assert query == wanted
    assert {name: getattr(address, name) for name in parts} == parts


def test_several_hosts_of_sqlalchemy() -> None:
    """G12: of the hosts that SQLAlchemy's URL names, the driver looks for one that takes writes."""
    address = Address.parse("postgresql+psycopg2://u:p@/d?host=a:1&host=b:2")
    assert urlsplit(address.url).query == (
        f"host={quote('a:1,b:2', safe='')}&target_session_attrs=read-write"
    )


@pytest.mark.parametrize(
    ("parameter", "said"),
    [
        ("ssl_mode=require", "unknown parameters: 'ssl_mode'"),
        ("statement_timeout=5", "options=-c"),
        ("Application_Name=x", "'Application_Name'"),
        ("sslmode=verify_full", "sslmode is one of"),
        ("sslaccept=yes", "sslaccept is one of"),
        ("connect_timeout=soon", "connect_timeout is a number"),
        ("connect_timeout=1e999", "connect_timeout is a number"),
        ("target_session_attrs=standby", "target_session_attrs is one of"),
        ("target_session_attrs=prefer-standby", "target_session_attrs is one of"),
        ("gssencmode=require", "gssencmode"),
        ("require_auth=scram-sha-256", "pg_hba.conf"),
        ("sslrootcert=system&sslmode=require", "verify-full"),
        ("a%20secret%3D=1", "odd characters"),
        ("schema=A", "cannot name"),
    ],
)
def test_invalid_parameters(parameter: str, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        PersistentTextStreaming(f"postgresql://u:p@h/d?{parameter}")
    with pytest.raises(ValueError, match=re.escape(said)):
        PostgresStore("postgresql://h/d", listener_url=f"postgresql://u:p@h/d?{parameter}")


def test_ignored_parameters_are_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "inkstream"):
        PostgresStore("postgresql://u:s3cret@h/d?channel_binding=require&keepalives=1")
    (record,) = caplog.records
    assert "channel_binding" in record.getMessage()
    assert "s3cret" not in record.getMessage()
    assert all(reason.strip() for reason in IGNORED.values())


SECRET = "s3cret"
TYPOS = [
    f"postgresqll://u:{SECRET}@h/d",
    f"postgresql:/u:{SECRET}@h/d",
    f"postgresql//u:{SECRET}@h/d",
    f"u:{SECRET}@h/d",
    f"redis://:{SECRET}@h/0",
    f"redis//:{SECRET}@h/0",
    f"sqlite://u:{SECRET}@h/d",
    f"sqlite:{SECRET}",
    f"mysql+pymysql://u:{SECRET}@h/d",
    f"postgresql://u:{SECRET}/x@h/d",
    f"postgresql://u:{SECRET}#x@h/d",
    f"postgresql://u:{SECRET}?x@h/d",
    f"postgresql://u:[{SECRET}@h/d",
    f"postgresql://u:{SECRET}\u2100@h/d",
    f"postgresql://u:p@h/d?sslmode={SECRET}",
    f"postgresql://u:p@h/d?pasword={SECRET}",
    f"postgresql://u:p@h/d?sslmode=require&{SECRET}%26=x",
    f"postgresql://u:p@h/d?pooler=1&listener_url=postgresqll%3A%2F%2Fu%3A{SECRET}%40h",
    f" postgresql://u:{SECRET}@h/d",
]


def shown(exc: BaseException) -> str:
    """Return the error's text, and the variables in stack frames of the library and the driver."""
    text = "".join(traceback.format_exception_only(exc))
    links: list[BaseException | None] = [exc]
    while links:
        link = links.pop()
        if link is None:
            continue
        text += repr(link) + str(link.args)
        links += [link.__cause__, link.__context__]
        trace: TracebackType | None = link.__traceback__
        while trace is not None:
            if is_ours(trace.tb_frame):
                text += repr(trace.tb_frame.f_locals)
            trace = trace.tb_next
    return text


def is_ours(frame: FrameType) -> bool:
    return "/tests/" not in frame.f_code.co_filename


@pytest.mark.parametrize("url", TYPOS)
@pytest.mark.parametrize(
    "make",
    [PersistentTextStreaming, inkstream_sync.PersistentTextStreaming, open_database, PostgresStore],
)
def test_no_error_shows_a_password(make: Callable[[str], object], url: str) -> None:
    with pytest.raises((ValueError, TypeError)) as caught:
        make(url)
    assert SECRET not in shown(caught.value)


def test_no_repr_shows_a_password() -> None:
    url = f"postgresql://u:{SECRET}@h/d?password={SECRET}"
    streams = PersistentTextStreaming(url)
    for value in (streams, Address.parse(url), PostgresStore(url), open_database(url)):
        assert SECRET not in repr(value)
    for url in TYPOS:
        if "://" in url and "?" not in url:
            name_of(url)
    assert name_of(f"postgresql://u:{SECRET}/x@h/d?x={SECRET}") == "postgresql://h/d"


async def test_no_failed_connection_shows_a_password() -> None:
    """After a failed connection, only the caller's argument may still show the password."""
    url = f"postgresql://u:{SECRET}@127.0.0.1:1/d?sslmode=disable&connect_timeout=1"
    streams = PersistentTextStreaming(url)
    with pytest.raises(StoreUnavailable) as caught:
        async with streams:
            pass
    assert SECRET not in shown(caught.value)
    for call in (migrate, verify):
        with pytest.raises(StoreUnavailable) as caught:
            await call(url)
        text = shown(caught.value)
        assert text.count(SECRET) <= 1, "only the caller's argument may show the password"


def test_an_engine_of_sqlite_is_refused_before_asyncpg(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error must not ask an application on SQLite to install asyncpg."""
    for room in ("notifiers", "stores"):
        monkeypatch.setitem(sys.modules, f"inkstream.{room}.postgres", None)
    with pytest.raises(ValueError, match="give a SQLite file as a string"):
        open_database(create_engine("sqlite://"))
