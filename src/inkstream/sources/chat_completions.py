"""A small client for OpenAI-compatible endpoints that uses little CPU.

An SDK can use more CPU time for a token than inkstream does (see docs/sources.md). This client
reads events with aiohttp, and decodes their JSON with msgspec.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from inkstream.sources._faults import fault, fault_of_event, fault_of_status
from inkstream.sources._reading import AsyncPieces, pieces
from inkstream.sources.openai_chat import ChatParser

if TYPE_CHECKING:
    import aiohttp

_LINE_BYTES: Final = 8 * 1024 * 1024


class ChatCompletions:
    """A model behind an OpenAI-compatible endpoint; needs ``inkstream[lean]``.

    Args:
        model: The model's name.
        api_key: The bearer token, if the endpoint needs one.
        base_url: The URL of the API.
        session: An ``aiohttp.ClientSession`` to share. By default each answer opens a new session.
        first_byte_s: How long the provider may take to send the first byte of its response. This
            time includes the time to connect. After this time, the stream ends ``error``, code
            ``provider_timeout``.
        silence_s: How long the provider may send nothing after its first byte. After this time, the
            stream ends in the same way. A time below ``first_byte_s`` counts as ``first_byte_s``.
    """

    def __init__(
        self,
        model: str,
        *,
        api_key: str | None = None,
        base_url: str = "https://api.openai.com/v1",
        session: aiohttp.ClientSession | None = None,
        first_byte_s: float = 60.0,
        silence_s: float = 120.0,
    ) -> None:
        _modules()
        self._model = model
        self._url = f"{base_url.rstrip('/')}/chat/completions"
        self._headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
        self._session = session
        self._times = (first_byte_s, silence_s)

    def __repr__(self) -> str:
        return f"<ChatCompletions {self._model!r}>"

    def answer(self, messages: Sequence[Mapping[str, Any]], **options: Any) -> AsyncPieces:
        """Yield the model's answer to a conversation.

        Args:
            messages: As the API takes them: ``{"role": "user", "content": "…"}``.
            options: Further fields of the request (``tools=``, ``temperature=``, …).

        Raises (while iterating):
            StreamError: The provider failed, or broke the answer off (``provider_cut``).
        """
        body = {"model": self._model, "messages": list(messages), "stream": True}
        body["stream_options"] = {"include_usage": True}
        return pieces(self._chunks(body | options), ChatParser())

    @asynccontextmanager
    async def _chunks(self, body: dict[str, Any]) -> AsyncIterator[AsyncGenerator[Any, None]]:
        aiohttp, _ = _modules()
        first_byte_s, silence_s = self._times
        # aiohttp has only one limit for all waits on the socket, so the wait for the first byte has
        # its own limit below.
        timeout = aiohttp.ClientTimeout(total=None, sock_read=max(first_byte_s, silence_s))
        session = self._session or aiohttp.ClientSession()
        try:
            try:
                async with asyncio.timeout(first_byte_s):
                    response = await session.post(
                        self._url, json=body, headers=self._headers, timeout=timeout
                    )
            except TimeoutError as exc:
                raise fault("provider_timeout") from exc
            async with response:
                if response.status != 200:
                    raise fault_of_status(response.status, await _code_of(response))
                yield _decoded(response.content)
        finally:
            if session is not self._session:
                await session.close()


async def _code_of(response: aiohttp.ClientResponse) -> object:
    """Return the code of a refusal. The refusal's text is left out, because it may hold secrets."""
    _, msgspec = _modules()
    try:
        return msgspec.json.decode(await response.read())["error"]["code"]
    except (msgspec.DecodeError, KeyError, TypeError):
        return None


async def _decoded(content: aiohttp.StreamReader) -> AsyncGenerator[Any, None]:
    """Yield the JSON of each event (WHATWG HTML, 9.2: lines end in LF, CRLF or CR)."""
    _, msgspec = _modules()
    decode = msgspec.json.Decoder(dict[str, Any]).decode
    data: list[bytes] = []
    async for line in _lines(content):
        if line.startswith(b"data:"):
            data.append(line[5:])
        elif not line and data:
            text, data = b"\n".join(data).strip(), []
            if text == b"[DONE]":
                return
            try:
                yield decode(text)
            except msgspec.DecodeError as exc:
                raise fault_of_event("not_json") from exc


async def _lines(content: aiohttp.StreamReader) -> AsyncGenerator[bytes, None]:
    rest = b""
    after_cr = False
    async for chunk in content.iter_any():
        if after_cr:  # a CRLF may be split between two chunks
            chunk = chunk.removeprefix(b"\n")
        if not chunk:
            continue
        after_cr = chunk.endswith(b"\r")
        *lines, rest = (rest + chunk).replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        if len(rest) > _LINE_BYTES:
            raise fault("provider_error")
        for line in lines:
            yield line


def _modules() -> tuple[Any, Any]:
    try:
        import aiohttp
        import msgspec
    except ModuleNotFoundError as exc:
        raise ModuleNotFoundError(
            f"ChatCompletions needs {exc.name}: pip install 'inkstream[lean]'", name=exc.name
        ) from exc
    return aiohttp, msgspec
