"""The reader for programs without an event loop: scripts, notebooks, threads."""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import Self

import httpx

from inkstream._errors import OffsetGone
from inkstream._types import End
from inkstream.client._backoff import Backoff
from inkstream.client._collected import Answer, Collected
from inkstream.client._reading import CONNECT_S, SILENCE_S, UNSENT, Item, Reading
from inkstream.client._stopping import stopped

_TIMEOUT = httpx.Timeout(SILENCE_S, connect=CONNECT_S)


class Reader:
    """Follow one stream: text and JSON objects as they are committed, then its ``End``.

    Iterate with ``for``. If the connection breaks or is silent, or the server restarts or answers
    ``429``, the reader waits and tries again. If you leave the loop early, a new loop continues at
    the next item. To stop the answer, call ``stop``.

    Args:
        http: The HTTP client. The reader uses its base URL, headers and ``auth`` for each request,
            but not its timeouts, because a stream may be silent between two pings of the server.
        url: The stream's URL, such as ``/streams/{id}``: any route that returns ``response(…)``.
        offset: The offset from which to continue; by default the start of the stream.
        stop_url: Where ``stop`` sends its POST; by default ``{url}/cancel``.
        patience_s: If the reader receives nothing for this many seconds, it raises ``Unreachable``.
            With ``None`` the reader never gives up.
    """

    def __init__(
        self,
        http: httpx.Client,
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
        http: httpx.Client,
        url: str,
        *,
        streams_url: str,
        json: object = None,
        patience_s: float | None = 300.0,
    ) -> Self:
        """Return a reader that sends a POST and reads the stream that the POST starts.

        The route must return ``streams.stream(…)``. The first loop over the reader sends the POST.
        If the connection breaks after the response has begun, the reader continues with
        ``GET {streams_url}/{id}``. The reader repeats the POST by itself only if the POST did
        not reach the server, or if the response was 429 or 503 and had another code than
        ``outcome_unknown``.

        Args:
            http: See the class.
            url: The address of the POST, such as ``/ask``.
            streams_url: The streams' address without an id, such as ``/streams``.
            json: The body of the POST.
            patience_s: See the class.
        """
        reader = cls(http, url, patience_s=patience_s)
        reader._reading = Reading(url, None, patience_s, streams_url=streams_url, body=json)
        return reader

    @property
    def stream_id(self) -> str | None:
        """The stream's id; ``None`` until a response has contained the id."""
        return self._reading.stream_id

    @property
    def offset(self) -> str | None:
        """The offset after the last item. Store this offset to continue in another process."""
        return self._reading.offset

    @property
    def end(self) -> End | None:
        """How the stream ended; ``None`` until the iteration has reached the end."""
        return self._reading.end

    def __iter__(self) -> Generator[Item, None, None]:
        """Yield the items after the offset.

        Raises:
            StreamNotFound: The stream was absent or denied for 5 s, or was deleted.
            OffsetGone: The messages before the offset are not in the stream now. Discard the text.
            RequestRefused: A permanent error of the server, such as 401, 403, or a login page.
                After a POST: any error except 429 and 503.
            PostUncertain: A POST was sent, and the server may or may not have accepted it.
            Unreachable: Nothing was received for ``patience_s``, or the server asks for a wait that
                would exceed ``patience_s``.
        """
        reading = self._reading
        reading.begin()
        while not reading.over():
            time.sleep(reading.backoff.pause())
            try:
                with self._http.stream(
                    reading.method,
                    reading.address(),
                    json=reading.body,
                    headers=reading.headers(),
                    timeout=_TIMEOUT,
                ) as response:
                    if not reading.accepts(response.status_code, response.headers):
                        body = response.read()
                        reading.refuse(response.status_code, response.headers, body)
                        continue
                    for data in response.iter_bytes():
                        for item in reading.take(data):
                            yield item
                        if reading.over():
                            return  # do not read on, because a proxy may keep the connection open
                    for item in reading.finish():
                        yield item
            except (httpx.UnsupportedProtocol, httpx.LocalProtocolError):
                raise  # the URL or the request is wrong, so a retry cannot help
            except httpx.RequestError as exc:
                reading.broke(f"{type(exc).__name__}: {exc}", unsent=isinstance(exc, UNSENT))
            else:
                reading.broke("the connection ended before the stream's end")

    def read(self) -> Answer:
        """Wait for the end and return everything after the offset.

        If the server refuses the offset (``OffsetGone``), this method reads the stream again from
        the start. If this call raises an error, you can call it again, and no message is lost.

        Raises:
            StreamNotFound, RequestRefused, PostUncertain, Unreachable: See ``__iter__``.
        """
        collected, offset = Collected(), self.offset
        while True:
            try:
                for item in self:
                    collected.take(item)
                return collected.answer(self.offset)
            except OffsetGone:
                collected, offset = Collected(), None
                self._reading.offset = None
            except BaseException:
                self._reading.offset = offset
                raise

    def stop(self) -> None:
        """Cancel the stream for all readers. If the stream has ended, nothing changes.

        The reader repeats the request until the server confirms the stop.

        Raises:
            RuntimeError: The server has not answered the POST yet, so no stream is known.
            StreamNotFound, RequestRefused, Unreachable
        """
        if self._reading.method == "POST":
            raise RuntimeError("there is nothing to stop yet: iterate first, to send the POST")
        url = self._stop_url or f"{self._reading.url}/cancel"
        backoff = Backoff(url, self._patience_s)
        while True:
            time.sleep(backoff.pause())
            backoff.asked()
            try:
                response = self._http.post(url, timeout=CONNECT_S)
            except (httpx.UnsupportedProtocol, httpx.LocalProtocolError):
                raise
            except httpx.RequestError as exc:
                backoff.failed(f"{type(exc).__name__}: {exc}")
            else:
                if stopped(url, response, backoff):
                    return
