"""Calls whose types `scripts/check` examines with mypy and pyright. Nothing runs this module.

If pyright could not understand a type of inkstream, editors would show users no mistakes in
arguments of this type. If there is no error on a line with ``type: ignore``, `scripts/check` fails.
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
    for source in (answer, answer(), answer_to("why?"), in_a_thread, in_a_thread(), with_append):
        streams.start("s", source)
    streams.start("s", ["some ", "text"])
    streams.start("s", lambda: answer_to("why?"))
    streams.start("s", partial(answer_to, "why?"))


def wrong(streams: PersistentTextStreaming) -> None:
    """Pass objects that are not sources."""
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
    """Use types of inkstream. Strict mode reports a type that pyright cannot resolve."""
