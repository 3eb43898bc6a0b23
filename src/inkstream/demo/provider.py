"""Answers from any endpoint that speaks OpenAI's chat completions, streamed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import httpx

from inkstream._errors import StreamError
from inkstream.demo.responder import Turn
from inkstream.engine.generation import Result

DEFAULT_BASE_URL: Final = "https://api.openai.com/v1"
DEFAULT_MODEL: Final = "gpt-4.1-mini"

_TIMEOUT = httpx.Timeout(30.0, read=120.0)
_LINE_BYTES: Final = 1024 * 1024
_DONE: Final = "[DONE]"


class ProviderResponder:
    """Stream a model's answer.

    Args:
        api_key: The bearer token.
        base_url: Where the API is, as ``https://api.openai.com/v1``.
        model: Which model.
    """

    note = ""

    def __init__(self, api_key: str, *, base_url: str, model: str) -> None:
        self._headers = {"authorization": f"Bearer {api_key}"}
        self._url = f"{base_url.rstrip('/')}/chat/completions"
        self._host = urlsplit(base_url).hostname or base_url
        self._model = model
        self.name = f"{model} at {self._host}"

    async def answer(self, turns: Sequence[Turn]) -> AsyncIterator[str | Result]:
        """Give the model's answer to the conversation."""
        messages = [{"role": turn.role, "content": turn.text} for turn in turns]
        request = {"model": self._model, "messages": messages, "stream": True}
        # Reading the certificates takes long enough to hold up everybody on the event loop.
        opened = await asyncio.to_thread(httpx.AsyncClient, timeout=_TIMEOUT)
        try:
            async with (
                opened as client,
                client.stream("POST", self._url, json=request, headers=self._headers) as response,
            ):
                if response.status_code != httpx.codes.OK:
                    await response.aread()
                    raise self._refused(response)
                async for piece in self._pieces(response):
                    yield piece
        except httpx.TimeoutException as exc:
            raise StreamError(
                f"{self._host} did not answer in time. Try again.", code="provider_timeout"
            ) from exc
        except httpx.HTTPError as exc:
            raise StreamError(
                f"The connection to {self._host} failed. Is the network up, and OPENAI_BASE_URL "
                "right?",
                code="provider_unreachable",
            ) from exc

    async def _pieces(self, response: httpx.Response) -> AsyncIterator[str | Result]:
        finish_reason: str | None = None
        usage: Any = None
        async for data in _events(response.aiter_bytes()):
            if data == _DONE:
                break
            chunk = _load(data)
            if chunk.get("error"):
                raise StreamError(
                    f"{self._host} broke the answer off with an error. Try again.",
                    code="provider_error",
                )
            usage = chunk.get("usage") or usage
            for choice in chunk.get("choices") or ():  # the chunk with the usage has none
                text = (choice.get("delta") or {}).get("content")
                if text:
                    yield str(text)
                finish_reason = choice.get("finish_reason") or finish_reason
        else:
            if finish_reason is None:
                raise StreamError(
                    f"{self._host} broke the answer off in the middle. Try again.",
                    code="provider_cut",
                )
        yield Result({"model": self._model, "finish_reason": finish_reason, "usage": usage})

    def _refused(self, response: httpx.Response) -> StreamError:
        status = response.status_code
        if status in (401, 403):
            return StreamError(
                f"{self._host} did not accept the API key. Check OPENAI_API_KEY, and start the "
                "demo again.",
                code="provider_unauthorized",
            )
        if status == 404:
            return StreamError(
                f"{self._host} knows no model {self._model!r} at this address. Check OPENAI_MODEL "
                "and OPENAI_BASE_URL.",
                code="provider_not_found",
            )
        if status == 429:
            return StreamError(
                f"{self._host} takes no more requests now: a rate limit, or the quota is used up. "
                "Try again in a while.",
                code="provider_overloaded",
            )
        if status >= 500:
            return StreamError(
                f"{self._host} is in trouble ({status}). Try again.", code="provider_error"
            )
        return StreamError(
            f"{self._host} refused the request ({status}): {_reason(response)}",
            code="provider_refused",
        )


def _reason(response: httpx.Response) -> str:
    try:
        return str(response.json()["error"]["message"])[:300]
    except (ValueError, KeyError, TypeError):
        return "it does not say why"


def _load(data: str) -> dict[str, Any]:
    try:
        chunk = json.loads(data)
    except ValueError as exc:
        raise StreamError("The provider sent what is not JSON.", code="provider_error") from exc
    if not isinstance(chunk, dict):
        raise StreamError("The provider sent what is not an object.", code="provider_error")
    return chunk


async def _events(chunks: AsyncIterator[bytes]) -> AsyncIterator[str]:
    """Yield the data of each event (WHATWG HTML, 9.2).

    Lines end in CR, LF or CRLF only: httpx's ``aiter_lines`` would also break them at U+2028 and
    its like, which JSON may contain.
    """
    data: list[str] = []
    async for line in _lines(chunks):
        if not line:
            if data:
                yield "\n".join(data)
            data = []
            continue
        field, _, value = line.partition(":")
        if field == "data":
            data.append(value.removeprefix(" "))


async def _lines(chunks: AsyncIterator[bytes]) -> AsyncIterator[str]:
    rest = b""
    after_cr = False
    async for chunk in chunks:
        if after_cr:
            chunk = chunk.removeprefix(b"\n")
        if not chunk:
            continue
        after_cr = chunk.endswith(b"\r")
        *lines, rest = (rest + chunk).replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        for line in lines:
            yield line.decode("utf-8", "replace")
        if len(rest) > _LINE_BYTES:
            raise StreamError("The provider sent an endless line.", code="provider_error")
