"""A replacement for a model: prepared answers, sent at the pace of a model, without a key.

A word in the question chooses the answer: ``tools`` (reasoning, two tool calls, a source),
``where`` (a tool that runs in the page), ``error`` (a failure after some words), ``long`` (ten
seconds).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any

from inkstream import JSON, Result, StreamError

Item = str | Mapping[str, JSON] | Result

PAUSE_S = float(os.environ.get("USECHAT_PAUSE_S", "0.04"))
LONG_S = 10.0

SHORT = (
    "This answer is kept while it is written. Reload the page in the middle of it, or open a "
    "second window: both show the same text, from the same rows of the database."
)
LONG = (
    "A long answer takes its time. Reload while it is written, press Stop, close the lid, or kill "
    "the server: what you have seen is stored, and what comes goes on from there. "
) * 4


async def answer(messages: Sequence[Mapping[str, Any]]) -> AsyncIterator[Item]:
    """Yield the answer to the last message. If that message is an answer, continue the answer."""
    last = messages[-1]
    if last["role"] == "assistant":
        outputs = [p["output"] for p in last["parts"] if p.get("state") == "output-available"]
        async for item in typed(f"Your browser says: {outputs[-1] if outputs else 'nothing'}."):
            yield item
        yield usage()
        return
    prompt = " ".join(part.get("text", "") for part in last["parts"]).lower()
    if "tools" in prompt:
        async for part in with_tools():
            yield part
    elif "where" in prompt:
        async for item in typed("I ask your browser. "):
            yield item
        yield {
            "type": "tool-input-available",
            "toolCallId": "browser",
            "toolName": "browserTimeZone",
            "input": {},
        }
    elif "error" in prompt:
        async for item in typed("This answer begins well, and then "):
            yield item
        raise StreamError("The model is overloaded. Please try again.", code="overloaded")
    elif "long" in prompt:
        async for item in typed(LONG, LONG_S):
            yield item
    else:
        async for item in typed(SHORT):
            yield item
    yield usage("tool-calls" if "where" in prompt else "stop")


async def typed(text: str, seconds: float | None = None) -> AsyncIterator[str]:
    words = text.split(" ")
    pause = PAUSE_S if seconds is None else seconds / len(words)
    for i, word in enumerate(words):
        yield word if i == len(words) - 1 else f"{word} "
        await asyncio.sleep(pause)


async def with_tools() -> AsyncIterator[Item]:
    """Think, make two tool calls at once, and answer with a source."""
    yield {"type": "start-step"}
    yield {"type": "reasoning-start", "id": "thought"}
    async for word in typed("Two cities are asked for. I look up both before I compare them."):
        yield {"type": "reasoning-delta", "id": "thought", "delta": word}
    yield {"type": "reasoning-end", "id": "thought"}
    async for word in typed("Let me look. "):
        yield word
    for part in calls("Bern", "Oslo"):
        yield part
        await asyncio.sleep(PAUSE_S)
    for city, degrees in (("Bern", 21), ("Oslo", 17)):
        await asyncio.sleep(PAUSE_S * 5)
        output = {"celsius": degrees}
        yield {"type": "tool-output-available", "toolCallId": f"call-{city}", "output": output}
    yield {"type": "finish-step"}
    yield {"type": "start-step"}
    async for word in typed("It is 21 °C in **Bern** and 17 °C in **Oslo**: Bern is warmer today."):
        yield word
    yield {
        "type": "source-url",
        "sourceId": "weather",
        "url": "https://example.org/weather",
        "title": "Weather, as example.org has it",
    }
    yield {"type": "finish-step"}


def calls(*cities: str) -> Iterator[Mapping[str, JSON]]:
    """Call a tool for each city, and send the tool's input in pieces."""
    for city in cities:
        yield {"type": "tool-input-start", "toolCallId": f"call-{city}", "toolName": "weather"}
    for city in cities:
        for piece in ('{"city": ', f'"{city}"', "}"):
            yield {
                "type": "tool-input-delta",
                "toolCallId": f"call-{city}",
                "inputTextDelta": piece,
            }
        yield {
            "type": "tool-input-available",
            "toolCallId": f"call-{city}",
            "toolName": "weather",
            "input": {"city": city},
        }


def usage(reason: str = "stop") -> Result:
    """Return what a model reports at the end of its answer: finish reason and usage."""
    tokens = {"input_tokens": 12, "output_tokens": 34}
    return Result({"finish_reason": reason, "usage": tokens, "model": "scripted"})
