"""These tests of the PostgreSQL store's URLs, errors, waves and locks need no server."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Sequence
from itertools import pairwise

import asyncpg
import pytest
import sqlalchemy
from hypothesis import given
from hypothesis import strategies as st

from inkstream._errors import (
    InvalidInput,
    OutcomeUnknown,
    SchemaOutdated,
    StoreError,
    StoreUnavailable,
)
from inkstream._types import Change, Committed, Group, Head, Refused
from inkstream.stores.postgres import PostgresStore, sql
from inkstream.stores.postgres._address import Address
from inkstream.stores.postgres._faults import DRIVER_ERRORS, condemns, is_retryable, translate
from inkstream.stores.postgres._locks import CONFIRM_S, Locks, Row
from inkstream.stores.postgres._rows import in_waves, outcomes, storable

# Addresses -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "url", "pooler"),
    [
        ("postgresql://u:p@h:1/d", "postgresql://u:p@h:1/d", False),
        ("postgres://h/d", "postgresql://h/d", False),
        ("postgresql+asyncpg://u@h/d", "postgresql://u@h/d", False),
        ("postgresql+psycopg2://h/d?ssl=require", "postgresql://h/d?sslmode=require", False),
        ("postgresql:///d?host=%2Frun%2Fpg", "postgresql:///d?host=%2Frun%2Fpg", False),
        ("postgresql://h/d?statement_cache_size=0", "postgresql://h/d", True),
        ("postgresql://h/d?prepared_statement_cache_size=0", "postgresql://h/d", True),
        ("postgresql://h/d?pooler=true&sslmode=disable", "postgresql://h/d?sslmode=disable", True),
        ("postgresql://h/d?pooler=false", "postgresql://h/d", False),
        (
            "postgresql://h1:1,h2:2/d",
            "postgresql://h1:1,h2:2/d?target_session_attrs=read-write",
            False,
        ),
    ],
)
def test_urls(given: str, url: str, pooler: bool) -> None:
    assert Address.parse(given) == Address(url, pooler)


def test_url_has_schema_and_listener() -> None:
    url = "postgresql://pool/d?pooler=1&schema=mine&listener_url=postgresql%3A%2F%2Fdirect%2Fd"
    listener = "postgresql://direct/d"
    assert Address.parse(url) == Address("postgresql://pool/d", True, "mine", listener)
    with pytest.raises(ValueError, match="schema"):
        Address.parse("postgresql://h/d?schema=a;drop")


def test_an_engine_gives_its_url_with_its_password() -> None:
    engine = sqlalchemy.create_engine("postgresql+psycopg://u:p%40ss@h/d")
    assert Address.parse(engine) == Address("postgresql://u:p%40ss@h/d")


def test_shown_address_has_no_password() -> None:
    address = Address.parse("postgresql://me:secret@h:1/d?password=x")
    assert str(address) == "postgresql://me@h:1/d"
    assert "secret" not in repr(address)
    assert str(Address.parse("postgresql:///d")) == "postgresql:///d"


@pytest.mark.parametrize("schema", ["", "Ink", "a b", 'x"; DROP', "a.b", "1a", "é", "x" * 64])
def test_a_schema_has_a_plain_name(schema: str) -> None:
    """A schema's name must be plain, because statements contain it without quotes."""
    with pytest.raises(ValueError, match="schema"):
        PostgresStore("postgresql://h/d", schema=schema)
    with pytest.raises(ValueError, match="schema"):
        sql(schema=schema)


# Errors --------------------------------------------------------------------------------------

_LOST = {"08000", "08001", "08003", "08004", "08006", "08007", "57P01", "57P02", "57P05", "25P03"}


def raisable() -> list[type[Exception]]:
    """Return asyncpg's error classes, without its warnings."""
    classes = {
        cls
        for _, cls in inspect.getmembers(asyncpg.exceptions, inspect.isclass)
        if issubclass(cls, Exception) and not issubclass(cls, Warning)
    }
    return sorted(classes, key=lambda cls: cls.__name__)


@pytest.mark.parametrize("cls", [*raisable(), ConnectionResetError, TimeoutError, OSError])
def test_every_error_of_the_driver(cls: type[Exception]) -> None:
    """G12: errors of the driver become errors of inkstream. Programming errors stay unchanged."""
    exc = cls("said")
    if not isinstance(exc, DRIVER_ERRORS):
        assert issubclass(cls, ValueError) or cls.__name__ == "PostgresMessage", cls
        return
    code = getattr(exc, "sqlstate", None)
    reading = translate(exc, writing=False, migrate="run: inkstream migrate")
    writing = translate(exc, writing=True, migrate="run: inkstream migrate")
    assert not isinstance(reading, OutcomeUnknown)
    interface = issubclass(cls, asyncpg.InterfaceError)
    if code in _LOST or (code is None and not interface):
        assert isinstance(reading, StoreUnavailable)
        assert isinstance(writing, OutcomeUnknown)
    elif code in ("42P01", "42883", "42703", "3F000"):
        assert isinstance(writing, SchemaOutdated)
        assert "inkstream migrate" in str(writing)
    elif code == "42501":
        assert type(writing) is StoreError
    elif issubclass(cls, ValueError) or (code or "").startswith(("22", "23", "42")):
        assert writing is exc or code == "42P05", "a programming error is raised unchanged"
    else:
        assert type(writing) is StoreUnavailable, code
    assert is_retryable(exc) == (code in ("40001", "40P01"))


@pytest.mark.parametrize(
    ("code", "said", "condemned"),
    [
        ("25006", "cannot execute INSERT in a read-only transaction", True),
        ("57P01", "terminating connection due to administrator command", True),
        ("57P02", "terminating connection because of crash", True),
        ("57P03", "the database system is shutting down", True),
        ("0A000", "cannot access temporary or unlogged relations during recovery", True),
        ("55000", "recovery is in progress", True),
        ("0A000", "cached plan must not change result type", False),
        ("55000", "lastval is not yet defined in this session", False),
        ("53100", "could not extend file: No space left on device", False),
        ("57014", "canceling statement due to statement timeout", False),
    ],
)
def test_errors_that_condemn_a_connection(code: str, said: str, condemned: bool) -> None:
    """G12: ``condemns`` says whether an error comes from a server that takes no more writes."""
    assert condemns(asyncpg.PostgresError.new({"C": code, "M": said})) is condemned
    assert not condemns(ConnectionResetError())


# Batches -------------------------------------------------------------------------------------


@given(st.lists(st.sets(st.integers(1, 6), max_size=3), max_size=12))
def test_waves(streams: list[set[int]]) -> None:
    """The groups of a wave touch different streams, and groups of one stream keep their order."""
    groups = [Group(tuple(Change(internal_id=n) for n in sorted(ids))) for ids in streams]
    order, ends = in_waves(groups)
    assert sorted(order) == list(range(len(groups)))
    ids = [n for place in order for n in sorted(streams[place])]
    assert (ends[-1] if ends else 0) == len(ids)
    for start, end in pairwise([0, *ends]):
        assert len(set(ids[start:end])) == end - start
    for stream in range(1, 7):
        mine = [place for place in order if stream in streams[place]]
        assert mine == sorted(mine)


def test_outcomes_of_groups_of_any_size() -> None:
    """For a refused group, the database returns one row, for the group's first refused change."""
    groups = [
        Group(tuple(Change(internal_id=n) for n in ids)) for ids in ((1, 2), (3, 4), (), (5,))
    ]
    rows = [
        (1, False, 1, 2, 3, 9, None),
        (2, False, 4, 5, 6, 9, None),
        (4, True, None, None, None, None, None),
        (5, False, 7, 8, 9, 1, None),
    ]
    assert outcomes(groups, rows) == [
        Committed((Head(1, 2, 3, 9), Head(4, 5, 6, 9))),
        Refused(1, None),
        Committed(()),
        Committed((Head(7, 8, 9, 1),)),
    ]


@pytest.mark.parametrize("name", ["\0", "a\0b", "\ud800", "x\udfff"])
def test_names_postgresql_cannot_store(name: str) -> None:
    with pytest.raises(InvalidInput):
        storable(name)


# Locks ---------------------------------------------------------------------------------------


class Reads:
    """Plays a database. Reads return the results in ``shown`` in turn, and then repeat the last."""

    def __init__(self, *shown: Sequence[Row]) -> None:
        self._shown = list(shown)
        self.reads = 0

    async def __call__(self) -> Sequence[Row]:
        self.reads += 1
        return self._shown.pop(0) if len(self._shown) > 1 else self._shown[0]


async def judge(locks: Locks, reads: Reads) -> dict[str, bool | None]:
    states = await locks.judge(await reads(), reads, beaten=True)
    return {state.worker: state.locked for state in states}


async def test_free_lock_is_checked_twice() -> None:
    """G7: a free lock is checked again half a second later, because its worker may still live."""
    first = [("back", 1, "free"), ("beats", 1, "free"), ("says", 1, "free"), ("dead", 1, "free")]
    second = [
        ("back", 1, "held"),
        ("beats", 2, "free"),
        ("says", 1, "unknown"),
        ("dead", 1, "free"),
    ]
    locks, reads = Locks(), Reads(first, second)
    began = asyncio.get_running_loop().time()
    seen = await judge(locks, reads)
    assert asyncio.get_running_loop().time() - began >= CONFIRM_S
    assert seen == {"back": True, "beats": None, "says": None, "dead": False}


async def test_only_reads_with_a_beat_prove_death() -> None:
    """G7: if the database takes no writes, a free lock does not show that its worker is dead.

    Without writes, a living worker cannot take its lock again.
    """
    read_only, later = [("w", 1, "free")], [("w", 1, "held")]
    seen = await Locks().judge(read_only, Reads(later), beaten=False)
    assert [state.locked for state in seen] == [True]
    reads = Reads(read_only)
    seen = await Locks().judge(read_only, reads, beaten=False)
    assert [state.locked for state in seen] == [False]
    assert reads.reads == 2, "each of the two reads came with a beat, so both count"

    async def refused() -> Sequence[Row]:
        raise StoreUnavailable("the database takes no writes")

    with pytest.raises(StoreUnavailable):
        await Locks().judge(read_only, refused, beaten=False)


async def test_dead_workers_stay_dead_until_they_beat() -> None:
    locks = Locks()
    dead, beaten = [("w", 1, "free")], [("w", 2, "free")]
    assert await judge(locks, Reads(dead)) == {"w": False}
    once = Reads(dead)
    assert await judge(locks, once) == {"w": False}
    assert once.reads == 1, "a known death needs no second read"
    again = Reads(beaten)
    assert await judge(locks, again) == {"w": False}
    assert again.reads == 2, "the worker has written a beat since then"


async def test_concurrent_lock_checks_do_not_add_up() -> None:
    """While one caller checks a lock, a second caller does not wait, and gets ``None``."""
    locks, reads = Locks(), Reads([("w", 1, "free")])
    first = asyncio.ensure_future(judge(locks, reads))
    await asyncio.sleep(0)
    assert await judge(locks, Reads([("w", 1, "free")])) == {"w": None}
    assert await first == {"w": False}


async def test_released_lock_is_an_immediate_death() -> None:
    reads = Reads([("gone", 1, "released"), ("here", 1, "held"), ("who", 1, "unknown")])
    assert await judge(Locks(), reads) == {"gone": False, "here": True, "who": None}
    assert reads.reads == 1
