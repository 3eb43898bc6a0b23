"""A model that types a text at a steady pace, for the benchmark of the page."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Final

TICK_S: Final = 0.02
"""The seconds between two sends. All tokens that are due are sent together, as over a network."""

_TEXT: Final = """
the of and to in is that it was for on are as with they at be this from have or by one had
not but what all were when we there can an your which their said if do will each about how
up out them then she many some so these would other into has more her two like him see
time could no make than first been its who now people my made over did down only way find
use may water long
"""
WORDS: Final = _TEXT.split()


@dataclass
class Model:
    """An OpenAI-compatible endpoint that sends ``tokens``, with ``tokens_s`` tokens a second."""

    tokens: list[str] = field(default_factory=list)
    tokens_s: float = 250.0
    port: int = 0
    played_s: float = 0.0

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables that make the chat use this model."""
        url = f"http://127.0.0.1:{self.port}/v1/"
        return {"OPENAI_API_KEY": "none", "OPENAI_BASE_URL": url, "OPENAI_MODEL": "typist"}

    def seconds_played(self) -> int:
        return int(self.played_s)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(head.partition(b"content-length:")[2].split(b"\r\n")[0])
            await reader.readexactly(length)
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n")
            writer.write(b"connection: close\r\n\r\n")
            await self._type(writer)
        writer.close()

    async def _type(self, writer: asyncio.StreamWriter) -> None:
        began, sent, tokens = time.monotonic(), 0, self.tokens
        while sent < len(tokens):
            due = min(len(tokens), int((time.monotonic() - began) * self.tokens_s) + 1)
            writer.write(b"".join(_chunk({"content": token}) for token in tokens[sent:due]))
            await writer.drain()
            sent = due
            await asyncio.sleep(TICK_S)
        self.played_s = time.monotonic() - began
        writer.write(_chunk({}, "stop") + b"data: [DONE]\n\n")
        await writer.drain()


def _chunk(delta: dict[str, str], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    chunk = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "typist"}
    return b"data: " + json.dumps(chunk | {"choices": [choice]}).encode() + b"\n\n"


@contextlib.asynccontextmanager
async def playing_model() -> AsyncIterator[Model]:
    model = Model()
    server = await asyncio.start_server(model.serve, "127.0.0.1", 0)
    model.port = server.sockets[0].getsockname()[1]
    try:
        yield model
    finally:
        server.close()


def prose(count: int) -> list[str]:
    return _cut("\n\n".join(_paragraph(random.Random(n)) for n in range(count // 60 + 2)), count)


def markdown(count: int) -> list[str]:
    """Return ``count`` tokens of Markdown as in a model's long answer: lists, tables, code."""
    blocks: list[str] = []
    for number in range(count // 200 + 2):
        chance = random.Random(number)
        blocks += [f"## {_words(chance, 4)}", _marked(chance), _marked(chance)]
        blocks.append(
            "\n".join(f"- **{_words(chance, 2)}**: {_words(chance, 9)}" for _ in range(4))
        )
        if number % 3 == 0:
            rows = "\n".join(f"| {_words(chance, 2)} | `{number}` |" for _ in range(5))
            blocks.append(f"| {_words(chance, 1)} | {_words(chance, 1)} |\n|---|---|\n{rows}")
        if number % 3 == 1:
            lines = "\n".join(f"    {_words(chance, 1)} = f({n})" for n in range(6))
            blocks.append(f"```python\ndef {_words(chance, 1)}():\n{lines}\n```")
    return _cut("\n\n".join(blocks), count)


def _cut(text: str, count: int) -> list[str]:
    """Cut a text into tokens of 4.2 characters, the average length of a token of English text."""
    ends = [int(n * 4.2) for n in range(count + 1)]
    return [text[start:end] for start, end in zip(ends, ends[1:], strict=False)]


def _words(chance: random.Random, count: int) -> str:
    return " ".join(chance.choices(WORDS, k=count))


def _paragraph(chance: random.Random) -> str:
    return _words(chance, 55).capitalize() + "."


def _marked(chance: random.Random) -> str:
    return (
        f"{_words(chance, 20)} **{_words(chance, 3)}** {_words(chance, 12)} `{_words(chance, 1)}` "
        f"{_words(chance, 10)} [{_words(chance, 2)}](https://example.com/{chance.random()})."
    )
