"""Code whose types `scripts/check` examines with mypy and pyright. Nothing runs this module.

If pyright cannot evaluate an alias, editors show no errors for arguments of this type, and strict
mode shows an error for each call. Each comment that ignores an error also demands this error.
"""

# pyright: strict, reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from functools import partial

from inkstream import JSON, Append, Authorize, Message, PersistentTextStreaming, Result, Source
from inkstream.abc import Outcome, Runs
from inkstream.parts import Part


async def answer() -> AsyncIterator[str | dict[str, JSON] | Result]:
    yield "text"
    yield {"type": "source-url", "url": "https://example.org"}
    yield Result({"tokens": 1})


async def answer_to(question: str) -> AsyncIterator[str]:
    yield question


def in_a_thread() -> Iterator[str]:
    yield "text"


async def with_append(append: Append) -> JSON:
    await append("text")
    return {"tokens": 1}


async def wrong_items() -> AsyncIterator[bytes]:
    yield b"text"


async def no_source() -> str:
    return "text"


def right(streams: PersistentTextStreaming) -> None:
    """Pass each kind of source."""
    for source in (answer, answer(), answer_to("why?"), in_a_thread, in_a_thread(), with_append):
        streams.start("s", source)
    streams.start("s", ["some ", "text"])
    streams.start("s", lambda: answer_to("why?"))
    streams.start("s", partial(answer_to, "why?"))


def wrong(streams: PersistentTextStreaming) -> None:
    """Pass what is no source."""
    streams.start("s", 5)  # type: ignore[arg-type]
    streams.start("s", wrong_items)  # type: ignore[arg-type]
    streams.start("s", wrong_items())  # type: ignore[arg-type]
    streams.start("s", answer_to)  # type: ignore[arg-type]
    streams.start("s", no_source)  # type: ignore[arg-type]
    streams.start("s", streams.create())  # type: ignore[arg-type]


def known(
    json: JSON,
    message: Message,
    append: Append,
    source: Source,
    authorize: Authorize,
    outcome: Outcome,
    runs: Runs,
    part: Part,
) -> None:
    """Name each public alias. In strict mode, an alias without a known type is an error here."""
