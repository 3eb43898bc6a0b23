"""``inkstream.sync`` has the asynchronous facade's methods, with the same parameters.

The exceptions are listed below.
"""

from __future__ import annotations

import inspect
from typing import Any

import pytest

import inkstream
from inkstream import sync
from inkstream.facade import handles
from inkstream.sync import _handles

ASYNC_ONLY = {
    # These methods belong to an ASGI application.
    "asgi",
    "doctor_probe",
    "durable_streams",
    "health_app",
    "inspector",
    "lifespan",
    "refusal",
    "response_many",
    "router",
    "stream",
    # These names need the event loop of the application.
    "aclose",
    "check",
    "engine",
}
# The asynchronous ``Following`` has ``aclose`` instead of ``close``. ``sync`` has ``stop``, because
# it has no lifespan.
SYNC_ONLY = {"close", "stop"}
CHANGED = {
    "on_end": "Callable[[StreamBody], None] | None",  # ``sync`` takes a plain function
    "request": "object",  # ``sync`` takes a request of Flask or Django, or a WSGI environ
}
# ``sync`` has no method that uses ``allowed_origins``. ``clock`` is for virtual time, which threads
# do not use.
LEFT_OUT = {"allowed_origins", "clock"}

PAIRS = [
    (inkstream.PersistentTextStreaming, sync.PersistentTextStreaming),
    (handles.StreamWriter, _handles.StreamWriter),
    (handles.Following, _handles.Following),
]


def public(cls: type[Any]) -> set[str]:
    return {name for name in dir(cls) if not name.startswith("_")}


def parameters(function: Any) -> dict[str, tuple[Any, Any, str]]:
    found = inspect.signature(function).parameters.values()
    return {p.name: (p.kind, p.default, p.annotation) for p in found if p.name not in LEFT_OUT}


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair[0].__name__)
def test_no_method_is_missing(pair: tuple[type[Any], type[Any]]) -> None:
    asynchronous, synchronous = map(public, pair)
    assert asynchronous - synchronous - ASYNC_ONLY == set()
    assert synchronous - asynchronous - SYNC_ONLY == set()


METHODS = [
    (a, b, name)
    for a, b in PAIRS
    for name in sorted(public(a) & public(b))
    if callable(getattr(a, name))
] + [(*PAIRS[0], "__init__")]


@pytest.mark.parametrize(("asynchronous", "synchronous", "name"), METHODS)
def test_a_method_takes_the_same(
    asynchronous: type[Any], synchronous: type[Any], name: str
) -> None:
    expected = parameters(getattr(asynchronous, name))
    for parameter, annotation in CHANGED.items():
        if parameter in expected:
            expected[parameter] = (*expected[parameter][:2], annotation)
    found = parameters(getattr(synchronous, name))
    assert list(found) == list(expected), "the order or the names differ"
    assert found == expected


@pytest.mark.parametrize(("asynchronous", "synchronous", "name"), METHODS)
def test_a_method_is_documented_and_gives_the_same(
    asynchronous: type[Any], synchronous: type[Any], name: str
) -> None:
    method = getattr(synchronous, name)
    assert name == "__init__" or inspect.getdoc(method)
    expected = inspect.signature(getattr(asynchronous, name)).return_annotation
    expected = {
        "StreamResponse": "StreamAnswer",
        "asyncio.Task[None]": "None",
        "AsyncIterator[StreamWriter]": "Iterator[StreamWriter]",
    }.get(expected, expected)
    assert inspect.signature(method).return_annotation == expected
