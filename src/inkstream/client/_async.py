"""The reader for programs with an event loop."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Self

import anyio
import httpx

from inkstream._errors import OffsetGone
from inkstream._types import End
from inkstream.client._backoff import Backoff
from inkstream.client._collected import Answer, Collected
from inkstream.client._reading import CONNECT_S, SILENCE_S, UNSENT, Item, Reading
from inkstream.client._stopping import stopped

_TIMEOUT = httpx.Timeout(SILENCE_S, connect=CONNECT_S)


class AsyncReader:
    """Follow one stream: text and JSON objects as they are committed, then its ``End``.

    Iterate with ``async for``. Cuts, restarts, silence and ``429`` are waited out. A loop that was
    left early may be begun again: it goes on where it was. Leaving it stops nothing but the
    reading; ``stop`` stops the answer.

    Args:
        http: The client, with its base URL, headers and ``auth``, which are used for each request.
            Its own timeouts are not: a stream may be silent for as long as its server pings.
        url: Of the stream, as in ``/streams/{id}``; any route that answers ``response(…)``.
        offset: Go on from here, not from the start.
        stop_url: Where ``stop`` posts to; ``{url}/cancel``, if not given.
        patience_s: How long nothing may be heard before ``Unreachable``; ``None``: for ever.
    """

    def __init__(
        self,
        http: httpx.AsyncClient,
        url: str,
        *,
        offset: str | None = None,
        stop_url: str | None = None,
        patience_s: float | None = 300.0,
    ) -> None:
        self._http = http
        self._reading = Reading(url, offset, patience_s)
        self._stop_url = stop_url
        self._patience_s = patience_s

    @classmethod
    def post(
        cls,
        http: httpx.AsyncClient,
        url: str,
        *,
        streams_url: str,
        json: object = None,
        patience_s: float | None = 300.0,
    ) -> Self:
        """Return a reader that begins with a POST, whose answer is the stream from its start.

        The route answers ``streams.stream(…)``. The first iteration posts, and reads that answer;
        after a cut it goes on with ``GET {streams_url}/{id}``. A post that did not reach the
        server, or was answered 429 or 503, is made again; any other is made once.

        Args:
            http: See the class.
            url: Where to post to, as ``/ask``.
            streams_url: Where the streams are followed, as ``/streams``, without the id.
            json: The body of the post.
            patience_s: See the class.
        """
        reader = cls(http, url, patience_s=patience_s)
        reader._reading = Reading(url, None, patience_s, streams_url=streams_url, body=json)
        return reader

    @property
    def stream_id(self) -> str | None:
        """As the server names the stream; ``None`` before its first answer."""
        return self._reading.stream_id

    @property
    def offset(self) -> str | None:
        """After the last item that was handed out; keep it to go on in another process."""
        return self._reading.offset

    @property
    def end(self) -> End | None:
        """How the stream ended; ``None`` before the iteration came there."""
        return self._reading.end

    async def __aiter__(self) -> AsyncGenerator[Item, None]:
        """Give the items from the offset on.

        Raises:
            StreamNotFound: There is none for this caller, also after 5 s; or it was deleted.
            OffsetGone: The stream was made anew or restored: drop what you have.
            Refused: The server answers what does not pass by itself: 401, 403, a login page.
            PostUncertain: A post broke off before its answer began.
            Unreachable: Nothing was heard for ``patience_s``.
        """
        reading = self._reading
        reading.begin()
        while not reading.over():
            await anyio.sleep(reading.backoff.pause())
            try:
                async with self._http.stream(
                    reading.method,
                    reading.url,
                    json=reading.body,
                    headers=reading.headers(),
                    timeout=_TIMEOUT,
                ) as response:
                    if not reading.accepts(response.status_code, response.headers):
                        body = await response.aread()
                        reading.refuse(response.status_code, response.headers, body)
                        continue
                    async for data in response.aiter_bytes():
                        for item in reading.take(data):
                            yield item
                        if reading.over():
                            return  # a proxy may keep the connection open
                    for item in reading.finish():
                        yield item
            except (httpx.UnsupportedProtocol, httpx.LocalProtocolError):
                raise  # the caller's mistake: it will not pass
            except httpx.RequestError as exc:
                reading.broke(f"{type(exc).__name__}: {exc}", unsent=isinstance(exc, UNSENT))
            else:
                reading.broke("the connection ended before the stream did")

    async def read(self) -> Answer:
        """Wait for the end and return everything from the offset on.

        A stream that was made anew meanwhile is read again from its start.

        Raises:
            StreamNotFound, Refused, Unreachable: See ``__aiter__``.
        """
        collected = Collected()
        while True:
            try:
                async for item in self:
                    collected.take(item)
                return collected.answer(self.offset)
            except OffsetGone:
                collected = Collected()
                self._reading.offset = None

    async def stop(self) -> None:
        """Stop the answer, for everybody; the iteration then ends ``cancelled``.

        Asked again until the server agrees. One that has ended already stays as it is.

        Raises:
            StreamNotFound, Refused, Unreachable
        """
        if self._reading.method == "POST":
            raise RuntimeError("there is nothing to stop yet: the post is made by iterating")
        url = self._stop_url or f"{self._reading.url}/cancel"
        backoff = Backoff(url, self._patience_s)
        while True:
            await anyio.sleep(backoff.pause())
            backoff.asked()
            try:
                response = await self._http.post(url, timeout=CONNECT_S)
            except (httpx.UnsupportedProtocol, httpx.LocalProtocolError):
                raise
            except httpx.RequestError as exc:
                backoff.failed(f"{type(exc).__name__}: {exc}")
            else:
                if stopped(url, response, backoff):
                    return
