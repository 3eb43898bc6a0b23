"""A wrong argument raises an error at the call. The error says what is wrong, and where."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request

from inkstream import (
    HTTPSettings,
    InvalidMessage,
    InvalidOffset,
    InvalidStreamId,
    Limits,
    MessageTooLarge,
    PersistentTextStreaming,
    StreamError,
    Timing,
    sync,
)
from inkstream.durable.settings import DurableSettings
from inkstream.engine.settings import FinerTiming
from inkstream.http import fastapi_router  # noqa: F401 - a first import in a test would block its loop
from inkstream.testing import ScriptedSource, in_virtual_time
from tests.http.asgi import scope_of
from tests.simulation.cluster import one_worker

REQUEST = Request(scope_of("GET", "/"))
Wrong = tuple[dict[str, Any], type[Exception], str]


async def async_function(*args: Any) -> Any:
    """Serve as a valid ``on_end`` or ``authorize``."""


def plain_function(*args: Any) -> Any:
    """Serve as an invalid ``on_end`` or ``authorize``, because this function is not async."""


async def of_one(only: Any) -> bool:
    """Accept too few arguments for an ``authorize``."""
    return True


async def of_none() -> None:
    """Accept too few arguments for an ``on_end``."""


CONSTRUCTOR: list[Wrong] = [
    ({"database": 5}, TypeError, "a database is a URL, an asyncpg pool, .* not int"),
    ({"database": b"sqlite:///x"}, TypeError, "not bytes"),
    ({"database": []}, TypeError, "not list"),
    ({"database": ("store", "notifier")}, TypeError, "pair of Store and Notifier"),
    ({"database": Path("streams.db")}, ValueError, r"sqlite:///streams\.db"),
    ({"database": "streams.db"}, ValueError, "not the URL of a database"),
    ({"on_end": 5}, TypeError, "on_end must be an async function"),
    ({"on_end": plain_function}, TypeError, "on_end must be an async function"),
    ({"on_end": of_none}, TypeError, r"on_end is called with \(body\), but .*of_none"),
    ({"allowed_origins": "https://a.example"}, TypeError, r"\['https://a\.example'\]"),
    ({"allowed_origins": ["a.example"]}, ValueError, "'a.example' is not an origin"),
    ({"allowed_origins": ["https://a.example/"]}, ValueError, "no path"),
    ({"limits": Timing()}, TypeError, "limits must be a Limits"),
    ({"timing": {"idle_s": 5}}, TypeError, "timing must be a Timing"),
    ({"http": 5}, TypeError, "http must be an HTTPSettings"),
]


@pytest.mark.parametrize(("given", "error", "told"), CONSTRUCTOR)
def test_constructor(given: dict[str, Any], error: type[Exception], told: str) -> None:
    with pytest.raises(error, match=told):
        PersistentTextStreaming(**{"database": "memory://", **given})


@pytest.mark.parametrize(
    ("given", "told"),
    [({"database": 5}, "a database is"), ({"on_end": async_function}, "on_end must be a plain")],
)
def test_constructor_without_an_event_loop(given: dict[str, Any], told: str) -> None:
    with pytest.raises(TypeError, match=told):
        sync.PersistentTextStreaming(**{"database": "memory://", **given})


SETTINGS: list[tuple[Callable[..., object], str, list[Any]]] = [
    (Limits, "readers", [0, -1, 1.5, "5", None, True]),
    (Timing, "patience_s", [-1, "5", None, True, math.nan, math.inf]),
    (Timing, "total_s", [0]),
    (Timing, "idle_s", [0, -1, "5", True, math.nan, math.inf]),
    (FinerTiming, "sweep_s", [0, None]),
    (FinerTiming, "poll_s", [0]),
    (FinerTiming, "tidy_s", [0]),
    (FinerTiming, "beat_s", [0]),
    (HTTPSettings, "ping_s", [0, -1, "5", None]),
    (HTTPSettings, "send_timeout_s", [0]),
    (HTTPSettings, "retry_s", [-1, math.inf]),
    (HTTPSettings, "authorize_timeout_s", [0, None]),
    (DurableSettings, "owner", [5, None]),
    (DurableSettings, "max_streams", [0, "5"]),
    (DurableSettings, "body_bytes", [0]),
    (DurableSettings, "live_s", [-1, None]),
    (DurableSettings, "long_poll_s", [math.nan]),
    (DurableSettings, "closed_polls_per_s", ["5"]),
    (DurableSettings, "closed_poll_burst", [0]),
]


@pytest.mark.parametrize(
    ("make", "name", "wrong"), [(make, name, w) for make, name, wrong in SETTINGS for w in wrong]
)
def test_invalid_setting_is_named_with_its_range(
    make: Callable[..., object], name: str, wrong: Any
) -> None:
    kind = make.__name__
    with pytest.raises(
        (TypeError, ValueError), match=rf"{kind}\.{name} .*not {re.escape(repr(wrong))}"
    ):
        make(**{name: wrong})


TOO_LARGE = "x" * (1024 * 1024 + 1)


class Awaited:
    """Stands for a coroutine that nobody awaits, but causes no warning of Python."""

    def __await__(self) -> Iterator[None]:
        yield


COROUTINE: Any = Awaited()

CALLS: list[tuple[Callable[[Any, str], Any], type[Exception], str]] = [
    (lambda s, _: s.create(5), InvalidStreamId, "5 cannot name a stream"),
    (lambda s, _: s.create("."), InvalidStreamId, "'.' cannot name a stream"),
    (lambda s, _: s.create(".."), InvalidStreamId, "'..' cannot name a stream"),
    (lambda s, _: s.create(owner=7), TypeError, r"owner must be a string, not int: use str\(7\)"),
    (lambda s, _: s.create(group=7), TypeError, r"group must be a string, not int: use str\(7\)"),
    (
        lambda s, _: s.create(metadata="abc"),
        TypeError,
        "metadata must be a JSON object .* not 'abc'",
    ),
    (lambda s, _: s.create(metadata=[1]), TypeError, "metadata must be a JSON object"),
    (lambda s, _: s.create(metadata={"a": math.nan}), InvalidMessage, "JSON"),
    (lambda s, _: s.create(metadata={"a": TOO_LARGE}), MessageTooLarge, "metadata of .* bytes"),
    (lambda s, n: s.post(n, TOO_LARGE), MessageTooLarge, "a message of .* bytes"),
    (lambda s, _: s.create(kind="x"), ValueError, "kind must be one of 'text', 'log', not 'x'"),
    (lambda s, _: s.create(start_within_s=-1), ValueError, "start_within_s must be 0 or more"),
    (lambda s, _: s.create(start_within_s=math.inf), ValueError, "start_within_s must be"),
    (lambda s, _: s.create(retain_s="x"), ValueError, "retain_s must be .* or None, not 'x'"),
    (lambda s, _: s.create(takeover_within_s=-1), ValueError, "takeover_within_s must be"),
    (lambda s, n: s.start(n, async_function, on_disconnect="stop"), ValueError, "on_disconnect is"),
    (lambda s, _: s.start(5, async_function), InvalidStreamId, "5 cannot name"),
    (lambda s, n: s.cancel(n, group=7), TypeError, "group must be a string"),
    (lambda s, n: s.delete(n, owner=7), TypeError, "owner must be a string"),
    (lambda s, _: s.delete_all(), ValueError, "whose streams to delete"),
    (lambda s, _: s.delete_all(owner=7), TypeError, "owner must be a string"),
    (lambda s, n: s.read(n, owner=7), TypeError, "owner must be a string"),
    (lambda s, n: s.read_many(n), TypeError, "stream_ids must be a list"),
    (lambda s, _: s.read_many([5]), InvalidStreamId, "5 cannot name"),
    (lambda s, _: s.list(owner=7), TypeError, "owner must be a string"),
    (lambda s, _: s.list(limit=0), ValueError, "limit must be a whole number"),
    (lambda s, _: s.list(limit=2**31), ValueError, "limit must be at most"),
    (lambda s, _: s.list(limit=2**31 - 1), ValueError, "limit must be at most"),
    (lambda s, _: s.list(limit=10**400), ValueError, "limit must be at most"),
    (lambda s, _: s.list(owner="x" * 2000), ValueError, "owner is longer than 1024 bytes"),
    (lambda s, _: s.delete_all(group="é" * 600), ValueError, "group is longer than"),
    (lambda s, _: s.create(owner="a\0b"), ValueError, "owner contains NUL"),
    (lambda s, _: s.create(group="\ud800"), ValueError, "group contains NUL or half"),
    (lambda s, _: s.create(owner="x" * 1025), ValueError, "owner is longer than 1024 bytes"),
    (lambda s, _: s.create(retain_s=10**400), ValueError, "a hundred years .* or None"),
    (lambda s, _: s.create(retain_s=1e300), ValueError, "retain_s must be at most"),
    (lambda s, _: s.create(start_within_s=10**400), ValueError, "start_within_s must be at most"),
    (lambda s, _: s.create(takeover_within_s=1e11), ValueError, "takeover_within_s must be at"),
    (lambda s, _: s.list(limit="5"), ValueError, "limit must be a whole number"),
    (lambda s, _: s.list(status="x"), ValueError, "status must be one of 'pending', .*, not 'x'"),
    (lambda s, _: s.list(cursor=5), ValueError, r"5 is not a cursor: pass Listing\.cursor"),
    (lambda s, _: s.list(cursor="9" * 30), ValueError, "is not a cursor"),
    (lambda s, n: s.follow(n, 5), InvalidOffset, "5 is not an offset"),
    (lambda s, n: s.follow(n, "x"), InvalidOffset, "'x' is not an offset"),
    (lambda s, n: s.response(None, n), TypeError, "request must be the starlette"),
    (lambda s, n: s.response(n, REQUEST), TypeError, "request must be the starlette"),
    (lambda s, n: s.response(REQUEST, n, format="xml"), ValueError, "format is 'events'"),
    (lambda s, n: s.response(REQUEST, n, owner=7), TypeError, "owner must be a string"),
    (lambda s, n: s.stream(REQUEST, n, 5), TypeError, "a source is .* this is int"),
    (
        lambda s, n: s.stream(REQUEST, n, async_function, group=7),
        TypeError,
        "group must be a string",
    ),
    (lambda s, _: s.asgi(), TypeError, "who may use"),
    (lambda s, _: s.asgi(authorize=5), TypeError, "authorize must be an async function"),
    (
        lambda s, _: s.asgi(authorize=of_one),
        TypeError,
        r"\(request, stream, action\), but .*of_one",
    ),
    (lambda s, _: s.start(COROUTINE, async_function), InvalidStreamId, "await it first"),
    (lambda s, _: s.response(REQUEST, COROUTINE), InvalidStreamId, "await it first"),
    (lambda s, _: s.stream(REQUEST, COROUTINE, async_function), InvalidStreamId, "await it first"),
    (
        lambda s, _: s.router(authorize=plain_function),
        TypeError,
        "authorize must be an async function",
    ),
    (
        lambda s, _: s.durable_streams(authorize=plain_function),
        TypeError,
        "authorize must be an async",
    ),
    (
        lambda s, _: s.durable_streams(allow_anonymous=True, settings=5),
        TypeError,
        "settings must be a DurableSettings",
    ),
]


@pytest.mark.parametrize(("call", "error", "told"), CALLS)
@in_virtual_time
async def test_a_call(call: Callable[[Any, str], Any], error: type[Exception], told: str) -> None:
    async with one_worker() as worker:
        name = await worker.streams.create("s")
        with pytest.raises(error, match=told):
            await as_called(call, worker.streams, name)
        assert not worker.engine.starts.tasks
        assert (await worker.streams.read("s")).status == "pending"


async def as_called(call: Callable[[Any, str], Any], streams: Any, name: str) -> None:
    result = call(streams, name)
    if asyncio.iscoroutine(result):
        await result


@in_virtual_time
async def test_a_writers_end() -> None:
    async with one_worker() as worker:
        await worker.streams.create("s")
        async with worker.streams.write("s") as writer:
            with pytest.raises(ValueError, match=r"of 'done', 'error', .* not 'finished'"):
                await writer.finish("finished")
            wrong: Any = 429
            with pytest.raises(TypeError, match=r"code must be a string, not int: use str\(429\)"):
                await writer.finish("error", code=wrong)
            with pytest.raises(TypeError, match="message must be a string"):
                StreamError(wrong)
        assert (await worker.streams.read("s")).status == "done"


class Billing:
    def __init__(self) -> None:
        self.called = asyncio.Event()

    async def __call__(self, body: object) -> None:
        self.called.set()


@in_virtual_time
async def test_object_with_async_call_is_accepted() -> None:
    billing = Billing()
    async with PersistentTextStreaming("memory://", on_end=billing) as streams:
        source = ScriptedSource()
        await streams.create("s")
        streams.start("s", source)
        await source.finish()
        await asyncio.wait_for(billing.called.wait(), 5)
