"""Read a provider's events, for the sources of this package."""

from __future__ import annotations

import inspect
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Generator,
    Iterable,
    Iterator,
)
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
)
from typing import Any, Protocol, TypeAlias, overload

from inkstream.engine.generation import Result
from inkstream.sources._faults import provider_faults

Piece: TypeAlias = "str | dict[str, Any] | Result"
"""The items of a source: text, a part (see ``inkstream.parts``), or the stream's result."""

Asynchronous: TypeAlias = "AsyncIterable[Any] | AbstractAsyncContextManager[Any] | Awaitable[Any]"
"""A provider's events from an asynchronous client."""

Synchronous: TypeAlias = "Iterable[Any] | AbstractContextManager[Any]"
"""A provider's events from a synchronous client."""

AsyncPieces: TypeAlias = "AsyncGenerator[Piece, None]"
Pieces: TypeAlias = "Generator[Piece, None, None]"


class Parser(Protocol):
    """Turn one provider's events into pieces. A parser does no I/O."""

    def feed(self, event: Any) -> Iterable[Piece]:
        """Return the pieces of one event.

        Raises:
            StreamError: The provider says that the answer failed.
        """

    def end(self) -> Iterable[Piece]:
        """Return the remaining pieces after the last event.

        Raises:
            StreamError: The provider did not report a complete answer (``provider_cut``).
        """


@overload
def pieces(events: Asynchronous, parser: Parser) -> AsyncPieces: ...
@overload
def pieces(events: Synchronous, parser: Parser) -> Pieces: ...
def pieces(events: Asynchronous | Synchronous, parser: Parser) -> AsyncPieces | Pieces:
    """Yield the pieces of all events. At the end, close the provider's connection.

    If the generator is closed or cancelled, it also closes the connection. For a synchronous client
    this function returns a plain generator, which inkstream runs in a thread.
    """
    if inspect.isawaitable(events) or hasattr(events, "__aiter__") or hasattr(events, "__aenter__"):
        return _read(events, parser)
    return _read_in_thread(events, parser)


async def _read(events: Any, parser: Parser) -> AsyncPieces:
    with provider_faults():
        async with _opened(events) as opened:
            async for event in opened:
                for piece in parser.feed(event):
                    yield piece
        for piece in parser.end():
            yield piece


def _read_in_thread(events: Any, parser: Parser) -> Pieces:
    with provider_faults():
        with _opened_in_thread(events) as opened:
            for event in opened:
                yield from parser.feed(event)
        yield from parser.end()


@asynccontextmanager
async def _opened(events: Any) -> AsyncIterator[Any]:
    if inspect.isawaitable(events):
        events = await events
    if hasattr(events, "__aenter__"):
        async with events as entered:
            yield entered
        return
    try:
        yield events
    finally:
        # Without this call, the provider could continue to send text after a cancel, and to charge
        # for the text.
        close = getattr(events, "aclose", None) or getattr(events, "close", None)
        closing = close() if close is not None else None
        if inspect.isawaitable(closing):
            await closing


@contextmanager
def _opened_in_thread(events: Any) -> Iterator[Any]:
    if hasattr(events, "__enter__"):
        with events as entered:
            yield entered
        return
    try:
        yield events
    finally:
        close = getattr(events, "close", None)
        if close is not None:
            close()


def value(thing: Any, name: str, default: Any = None) -> Any:
    """Return a field of an object or of a mapping, because SDKs return either."""
    if isinstance(thing, dict):
        found = thing.get(name)
    elif hasattr(type(thing), "__pydantic_extra__"):
        # pydantic takes microseconds to report a missing field, and the event of each token lacks
        # some fields. So read __dict__ first.
        found = thing.__dict__.get(name)
        if found is None and thing.__pydantic_extra__:
            found = thing.__pydantic_extra__.get(name)
    else:
        found = getattr(thing, name, None)
    return default if found is None else found
