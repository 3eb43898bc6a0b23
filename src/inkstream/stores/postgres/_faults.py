"""Converts the errors of PostgreSQL's drivers to inkstream's own errors."""

from __future__ import annotations

from typing import Final

import asyncpg

from inkstream._errors import OutcomeUnknown, SchemaOutdated, StoreError, StoreUnavailable

# https://www.postgresql.org/docs/current/errcodes-appendix.html
_SCHEMA: Final = frozenset({"42P01", "42883", "42703", "3F000"})
_TRY_AGAIN: Final = frozenset({"40001", "40P01"})
_LOST_CLASS: Final = ("08", "57P01", "57P02", "57P05", "25P03")
_OWN_FAULT: Final = ("22", "23", "42")
_PREPARED: Final = frozenset({"26000", "42P05", "08P01"})
_CONDEMNING: Final = ("25006", "57P", "0A000", "55000")
_LOCKED: Final = (
    "another session keeps a lock (SELECT pid, pg_blocking_pids(pid) FROM pg_stat_activity "
    "WHERE wait_event_type = 'Lock')"
)

DRIVER_ERRORS: Final = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,  # TimeoutError is a subclass
)
"""The types of all errors that asyncpg raises because of a database."""


def sqlstate(exc: BaseException) -> str | None:
    """Return the server's five-character code of an error of any driver."""
    for source in (exc, getattr(exc, "orig", None), exc.__cause__):
        for name in ("sqlstate", "pgcode"):
            code = getattr(source, name, None)
            if isinstance(code, str):
                return code
    return None


def is_retryable(exc: BaseException) -> bool:
    """Return whether the statement had no effect and may be sent again unchanged."""
    return sqlstate(exc) in _TRY_AGAIN


def condemns(exc: BaseException) -> bool:
    """Return whether an error shows that the server of a connection takes no writes.

    Such a server answers reads, so its connections look healthy, and a pool would keep them for
    ever. After a switch to another leader, only new connections reach the new leader.
    """
    code = sqlstate(exc)
    if code is None or not code.startswith(_CONDEMNING):
        return False
    return code.startswith(("25006", "57P")) or "recovery" in str(exc)


def without_frames(exc: BaseException) -> BaseException:
    """Remove an error's tracebacks, because the driver's frames have the password in variables."""
    seen: set[int] = set()
    chain: list[BaseException | None] = [exc]
    while chain:
        link = chain.pop()
        if link is not None and id(link) not in seen:
            seen.add(id(link))
            link.__traceback__ = None
            chain += [link.__cause__, link.__context__]
            if isinstance(link, BaseExceptionGroup):
                chain += link.exceptions
    return exc


def translate(
    exc: Exception, *, writing: bool, migrate: str, holder: str | None = None
) -> Exception:
    """Return the error to raise for a driver's error ``exc``.

    If ``exc`` shows a mistake in the code, return ``exc`` unchanged. ``writing`` says whether the
    statement was a write in its own transaction. ``migrate`` is the command that updates the
    schema. ``holder`` says which session held a lock for which the statement waited.
    """
    code = sqlstate(exc)
    if code is None:
        if isinstance(exc, ValueError):  # asyncpg.DataError: an argument of the wrong type
            return exc
        if isinstance(exc, asyncpg.InterfaceError):  # the connection was closed already
            return StoreUnavailable(f"PostgreSQL cannot be reached: {exc}")
        return _lost(exc, writing, holder)
    if code in _SCHEMA:
        return SchemaOutdated(f"the database lacks a part of inkstream's schema ({exc}): {migrate}")
    if code == "42501":
        return StoreError(
            f"the database role lacks a privilege that inkstream needs: {exc}; `inkstream doctor "
            "--database URL` names all that are missing"
        )
    if condemns(exc) and not code.startswith("57P"):
        return StoreUnavailable(
            f"PostgreSQL takes no writes ({code}): {exc}; if it is a standby, give the URL of the "
            "primary, or both hosts with target_session_attrs=read-write"
        )
    if code in _PREPARED:
        return StoreUnavailable(
            f"PostgreSQL lost a prepared statement ({exc}): if a transaction pooler is in front of "
            "it, add ?pooler=true to the URL"
        )
    if code == "55P03":
        return StoreUnavailable(f"PostgreSQL refused ({code}): {exc}; {holder or _LOCKED}")
    if code.startswith(_LOST_CLASS):
        return _lost(exc, writing, holder)
    if code.startswith(_OWN_FAULT):
        return exc
    return StoreUnavailable(f"PostgreSQL refused ({code}): {exc}")


def unreachable(exc: Exception, migrate: str) -> Exception:
    """Return the error to raise for a driver's error ``exc`` of an attempt to connect."""
    if isinstance(exc, TimeoutError):
        return StoreUnavailable("PostgreSQL accepted no connection in time")
    if sqlstate(exc) is None and isinstance(exc, OSError):
        return StoreUnavailable(f"no connection to PostgreSQL is possible: {exc!r}")
    return translate(exc, writing=False, migrate=migrate)


def _lost(exc: Exception, writing: bool, holder: str | None) -> StoreUnavailable:
    if isinstance(exc, TimeoutError):
        why = holder or f"it is paused or overloaded, or {_LOCKED}"
        said = f"PostgreSQL did not answer in time: {why}"
        return OutcomeUnknown(said) if writing else StoreUnavailable(said)
    if writing:
        return OutcomeUnknown(f"the connection to PostgreSQL was lost during a commit: {exc!r}")
    return StoreUnavailable(f"the connection to PostgreSQL was lost: {exc!r}")
